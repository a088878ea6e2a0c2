"""Checking keys against a model."""

from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import ModelFacts
from keyscope.worker.model.errors import UnknownKey


def check_key(facts: ModelFacts, key: KeyId) -> None:
    """Check that a model has a key.

    Raises:
        UnknownKey: it does not.
    """
    if key.layer >= facts.n_layers:
        raise UnknownKey(f"there is no key {key}: {facts.model_id} has layers 0 to {facts.n_layers - 1}")
    if key.index >= facts.keys_per_layer[key.layer]:
        raise UnknownKey(
            f"there is no key {key}: layer {key.layer} of {facts.model_id} has keys 0 to "
            f"{facts.keys_per_layer[key.layer] - 1}"
        )
