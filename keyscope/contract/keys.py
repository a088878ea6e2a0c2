"""The name of a key, `L12.K3041` or in an encoder–decoder `E3.K17` and `D3.K17`, and masks: `L5.K312:0`, `L5.K312:=0.25`."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, assert_never, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.texts import shortest

_NAME = re.compile(r"([LED])(0|[1-9][0-9]{0,5})\.K(0|[1-9][0-9]{0,8})", re.ASCII | re.IGNORECASE)

Stack = Literal["L", "E", "D"]
"""The stack a layer is in, by the letter that its keys' names begin with: L in models with one, else E or D."""


class InvalidKey(KeyscopeError, ValueError, status=422):
    """A text that is not the name of a key."""


class InvalidMask(KeyscopeError, ValueError, status=422):
    """A mask that cannot be read, or two masks of one key that contradict each other."""


@dataclass(frozen=True, order=True, slots=True)
class KeyId:
    """One feed-forward neuron: its layer and its index in that layer, both from 0; layers count within their stack."""

    layer: int
    index: int
    stack: Stack = "L"

    def __post_init__(self) -> None:
        if self.layer < 0 or self.index < 0:
            raise InvalidKey(f"layer and index of a key start at 0: got layer {self.layer}, index {self.index}")

    def __str__(self) -> str:
        return f"{self.stack}{self.layer}.K{self.index}"

    @classmethod
    def parse(cls, text: str) -> "KeyId":
        """Read a name as people type it (`L5.K312`, `l5.k312`).

        Raises:
            InvalidKey: the text is anything else.
        """
        match = _NAME.fullmatch(text.strip())
        if match is None:
            raise InvalidKey(
                f"{text!r} is not a key: write layer and index like L5.K312, or E5.K312 and D5.K312 in an encoder–decoder"
            )
        return cls(int(match[2]), int(match[3]), cast("Stack", match[1].upper()))


KeyName = Annotated[str, AfterValidator(lambda text: str(KeyId.parse(text)))]
"""A key's name as JSON carries it: checked, and spelled `L5.K312` whatever case it came in."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Multiply the coefficient by a factor: 0 removes the key, 1 changes nothing."""

    factor: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.factor):
            raise InvalidMask(f"a factor must be a finite number, not {self.factor}")

    def __str__(self) -> str:
        return shortest(self.factor)

    @classmethod
    def parse(cls, text: str) -> "Scale":
        """Read a factor.

        Raises:
            InvalidMask: it is not a finite number.
        """
        return cls(_number(text, text, "a factor: write a number such as 0.5"))


@dataclass(frozen=True, slots=True)
class Fix:
    """Put a number in the coefficient's place: its mean leaves the key as it usually is, whatever it reads."""

    value: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise InvalidMask(f"a coefficient must be a finite number, not {self.value}")

    def __str__(self) -> str:
        return f"{_FIXED}{shortest(self.value)}"

    @classmethod
    def parse(cls, text: str) -> "Fix":
        """Read a number after the sign `=`.

        Raises:
            InvalidMask: it is not a finite number.
        """
        return cls(_number(text.strip().removeprefix(_FIXED), text, "a coefficient: write a number such as =0.25"))


def _number(text: str, typed: str, wanted: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidMask(f"{typed!r} is not {wanted}") from error


_FIXED = "="
Operation = Scale | Fix
"""What a mask does to a coefficient. For another operation mypy points to every `assert_never`."""
REMOVE = Scale(0.0)


def parse_operation(text: str) -> Operation:
    """Read what follows the colon in `L5.K312:0.5` or `L5.K312:=0.25`.

    Raises:
        InvalidMask: it is no operation.
    """
    return Fix.parse(text) if text.strip().startswith(_FIXED) else Scale.parse(text)


class MaskItem(BaseModel):
    """One masked key: what becomes of its coefficient at every position of every step."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    key: KeyName
    factor: float = Field(
        0.0, allow_inf_nan=False, description="Multiplies the coefficient: 0 removes the key, 1 leaves it as it is"
    )
    value: float | None = Field(
        None,
        allow_inf_nan=False,
        exclude_if=lambda value: value is None,
        description="Put in the coefficient's place; the factor then plays no part",
    )

    @property
    def mask(self) -> "Mask":
        """The mask that this JSON object describes."""
        return Mask(KeyId.parse(self.key), Scale(self.factor) if self.value is None else Fix(self.value))


@dataclass(frozen=True, slots=True)
class Mask:
    """A key and what is done to its coefficient: `L5.K312:0.5` or `L5.K312:=0.25` as text, a `MaskItem` in JSON."""

    key: KeyId
    operation: Operation = REMOVE

    def __str__(self) -> str:
        return f"{self.key}:{self.operation}"

    @classmethod
    def parse(cls, text: str) -> "Mask":
        """Read `L5.K312:0.5`; without an operation the key is removed.

        Raises:
            InvalidKey: the part before the colon is not a key.
            InvalidMask: the part after it is not an operation.
        """
        name, colon, operation = text.partition(":")
        key = KeyId.parse(name)
        try:
            return cls(key, parse_operation(operation) if colon else REMOVE)
        except InvalidMask as error:
            raise InvalidMask(f"{key} cannot be masked: {error}") from error

    @property
    def item(self) -> MaskItem:
        """The mask as a JSON object."""
        match self.operation:
            case Scale(factor):
                return MaskItem(key=str(self.key), factor=factor)
            case Fix(value):
                return MaskItem(key=str(self.key), value=value)
            case _:
                assert_never(self.operation)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let models hold masks, and read and write them as `MaskItem`."""
        item = handler.generate_schema(MaskItem)

        def read(value: Any, as_item: Callable[[Any], MaskItem]) -> Mask:
            return value if isinstance(value, Mask) else as_item(value).mask

        return core_schema.no_info_wrap_validator_function(
            read,
            item,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda mask: mask.item, return_schema=item),
        )


def unique_masks(masks: Iterable[Mask]) -> list[Mask]:
    """Return the masks in order, equal ones once.

    Raises:
        InvalidMask: a key is masked in two ways.
    """
    operations: dict[KeyId, Operation] = {}
    for mask in masks:
        known = operations.setdefault(mask.key, mask.operation)
        if known != mask.operation:
            raise InvalidMask(f"{mask.key} is masked in two ways, {known} and {mask.operation}: choose one")
    return [Mask(key, operation) for key, operation in operations.items()]


def parse_basket(text: str) -> list[Mask]:
    """Read masks as addresses carry them: `L5.K312:0,L6.K41:0.5`.

    Raises:
        InvalidKey, InvalidMask: a mask cannot be read, or a key is masked in two ways.
    """
    return unique_masks(Mask.parse(part) for part in text.split(",") if part.strip())


def format_basket(masks: Iterable[Mask]) -> str:
    """Write masks so that `parse_basket` reads them back exactly."""
    return ",".join(map(str, masks))
