"""Concepts: named patterns over source code, one for each language it makes sense in; those that are shipped."""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.patterns import Regex, is_identifier
from keyscope.contract.validation import reason

LONGEST_NAME = 40
MOST_IDENTIFIERS = 500
LONGEST_IDENTIFIER = 100
LONGEST_QUERY = 5000
MOST_LANGUAGES = 16
_LANGUAGE = re.compile(r"[a-z0-9+#-]{1,20}")
_HASH = 8


class InvalidConcept(KeyscopeError, ValueError):
    """A concept that cannot be used; the message names the pattern and the place."""

    code = "invalid_concept"
    status = 422


class Pattern(BaseModel):
    """What is of the concept in one language; exactly one of the three."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    regex: str | None = Field(None, description="An expression in RE2's syntax")
    identifiers: tuple[str, ...] | None = Field(None, description="Whole identifiers, outside comments and strings")
    query: str | None = Field(None, description="A tree-sitter query; everything it captures")

    @property
    def kind(self) -> str:
        """Which of the three it is."""
        return next(name for name in ("regex", "identifiers", "query") if getattr(self, name) is not None)

    @property
    def text(self) -> str:
        """The pattern as a person writes it."""
        return " ".join(self.identifiers) if self.identifiers is not None else self.regex or self.query or ""

    @model_validator(mode="after")
    def _check(self) -> "Pattern":
        given = [name for name in ("regex", "identifiers", "query") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidConcept(
                f"a pattern is one of regex, identifiers and query, not {' and '.join(given) or 'none'}"
            )
        if self.regex is not None:
            Regex(self.regex)
        if self.identifiers is not None:
            _check_identifiers(self.identifiers)
        if self.query is not None:
            _check_query(self.query)
        return self


class Concept(BaseModel):
    """A concept with a pattern for each language it is looked for in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=LONGEST_NAME, description="Letters a-z, digits and hyphens"
    )
    title: str = Field(min_length=1, max_length=100)
    description: str = Field("", max_length=2000)
    patterns: Mapping[str, Pattern] = Field(min_length=1, max_length=MOST_LANGUAGES, description="By language")

    @model_validator(mode="after")
    def _check(self) -> "Concept":
        for language in self.patterns:
            if not _LANGUAGE.fullmatch(language):
                raise InvalidConcept(f"{language!r} is no language: write it as runs name theirs, such as python")
        return self

    @property
    def sha256(self) -> str:
        """Of the definition: what the patterns match, whatever the concept is called and said to be."""
        patterns = {name: pattern.model_dump(exclude_none=True) for name, pattern in self.patterns.items()}
        return hashlib.sha256(json.dumps(patterns, sort_keys=True).encode()).hexdigest()

    @property
    def part(self) -> str:
        """The name with the start of the definition's sha256, by which its results are told apart from others'."""
        return f"{self.name}-{self.sha256[:_HASH]}"


def define(values: Mapping[str, Any]) -> Concept:
    """A concept from its fields.

    Raises:
        InvalidConcept: the first of them that is wrong, named with its language.
    """
    try:
        return Concept.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = " ".join(str(part) for part in first["loc"] if part != "patterns")
        raise InvalidConcept(f"{place}: {_reason(first)}" if place else _reason(first)) from error


def _reason(error: Any) -> str:
    if error["type"] == "string_pattern_mismatch":
        return f"{error['input']!r} is no name: write letters a to z, digits and single hyphens"
    if error["loc"] == ("patterns",):
        return f"a concept has a pattern for 1 to {MOST_LANGUAGES} languages"
    return reason(error)


def _check_identifiers(names: tuple[str, ...]) -> None:
    if not 0 < len(names) <= MOST_IDENTIFIERS:
        raise InvalidConcept(f"a list has 1 to {MOST_IDENTIFIERS} identifiers, not {len(names)}")
    for number, name in enumerate(names, start=1):
        if len(name) > LONGEST_IDENTIFIER or not is_identifier(name):
            raise InvalidConcept(f"{name[:LONGEST_IDENTIFIER]!r}, number {number} of the list, is no identifier")


def _check_query(query: str) -> None:
    if not query.strip() or len(query) > LONGEST_QUERY:
        raise InvalidConcept(f"a query has 1 to {LONGEST_QUERY} characters, not {len(query.strip())}")


def _shipped() -> tuple[Concept, ...]:
    table = tomllib.loads((Path(__file__).with_suffix(".toml")).read_text("utf-8"))
    return tuple(define({"name": name, **values}) for name, values in table.items())


SHIPPED = _shipped()
"""The concepts that come with the product, from the table beside this module."""
