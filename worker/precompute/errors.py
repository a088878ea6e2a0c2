"""Errors of a precompute."""

from keyscope.contract.errors import KeyscopeError


class OutputUnwritable(KeyscopeError):
    """The disk is full, or the output folder cannot be written."""

    code = "output_unwritable"


class UnfinishedRun(KeyscopeError):
    """An earlier precompute of the same run was interrupted or is still at work."""

    code = "unfinished_run"
    status = 409


class OutOfDeviceMemory(KeyscopeError):
    """Not even one window fits into the device's memory."""

    code = "out_of_device_memory"


class VerificationFailed(KeyscopeError):
    """Coefficients recomputed with plain transformers differ by more than the tolerance."""

    code = "verification_failed"


class OtherModel(KeyscopeError):
    """The model's weights differ from the run's."""

    code = "other_model"
    status = 409


class WindowTooLong(KeyscopeError):
    """The window does not fit into the model's context."""

    code = "window_too_long"
    status = 400
