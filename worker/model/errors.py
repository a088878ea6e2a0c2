"""What can go wrong with a model."""

from keyscope.contract.errors import KeyscopeError


class ModelNotFound(KeyscopeError):
    """No model of that name: neither a folder, nor a GGUF file, nor a repository of the hub that can be reached."""

    code = "model_not_found"
    status = 404


class ModelUnreadable(KeyscopeError):
    """A model that is there and cannot be loaded: files are missing, cut short or contradict each other."""

    code = "model_unreadable"
    status = 400


class UnknownArchitecture(KeyscopeError):
    """A model whose feed-forward layers are not described in the table of families."""

    code = "unknown_architecture"
    status = 400


class ModelCheckFailed(KeyscopeError):
    """A model that does not behave as its family's entry says, so that no number read from it could be trusted."""

    code = "model_check_failed"


class UnknownKey(KeyscopeError):
    """A key with a layer or index that the model does not have."""

    code = "unknown_key"
    status = 422


class MaskNotApplied(KeyscopeError):
    """A mask was set and did not act."""

    code = "mask_not_applied"


class LogitsNotFinite(KeyscopeError):
    """Factors so large that the model's logits are no numbers any more."""

    code = "logits_not_finite"
    status = 422


class DeviceUnavailable(KeyscopeError):
    """A device or a number type that this machine does not have."""

    code = "device_unavailable"
    status = 400
