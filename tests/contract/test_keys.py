"""Names of keys and baskets of masks."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from keyscope.contract.keys import (
    Fix,
    InvalidKey,
    InvalidMask,
    KeyId,
    Mask,
    Scale,
    format_basket,
    parse_basket,
    unique_masks,
)

KEYS = st.builds(KeyId, st.integers(0, 999_999), st.integers(0, 999_999_999))
FACTORS = st.floats(allow_nan=False, allow_infinity=False)


@given(KEYS)
def test_a_keys_name_reads_back_as_the_key(key: KeyId) -> None:
    assert KeyId.parse(str(key)) == key


def test_names_may_be_typed_in_any_case_with_space_around() -> None:
    assert str(KeyId.parse(" l5.k312 ")) == "L5.K312"


@pytest.mark.parametrize(
    "text", ["", "L5", "L5.K", "L-1.K2", "L05.K1", "L5.K1.5", "L5.K٣", "5.312", "L5.K312:0", "L5 .K1"]
)
def test_other_texts_are_no_keys(text: str) -> None:
    with pytest.raises(InvalidKey, match=r"L5\.K312"):
        KeyId.parse(text)


def test_keys_are_ordered_by_layer_then_index() -> None:
    assert KeyId(2, 10) < KeyId(10, 2)
    assert sorted([KeyId(1, 10), KeyId(1, 9), KeyId(0, 99)]) == [KeyId(0, 99), KeyId(1, 9), KeyId(1, 10)]


@given(st.dictionaries(KEYS, FACTORS, max_size=5))
def test_a_basket_reads_back_exactly(factors: dict[KeyId, float]) -> None:
    masks = [Mask(key, Scale(factor)) for key, factor in factors.items()]
    assert parse_basket(format_basket(masks)) == masks


@given(st.dictionaries(KEYS, FACTORS, max_size=5))
def test_a_number_in_a_coefficients_place_reads_back_exactly(values: dict[KeyId, float]) -> None:
    masks = [Mask(key, Fix(value)) for key, value in values.items()]
    assert parse_basket(format_basket(masks)) == masks
    asked = Asked(masks=masks)
    assert Asked.model_validate_json(asked.model_dump_json()) == asked
    assert all("value" in item for item in asked.model_dump()["masks"])


def test_a_basket_is_short_and_a_missing_factor_is_0() -> None:
    assert format_basket([Mask(KeyId(5, 312)), Mask(KeyId(6, 41), Scale(0.5))]) == "L5.K312:0,L6.K41:0.5"
    assert parse_basket("L5.K312, L6.K41:0.5,") == [Mask(KeyId(5, 312)), Mask(KeyId(6, 41), Scale(0.5))]
    assert parse_basket("") == []


def test_a_key_twice_with_one_factor_counts_once_and_with_two_is_refused() -> None:
    twice = [Mask(KeyId(1, 2), Scale(0.5)), Mask(KeyId(0, 1)), Mask(KeyId(1, 2), Scale(0.5))]
    assert unique_masks(twice) == twice[:2]
    with pytest.raises(InvalidMask, match=r"L1\.K2 is masked in two ways, 0\.5 and 0"):
        unique_masks([*twice, Mask(KeyId(1, 2))])


@pytest.mark.parametrize("text", ["L1.K2:x", "L1.K2:nan", "L1.K2:inf", "L1.K2:", "L1.K2:=", "L1.K2:=nan"])
def test_a_factor_has_to_be_a_finite_number(text: str) -> None:
    with pytest.raises(InvalidMask):
        parse_basket(text)


class Asked(BaseModel):
    masks: list[Mask]


def test_models_read_and_write_masks_as_key_and_factor() -> None:
    asked = Asked.model_validate({"masks": [{"key": "l1.k2"}, {"key": "L0.K1", "factor": 0.5}]})
    assert asked.masks == [Mask(KeyId(1, 2)), Mask(KeyId(0, 1), Scale(0.5))]
    items = [{"key": "L1.K2", "factor": 0.0}, {"key": "L0.K1", "factor": 0.5}]
    assert json.loads(asked.model_dump_json()) == asked.model_dump() == {"masks": items}
    assert Asked(masks=asked.masks) == Asked.model_validate_json(asked.model_dump_json()) == asked


def test_a_wrong_mask_is_named_by_its_field() -> None:
    with pytest.raises(ValidationError) as wrong:
        Asked.model_validate({"masks": [{"key": "L1"}, {"key": "L1.K1", "factor": float("inf")}]})
    assert [error["loc"] for error in wrong.value.errors()] == [("masks", 0, "key"), ("masks", 1, "factor")]
