"""The names of those who label."""

import unicodedata

from keyscope.app.errors import InvalidParameter

LONGEST = 100


def person_name(text: str) -> str:
    """A display name, white space tidied.

    Raises:
        InvalidParameter: it is empty, too long, or has characters that cannot be printed.
    """
    name = " ".join(text.split())
    if not name:
        raise InvalidParameter("a label needs a person: give your name")
    if len(name) > LONGEST or any(unicodedata.category(character).startswith("C") for character in name):
        raise InvalidParameter(f"{name[:LONGEST]!r} is no name: write up to {LONGEST} printable characters")
    return name
