import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from keyscope.contract.validation import message, reason, sentence


class Order(BaseModel):
    amount: int = Field(ge=1)
    name: str = "x"
    parts: list[int] = []

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name != "x":
            raise ValueError(f"nobody is called {name!r}")
        return name


def errors(**values: object) -> list[object]:
    with pytest.raises(ValidationError) as wrong:
        Order.model_validate(values)
    return list(wrong.value.errors())


def test_a_wrong_value_is_named_with_what_was_given():
    assert sentence(errors(amount=0)) == "amount: Input should be greater than or equal to 1, got 0"
    assert sentence(errors(amount="x" * 100)).endswith(f"got '{'x' * 59}")


def test_sentences_of_our_own_and_missing_values_need_no_value_after_them():
    assert sentence(errors(amount=1, name="y")) == "name: nobody is called 'y'"
    assert sentence(errors()) == "amount: Field required"


def test_a_message_leaves_the_value_out():
    (wrong,) = errors(amount=0)
    assert reason(wrong) == f"{message(wrong)}, got 0"


def test_places_are_paths_and_only_the_first_are_listed():
    listed = sentence(errors(amount=1, parts=["a", 2, "b", "c", "d", "e"]))
    assert listed.startswith("parts.0: Input should be a valid integer")
    assert listed.endswith("got 'c'; and 2 more wrong values")


def test_leading_parts_of_a_place_can_be_left_out():
    assert sentence(errors(amount=0), start=1, whole="the request").startswith("the request: Input should")
