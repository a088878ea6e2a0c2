"""Why a live request can be refused or fail."""

from keyscope.contract.errors import KeyscopeError


class Unauthorised(KeyscopeError):
    """The request does not carry the worker's token."""

    code = "unauthorised"
    status = 401
    challenge = "Bearer"


class InvalidRequest(KeyscopeError):
    """A request with a missing, unknown or wrong field."""

    code = "invalid_request"
    status = 422


class OtherWeights(KeyscopeError):
    """The request is for the keys of a model that this worker does not serve."""

    code = "other_weights"
    status = 409


class UnknownToken(KeyscopeError):
    """A token id that the tokenizer lacks, or a token index beyond the end of the text."""

    code = "unknown_token"
    status = 422


class NoSuchLayer(KeyscopeError):
    """A layer that the model lacks."""

    code = "unknown_layer"
    status = 422


class EmptyPrompt(KeyscopeError):
    """A prompt without tokens."""

    code = "empty_prompt"
    status = 400


class PromptTooLong(KeyscopeError):
    """A prompt of more tokens than the worker accepts."""

    code = "prompt_too_long"
    status = 400


class TooManyNewTokens(KeyscopeError):
    """More new tokens than the worker generates."""

    code = "too_many_new_tokens"
    status = 400


class TooManyMasks(KeyscopeError):
    """More masked keys than the worker accepts."""

    code = "too_many_masks"
    status = 413


class Busy(KeyscopeError):
    """A request that may succeed in `retry_after` seconds."""

    status = 503

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(Busy):
    """The queue of requests is full."""

    code = "queue_full"
    status = 429


class QueueTimeout(Busy):
    """A request waited too long for its turn."""

    code = "queue_timeout"


class OutOfMemory(Busy):
    """The device ran out of memory on a request; the worker keeps running."""

    code = "out_of_memory"


class WorkerStopping(Busy):
    """The worker is shutting down."""

    code = "worker_stopping"


class JobsFull(Busy):
    """The queue of jobs is full."""

    code = "jobs_full"
    status = 429


class NoJobs(KeyscopeError):
    """The worker was started without `--runs`, so it computes no analyses."""

    code = "no_jobs"
    status = 409


class UnknownRun(KeyscopeError):
    """There is no run of that name in the worker's directory."""

    code = "unknown_run"
    status = 404


class UnknownJob(KeyscopeError):
    """There is no job of that id."""

    code = "unknown_job"
    status = 404


class DeviceFailed(KeyscopeError):
    """The device failed, and only a new process can use it again."""

    code = "device_failed"


class InternalError(KeyscopeError):
    """An unexpected error; details are in the log."""

    code = "internal_error"
