"""The display names of people, and when two of them are too alike."""

import unicodedata

from keyscope.app.errors import InvalidParameter

LONGEST = 100

_LOOK_ALIKES = str.maketrans(
    "аеёіїјкмнорстухѕԁһӏԛԝвɡıαβγεηικνορτυχμ",
    "aeeiijkmhopctyxsdhlqwbgiabyenikvoptyxm",
)
"""Letters of other alphabets, in lower case, and the Latin ones they could be taken for."""


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


def folded(name: str) -> str:
    """A name in the form in which names are compared: without case, extra white space and character variants."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", " ".join(name.split())).casefold())


def outline(name: str) -> str:
    """What a name looks like: names of one outline could be taken for each other, whatever alphabets they mix."""
    return folded(name).translate(_LOOK_ALIKES)
