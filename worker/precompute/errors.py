"""What can go wrong in a precompute."""

from keyscope.contract.errors import KeyscopeError


class OutputUnwritable(KeyscopeError):
    """The disk is full, or the output folder cannot be written."""

    code = "output_unwritable"


class UnfinishedRun(KeyscopeError):
    """An earlier precompute of the same run was interrupted, and nobody said whether to go on with it."""

    code = "unfinished_run"
    status = 409


class OutOfDeviceMemory(KeyscopeError):
    """Not even one window fits into the device's memory."""

    code = "out_of_device_memory"


class VerificationFailed(KeyscopeError):
    """Coefficients computed again by plain transformers differ by more than the tolerance."""

    code = "verification_failed"


class OtherModel(KeyscopeError):
    """The model at hand has other weights than the run."""

    code = "other_model"
    status = 409


class WindowTooLong(KeyscopeError):
    """The window does not fit into the model's context."""

    code = "window_too_long"
    status = 400
