"""What an exception in the middle of work means: for the client, and for the process."""

import gc
import logging

import torch

from keyscope.contract.errors import KeyscopeError
from keyscope.worker.live.errors import DeviceFailed, InternalError, OutOfMemory

log = logging.getLogger(__name__)

_NO_MEMORY = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
_BROKEN = ("CUDA error", "CUDA driver error", "cuDNN error", "NCCL error")


def understand(error: Exception, retry_after: int) -> KeyscopeError:
    """The error to tell the client.

    An allocator that found no memory leaves the device as it was. Any other CUDA error poisons the process: every
    later call fails too, so it becomes DeviceFailed and the process has to be replaced.
    """
    if isinstance(error, KeyscopeError):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or _says(error, _NO_MEMORY):
        log.warning("out of memory: %s", str(error))  # as text: a kept record would keep the traceback
        return OutOfMemory("the device has not enough memory for this: try again, or ask for less", retry_after)
    log.error("work failed: %s", error, exc_info=error)
    if _says(error, _BROKEN):
        return DeviceFailed("the worker's device failed; the worker is being restarted, try again in a while")
    return InternalError("something went wrong in the worker; its log says what")


def release_memory() -> None:
    """Give memory that no tensor uses back to the device.

    To be called outside the `except` block: while that is open, the traceback keeps the failed work's tensors alive.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _says(error: Exception, phrases: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in phrases)
