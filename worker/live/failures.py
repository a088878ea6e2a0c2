"""Classifies exceptions raised by work on the model."""

import gc
import logging

import torch

from keyscope.contract.errors import KeyscopeError
from keyscope.worker.live.errors import DeviceFailed, InternalError, OutOfMemory

log = logging.getLogger(__name__)

_NO_MEMORY = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
_BROKEN = ("CUDA error", "CUDA driver error", "cuDNN error", "NCCL error")


def understand(error: Exception, retry_after: int) -> KeyscopeError:
    """Return the error to report to the client.

    After a failed allocation the device still works. Any other CUDA error breaks the CUDA context: every later call
    fails too, so it becomes `DeviceFailed` and the process must be replaced.
    """
    if isinstance(error, KeyscopeError):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or _says(error, _NO_MEMORY):
        log.warning(
            "out of memory: %s", str(error)
        )  # as text: a stored log record would keep the traceback, and so the tensors, alive
        return OutOfMemory("the device does not have enough memory for this: try again, or request less", retry_after)
    log.error("work failed: %s", error, exc_info=error)
    if _says(error, _BROKEN):
        return DeviceFailed("the worker's device failed; the worker is restarting, try again in a while")
    return InternalError("something went wrong in the worker; see its log")


def release_memory() -> None:
    """Return unused memory to the device.

    Call it outside the `except` block: inside, the traceback keeps the failed work's tensors alive.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _says(error: Exception, phrases: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in phrases)
