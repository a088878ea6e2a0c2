"""The programming languages a corpus may hold, in one table."""

from collections.abc import Iterable
from os.path import splitext

from keyscope.contract.errors import KeyscopeError

SUFFIXES = {"python": ".py", "java": ".java", "go": ".go"}
"""Language → suffix of its files; suffixes are compared without regard to case."""

_LANGUAGE_OF_SUFFIX = {suffix: language for language, suffix in SUFFIXES.items()}


class UnknownLanguage(KeyscopeError, ValueError):
    """A language that is not in the table."""

    code = "unknown_language"
    status = 400


def language_of(path: str) -> str | None:
    """The language a path's suffix stands for; None for every other file."""
    return _LANGUAGE_OF_SUFFIX.get(splitext(path)[1].lower())


def check_languages(names: Iterable[str]) -> tuple[str, ...]:
    """The languages in the order asked for, each once.

    Raises:
        UnknownLanguage: a name is not in the table, or there is none.
    """
    languages = tuple(dict.fromkeys(names))
    for name in languages or ("",):
        if name not in SUFFIXES:
            raise UnknownLanguage(f"{name!r} is no language of a corpus: choose from {', '.join(SUFFIXES)}")
    return languages
