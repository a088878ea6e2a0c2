"""The base class of every error shown to people as a sentence."""

import re

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class KeyscopeError(Exception):
    """A problem whose message names the thing, the value and what to do.

    `code` is its machine-readable name in JSON: the name of the class in snake case, unless the class gives another.
    `status` is the HTTP status the servers answer with; subclasses inherit it.
    """

    code = "error"
    status = 500

    def __init_subclass__(cls, status: int | None = None, code: str | None = None) -> None:
        super().__init_subclass__()
        cls.code = code or _WORD.sub("_", cls.__name__).lower()
        cls.status = status or cls.status

    @property
    def detail(self) -> str:
        """The sentence to show."""
        return str(self)
