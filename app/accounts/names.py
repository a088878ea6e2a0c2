"""The display names of people."""

import unicodedata

from keyscope.app.errors import InvalidParameter

LONGEST = 100


def person_name(text: str) -> str:
    """A display name with its white space tidied.

    Raises:
        InvalidParameter: the name is empty, too long or not printable.
    """
    name = " ".join(text.split())
    if not name:
        raise InvalidParameter("a name is needed: enter yours")
    if len(name) > LONGEST or any(unicodedata.category(character).startswith("C") for character in name):
        raise InvalidParameter(f"{name[:LONGEST]!r} cannot be a name: write up to {LONGEST} printable characters")
    return name
