"""What a live request can be refused for, or fail of."""

from keyscope.contract.errors import KeyscopeError


class Unauthorised(KeyscopeError):
    """The request does not carry the worker's token."""

    code = "unauthorised"
    status = 401
    challenge = "Bearer"


class InvalidRequest(KeyscopeError):
    """A request with a field that is missing, unknown or of a wrong value."""

    code = "invalid_request"
    status = 422


class OtherWeights(KeyscopeError):
    """The request is about the keys of a model that this worker does not serve."""

    code = "other_weights"
    status = 409


class UnknownToken(KeyscopeError):
    """A token id that the tokenizer does not have, or a place that the text does not have."""

    code = "unknown_token"
    status = 422


class NoSuchLayer(KeyscopeError):
    """A layer that the model does not have."""

    code = "unknown_layer"
    status = 422


class EmptyPrompt(KeyscopeError):
    """A prompt of which the tokenizer leaves no token."""

    code = "empty_prompt"
    status = 400


class PromptTooLong(KeyscopeError):
    """A prompt of more tokens than the worker takes."""

    code = "prompt_too_long"
    status = 400


class TooManyNewTokens(KeyscopeError):
    """More new tokens than the worker generates."""

    code = "too_many_new_tokens"
    status = 400


class TooManyMasks(KeyscopeError):
    """More masked keys than the worker takes."""

    code = "too_many_masks"
    status = 413


class Busy(KeyscopeError):
    """A request that may succeed later: `retry_after` says in how many seconds it is worth another try."""

    status = 503

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(Busy):
    """As many requests are waiting as the queue holds."""

    code = "queue_full"
    status = 429


class QueueTimeout(Busy):
    """A request whose turn did not come in time."""

    code = "queue_timeout"


class OutOfMemory(Busy):
    """The device had not enough memory for a request; the worker goes on."""

    code = "out_of_memory"


class WorkerStopping(Busy):
    """The worker is shutting down."""

    code = "worker_stopping"


class JobsFull(Busy):
    """As many jobs are waiting as the queue holds."""

    code = "jobs_full"
    status = 429


class NoJobs(KeyscopeError):
    """The worker was not told where the runs are, so it computes nothing for them."""

    code = "no_jobs"
    status = 409


class UnknownRun(KeyscopeError):
    """There is no run of that name where the worker looks."""

    code = "unknown_run"
    status = 404


class UnknownJob(KeyscopeError):
    """The worker knows of no such job."""

    code = "unknown_job"
    status = 404


class DeviceFailed(KeyscopeError):
    """The device is in a state that only a new process gets out of."""

    code = "device_failed"


class InternalError(KeyscopeError):
    """An error that nobody expected; the log says more."""

    code = "internal_error"
