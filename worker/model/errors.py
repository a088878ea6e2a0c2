"""Errors of models."""

from keyscope.contract.errors import KeyscopeError


class ModelNotFound(KeyscopeError):
    """No model of that name: no folder, no GGUF file, and no repository of the hub within reach."""

    code = "model_not_found"
    status = 404


class ModelUnreadable(KeyscopeError):
    """The model exists but cannot be loaded: files are missing, truncated or inconsistent."""

    code = "model_unreadable"
    status = 400


class UnknownArchitecture(KeyscopeError):
    """The table of families does not have the model's architecture."""

    code = "unknown_architecture"
    status = 400


class ModelCheckFailed(KeyscopeError):
    """The model does not behave as its family's entry says, so no number read from it could be trusted."""

    code = "model_check_failed"


class UnknownKey(KeyscopeError):
    """The model does not have a key's layer or index."""

    code = "unknown_key"
    status = 422


class MaskNotApplied(KeyscopeError):
    """A mask was set but did not act."""

    code = "mask_not_applied"


class LogitsNotFinite(KeyscopeError):
    """The logits are not finite, because masks have too large factors."""

    code = "logits_not_finite"
    status = 422


class DeviceUnavailable(KeyscopeError):
    """This machine does not have the device or dtype."""

    code = "device_unavailable"
    status = 400
