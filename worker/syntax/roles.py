"""Roles of tokens: a keyword, a name that is defined or used, part of a string, indentation, …"""

import numpy as np
import numpy.typing as npt

from keyscope.worker.syntax.outline import outline
from keyscope.worker.syntax.role import Role, code_of

__all__ = ["Role", "continues", "first_visible", "token_roles"]

_BLANK = np.zeros(256, dtype=bool)
_BLANK[list(b" \t\r\n\f\v")] = True
_WORD = np.zeros(256, dtype=bool)
_WORD[[*b"0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", *range(0x80, 0x100)]] = True


def token_roles(text: bytes, language: str, starts: npt.NDArray[np.uint32]) -> npt.NDArray[np.int8]:
    """The role of every token of a file, [tokens], as an index into ROLES.

    A token reaches from its start to the start of the next; its role is that of its first byte that is not white space.
    A token of white space only is indentation if it has no line break and nothing but white space before it on its
    line, else white space. Where code does not parse, the parts that do have their roles. In a language without grammar
    there are only white space and `Role.OTHER`.

    Args:
        text: the file in UTF-8.
        language: language of the file.
        starts: first byte of each token in `text`, ascending.
    """
    roles = np.full(len(starts), code_of(Role.OTHER), dtype=np.int8)
    if not len(starts):
        return roles
    visible, blank = first_visible(text, starts)
    tree = outline(text, language)
    if tree is not None:
        roles = tree.roles[tree.at(visible)]
    roles[blank] = code_of(Role.WHITESPACE)
    roles[blank & _opens_line(text, starts)] = code_of(Role.INDENTATION)
    return roles


def first_visible(text: bytes, starts: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Each token's first byte that is not white space, or its start; and which tokens are white space only."""
    data = np.frombuffer(text, dtype=np.uint8)
    begin = starts.astype(np.int64)
    end = np.append(begin[1:], len(data))
    dark = np.flatnonzero(~_BLANK[data])
    following = np.append(dark, len(data))[np.searchsorted(dark, begin)]
    blank = following >= end
    return np.where(blank, begin, following), blank


def continues(text: bytes, starts: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Mark the tokens that start inside a word (an identifier, keyword or number) rather than at its beginning."""
    word = _WORD[np.frombuffer(text, dtype=np.uint8)]
    begin = starts.astype(np.int64)
    inside = np.zeros(len(begin), dtype=bool)
    possible = (begin > 0) & (begin < len(word))
    inside[possible] = word[begin[possible]] & word[begin[possible] - 1]
    return inside


def _opens_line(text: bytes, starts: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Mark tokens with only white space before them on their line and no line break; valid for white space only."""
    data = np.frombuffer(text, dtype=np.uint8)
    begin = starts.astype(np.int64)
    breaks = np.concatenate([[-1], np.flatnonzero(data == ord("\n")), [len(data)]])
    dark = np.concatenate([[-1], np.flatnonzero(~_BLANK[data])])
    after = np.searchsorted(breaks, begin, side="left")
    no_break = breaks[after] >= np.append(begin[1:], len(data))
    last_dark = dark[np.searchsorted(dark, begin, side="left") - 1]
    only_blank: npt.NDArray[np.bool_] = last_dark <= breaks[after - 1]
    return only_blank & no_break
