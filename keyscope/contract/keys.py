"""The one name of a key, `L12.K3041`, and the baskets of masked keys written with it."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from keyscope.contract.errors import KeyscopeError

_NAME = re.compile(r"L(0|[1-9][0-9]{0,5})\.K(0|[1-9][0-9]{0,8})", re.ASCII | re.IGNORECASE)


class InvalidKey(KeyscopeError, ValueError):
    """A text that is not the name of a key."""

    code = "invalid_key"
    status = 422


class InvalidMask(KeyscopeError, ValueError):
    """A basket of masks that cannot be read, or that asks for two things at once."""

    code = "invalid_mask"
    status = 422


@dataclass(frozen=True, order=True, slots=True)
class KeyId:
    """One feed-forward neuron: its layer and its index in that layer, both from 0."""

    layer: int
    index: int

    def __post_init__(self) -> None:
        if self.layer < 0 or self.index < 0:
            raise InvalidKey(f"a key has no negative layer or index: got layer {self.layer}, index {self.index}")

    def __str__(self) -> str:
        return f"L{self.layer}.K{self.index}"

    @classmethod
    def parse(cls, text: str) -> "KeyId":
        """Read a name as people type it (`L5.K312`, `l5.k312`).

        Raises:
            InvalidKey: the text is anything else.
        """
        match = _NAME.fullmatch(text.strip())
        if match is None:
            raise InvalidKey(f"{text!r} is not a key: write layer and index like L5.K312")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Mask:
    """A key and the factor its coefficient is multiplied by; 0 removes the key."""

    key: KeyId
    factor: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.factor):
            raise InvalidMask(f"the factor of {self.key} is {self.factor}: it has to be a finite number")

    def __str__(self) -> str:
        short = f"{self.factor:g}"
        return f"{self.key}:{short if float(short) == self.factor else repr(self.factor)}"


def unique_masks(masks: Iterable[Mask]) -> list[Mask]:
    """The masks in their order, a key given twice with one factor counted once.

    Raises:
        InvalidMask: a key is given with two factors.
    """
    factors: dict[KeyId, float] = {}
    for mask in masks:
        if factors.setdefault(mask.key, mask.factor) != mask.factor:
            raise InvalidMask(f"{mask.key} has two factors, {factors[mask.key]:g} and {mask.factor:g}: choose one")
    return [Mask(key, factor) for key, factor in factors.items()]


def parse_basket(text: str) -> list[Mask]:
    """Read a basket as it stands in an address: `L5.K312:0,L6.K41:0.5`; a missing factor is 0.

    Raises:
        InvalidMask: a factor is no number, or a key is given with two factors.
        InvalidKey: a part is not a key.
    """
    masks = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, colon, factor = part.partition(":")
        try:
            masks.append(Mask(KeyId.parse(name), float(factor) if colon else 0.0))
        except InvalidKey:
            raise
        except ValueError as error:
            raise InvalidMask(f"{factor!r} is not a factor for {name}: write a number, as in {name}:0.5") from error
    return unique_masks(masks)


def format_basket(masks: Iterable[Mask]) -> str:
    """The inverse of `parse_basket`."""
    return ",".join(map(str, masks))
