"""Checking keys against a model."""

from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import ModelFacts
from keyscope.worker.model.errors import UnknownKey


def check_key(facts: ModelFacts, key: KeyId) -> None:
    """Check that a model has a key.

    Raises:
        UnknownKey: it does not.
    """
    sizes = facts.keys_in(key.stack)
    if not sizes:
        letters = facts.stack if facts.stack == "L" else "E or D"
        raise UnknownKey(f"there is no key {key}: names of keys of {facts.model_id} begin with {letters}")
    if key.layer >= len(sizes):
        raise UnknownKey(f"there is no key {key}: {facts.model_id} has layers 0 to {len(sizes) - 1}")
    if key.index >= sizes[key.layer]:
        raise UnknownKey(
            f"there is no key {key}: layer {key.layer} of {facts.model_id} has keys 0 to {sizes[key.layer] - 1}"
        )
