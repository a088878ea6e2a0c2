"""Concepts: named patterns over source code, one per language, and the ones shipped with the product."""

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
from keyscope.contract.validation import check_text, reason

LONGEST_NAME = 40
MOST_IDENTIFIERS = 500
LONGEST_IDENTIFIER = 100
LONGEST_QUERY = 5000
MOST_LANGUAGES = 16
_LANGUAGE = re.compile(r"[a-z0-9+#-]{1,20}")
_HASH = 8


class InvalidConcept(KeyscopeError, ValueError, status=422):
    """The concept cannot be used; the message names the pattern and the place in it."""


class Pattern(BaseModel):
    """The pattern of a concept in one language: exactly one of the three."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    regex: str | None = Field(None, description="Regular expression in RE2 syntax")
    identifiers: tuple[str, ...] | None = Field(
        None, description="Whole identifiers, not matched in comments and strings"
    )
    query: str | None = Field(None, description="Tree-sitter query; everything it captures matches")

    @property
    def kind(self) -> str:
        """`regex`, `identifiers` or `query`."""
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
                f"a pattern is exactly one of regex, identifiers and query, not {' and '.join(given) or 'none'}"
            )
        check_text(self.text)
        if self.regex is not None:
            Regex(self.regex)
        if self.identifiers is not None:
            _check_identifiers(self.identifiers)
        if self.query is not None:
            _check_query(self.query)
        return self


class Concept(BaseModel):
    """A concept with a pattern for each language it is defined in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$",
        max_length=LONGEST_NAME,
        description="Lower-case letters a-z, digits and single hyphens",
    )
    title: str = Field(min_length=1, max_length=100)
    description: str = Field("", max_length=2000)
    patterns: Mapping[str, Pattern] = Field(min_length=1, max_length=MOST_LANGUAGES, description="Pattern by language")

    @model_validator(mode="after")
    def _check(self) -> "Concept":
        for language in self.patterns:
            if not _LANGUAGE.fullmatch(language):
                raise InvalidConcept(f"{language!r} is not a language: write its name as runs do, such as python")
        return self

    @property
    def sha256(self) -> str:
        """Hash of the patterns alone: renaming or redescribing a concept keeps its results valid."""
        patterns = {name: pattern.model_dump(exclude_none=True) for name, pattern in self.patterns.items()}
        return hashlib.sha256(json.dumps(patterns, sort_keys=True).encode()).hexdigest()

    @property
    def part(self) -> str:
        """Name and start of the definition's sha256: identifies the concept's results."""
        return f"{self.name}-{self.sha256[:_HASH]}"


def define(values: Mapping[str, Any]) -> Concept:
    """Make a concept from its fields.

    Raises:
        InvalidConcept: a field is wrong; the message names the first one and its language.
    """
    try:
        return Concept.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = " ".join(str(part) for part in first["loc"] if part != "patterns")
        raise InvalidConcept(f"{place}: {_reason(first)}" if place else _reason(first)) from error


def _reason(error: Any) -> str:
    if error["type"] == "string_pattern_mismatch":
        return f"{error['input']!r} is not a name: use letters a to z, digits and single hyphens"
    if error["loc"] == ("patterns",):
        return f"give patterns for 1 to {MOST_LANGUAGES} languages"
    return reason(error)


def _check_identifiers(names: tuple[str, ...]) -> None:
    if not 0 < len(names) <= MOST_IDENTIFIERS:
        raise InvalidConcept(f"give 1 to {MOST_IDENTIFIERS} identifiers, not {len(names)}")
    for number, name in enumerate(names, start=1):
        if len(name) > LONGEST_IDENTIFIER or not is_identifier(name):
            raise InvalidConcept(f"{name[:LONGEST_IDENTIFIER]!r}, number {number} in the list, is not an identifier")


def _check_query(query: str) -> None:
    if not query.strip() or len(query) > LONGEST_QUERY:
        raise InvalidConcept(f"write a query of 1 to {LONGEST_QUERY} characters, not {len(query.strip())}")


def _shipped() -> tuple[Concept, ...]:
    table = tomllib.loads((Path(__file__).with_suffix(".toml")).read_text("utf-8"))
    return tuple(define({"name": name, **values}) for name, values in table.items())


SHIPPED = _shipped()
"""The concepts that come with the product, from concepts.toml beside this module."""
