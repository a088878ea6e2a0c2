"""Whether a key exists in its run, and which keys are beside it."""

import random
from dataclasses import dataclass

from keyscope.app.errors import OtherStack, UnknownKey, UnknownLayer
from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The keys before and after a key in its layer, and those at the same index in the layers below and above."""

    previous: KeyId | None
    next: KeyId | None
    below: KeyId | None
    above: KeyId | None


def check_layer(manifest: Manifest, layer: int) -> int:
    """Check that the run has the layer, and return its number of keys.

    Raises:
        UnknownLayer: the run has no such layer.
    """
    if not 0 <= layer < manifest.model.n_layers:
        raise UnknownLayer(manifest.run_id, layer, manifest.model.n_layers)
    return manifest.model.keys_per_layer[layer]


def check_model_key(manifest: Manifest, key: KeyId) -> None:
    """Check that the run's model has the key, in either stack.

    Raises:
        UnknownLayer: it has no such layer.
        UnknownKey: the layer has no such key.
    """
    sizes = manifest.model.keys_in(key.stack)
    if not sizes or key.stack == manifest.model.stack:
        check_key(manifest, key)
    elif key.layer >= len(sizes):
        raise UnknownLayer(manifest.model.model_id, key.layer, len(sizes))
    elif key.index >= sizes[key.layer]:
        raise UnknownKey(manifest.model.model_id, key, len(sizes), sizes[key.layer])


def check_key(manifest: Manifest, key: KeyId) -> None:
    """Check that the run has the key.

    Raises:
        UnknownLayer: the run has no such layer.
        UnknownKey: the layer has no such key, or the key is in another stack.
    """
    if key.stack != manifest.model.stack:
        raise OtherStack(manifest.run_id, key, manifest.model.stack)
    n_keys = check_layer(manifest, key.layer)
    if key.index >= n_keys:
        raise UnknownKey(manifest.run_id, key, manifest.model.n_layers, n_keys)


def neighbours(manifest: Manifest, key: KeyId) -> Neighbours:
    """The keys that the arrow keys lead to; None at the edges of the model."""
    sizes, key_of = manifest.model.keys_per_layer, manifest.model.key

    def at_layer(layer: int) -> KeyId | None:
        return key_of(layer, min(key.index, sizes[layer] - 1)) if 0 <= layer < len(sizes) else None

    return Neighbours(
        previous=key_of(key.layer, key.index - 1) if key.index > 0 else None,
        next=key_of(key.layer, key.index + 1) if key.index + 1 < sizes[key.layer] else None,
        below=at_layer(key.layer - 1),
        above=at_layer(key.layer + 1),
    )


def random_key(manifest: Manifest) -> KeyId:
    """A key of the run, uniformly at random."""
    number = random.randrange(manifest.n_keys)  # noqa: S311 - a suggestion, not a secret
    for layer, size in enumerate(manifest.model.keys_per_layer):
        if number < size:
            return manifest.model.key(layer, number)
        number -= size
    raise AssertionError("the number is below the sum of all layers")
