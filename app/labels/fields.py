"""Limits and types for the texts of a label that forms and programs send."""

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

LONGEST_DESCRIPTION = 4000
LONGEST_TAG = 50
LONGEST_DEFINITION = 1000
MOST_TAGS = 20
MOST_EVIDENCE = 200


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text cannot contain the character NUL")
    return text


def _one_tag(text: str) -> str:
    if "," in text:
        raise ValueError("a tag cannot contain a comma, because commas separate tags")
    return text


Description = Annotated[str, StringConstraints(max_length=LONGEST_DESCRIPTION), AfterValidator(_storable)]
Definition = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_DEFINITION),
    AfterValidator(_storable),
]
Tag = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_TAG),
    AfterValidator(_storable),
    AfterValidator(_one_tag),
]
