"""The programming languages of a corpus, in one table."""

from collections.abc import Iterable
from os.path import splitext

from keyscope.contract.errors import KeyscopeError

SUFFIXES = {"python": ".py", "java": ".java", "go": ".go"}
"""Suffix by language; compared ignoring case."""

_LANGUAGE_OF_SUFFIX = {suffix: language for language, suffix in SUFFIXES.items()}


class UnknownLanguage(KeyscopeError, ValueError, status=400):
    """The language is not in the table."""


def language_of(path: str) -> str | None:
    """The language of a path by its suffix; None for other files."""
    return _LANGUAGE_OF_SUFFIX.get(splitext(path)[1].lower())


def check_languages(names: Iterable[str]) -> tuple[str, ...]:
    """Check languages and return them in order, each once.

    Raises:
        UnknownLanguage: a name is not in the table, or there are no names.
    """
    languages = tuple(dict.fromkeys(names))
    for name in languages or ("",):
        if name not in SUFFIXES:
            raise UnknownLanguage(f"{name!r} is not a language of corpora: choose from {', '.join(SUFFIXES)}")
    return languages
