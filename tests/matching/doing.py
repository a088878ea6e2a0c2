"""What a child under test does for each answer, by the name of it."""

import os
import re
from collections.abc import Iterator, Sequence

from keyscope.contract.errors import KeyscopeError


class Refused(KeyscopeError, status=422):
    """Meant for people."""


def answers(request: Sequence[str]) -> Iterator[object]:
    for each in request:
        match each:
            case "pid":
                yield os.getpid()
            case "hang":  # in C, with the interpreter locked
                yield re.match("(a+)+$", "a" * 100 + "b")
            case "devour":
                yield bytearray(1 << 40)
            case "abort":
                os.abort()
            case "refuse":
                raise Refused("not this")
            case "fail":
                raise ValueError("a mistake of ours")
