"""Errors of a precompute."""

from keyscope.contract.errors import KeyscopeError


class OutputUnwritable(KeyscopeError):
    """The disk is full, or the output folder cannot be written."""


class UnfinishedRun(KeyscopeError, status=409):
    """An earlier precompute of the same run was interrupted or is still at work."""


class OutOfDeviceMemory(KeyscopeError):
    """Not even one window fits into the device's memory."""


class VerificationFailed(KeyscopeError):
    """Coefficients recomputed with plain transformers differ by more than the tolerance."""


class OtherModel(KeyscopeError, status=409):
    """The model's weights differ from the run's."""


class WindowTooLong(KeyscopeError, status=400):
    """The window does not fit into the model's context."""
