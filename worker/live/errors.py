"""Why a live request can be refused or fail."""

from keyscope.contract.errors import KeyscopeError


class Unauthorised(KeyscopeError, status=401):
    """The request does not carry the worker's token."""

    challenge = "Bearer"


class InvalidRequest(KeyscopeError, status=422):
    """A request with a missing, unknown or wrong field."""


class OtherWeights(KeyscopeError, status=409):
    """The request is for the keys of a model that this worker does not serve."""


class UnknownToken(KeyscopeError, status=422):
    """A token id that the tokenizer lacks, or a token index beyond the end of the text."""


class NoSuchLayer(KeyscopeError, code="unknown_layer", status=422):
    """A layer that the model lacks."""


class EmptyPrompt(KeyscopeError, status=400):
    """A prompt without tokens."""


class PromptTooLong(KeyscopeError, status=400):
    """A prompt of more tokens than the worker accepts."""


class TooManyNewTokens(KeyscopeError, status=400):
    """More new tokens than the worker generates."""


class TooManyMasks(KeyscopeError, status=413):
    """More masked keys than the worker accepts."""


class Busy(KeyscopeError, code="error", status=503):
    """A request that may succeed in `retry_after` seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(Busy, status=429):
    """The queue of requests is full."""


class QueueTimeout(Busy):
    """A request waited too long for its turn."""


class OutOfMemory(Busy):
    """The device ran out of memory on a request; the worker keeps running."""


class WorkerStopping(Busy):
    """The worker is shutting down."""


class JobsFull(Busy, status=429):
    """The queue of jobs is full."""


class NoJobs(KeyscopeError, status=409):
    """The worker was started without `--runs`, so it computes no analyses."""


class UnknownRun(KeyscopeError, status=404):
    """There is no run of that name in the worker's directory."""


class UnknownJob(KeyscopeError, status=404):
    """There is no job of that id."""


class DeviceFailed(KeyscopeError):
    """The device failed, and only a new process can use it again."""


class InternalError(KeyscopeError):
    """An unexpected error; details are in the log."""
