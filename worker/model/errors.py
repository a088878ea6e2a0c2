"""Errors of models."""

from keyscope.contract.errors import KeyscopeError


class ModelNotFound(KeyscopeError, status=404):
    """No model of that name: no folder, no GGUF file, and no repository of the hub within reach."""


class ModelUnreadable(KeyscopeError, status=400):
    """The model exists but cannot be loaded: files are missing, truncated or inconsistent."""


class UnknownArchitecture(KeyscopeError, status=400):
    """The table of families does not have the model's architecture."""


class NoPlainFeedForward(KeyscopeError, status=400):
    """The model's layers have no keys that could be read and masked: experts are routed, or there is no feed-forward."""


class QuantisedWeights(KeyscopeError, status=400):
    """The model's weights are quantised, so they cannot be read as vectors."""


class UndefinedHere(KeyscopeError, status=422):
    """The architecture does not define the answer to a question."""


class ModelCheckFailed(KeyscopeError):
    """The model does not behave as its family's entry says, so no number read from it could be trusted."""


class NoEndOfText(KeyscopeError, status=400):
    """The tokenizer has no end-of-text token to put in front of a window."""


class TaskUnfit(KeyscopeError, status=422):
    """The task, or what is to stand in front of a window, is not for models of this kind."""


class UnknownKey(KeyscopeError, status=422):
    """The model does not have a key's layer or index."""


class MaskNotApplied(KeyscopeError):
    """A mask was set but did not act."""


class LogitsNotFinite(KeyscopeError, status=422):
    """The logits are not finite, because masks have too large factors."""


class DeviceUnavailable(KeyscopeError, status=400):
    """This machine does not have the device or dtype."""
