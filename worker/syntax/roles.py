"""What a token is in its code: a keyword, a name that is defined or used, a part of a string, indentation, …"""

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
    """The role of every token of a file, [tokens], as an index into `tuple(Role)`.

    A token reaches from its start to the next one's; its role is that of its first byte that is no white space. White
    space alone is indentation where only white space stands before it on its line and it holds no line break, else
    white space. Code that does not parse has the roles of the parts that do; a language without grammar has only white
    space and `Role.OTHER`.

    Args:
        text: the file in UTF-8.
        language: of the file.
        starts: where each token starts in `text`, ascending.
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
    """Each token's first byte that is no white space, and which tokens have none; for those it is their start."""
    data = np.frombuffer(text, dtype=np.uint8)
    begin = starts.astype(np.int64)
    end = np.append(begin[1:], len(data))
    dark = np.flatnonzero(~_BLANK[data])
    following = np.append(dark, len(data))[np.searchsorted(dark, begin)]
    blank = following >= end
    return np.where(blank, begin, following), blank


def continues(text: bytes, starts: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Which tokens start inside a word, that is an identifier, a keyword or a number, rather than before it."""
    word = _WORD[np.frombuffer(text, dtype=np.uint8)]
    begin = starts.astype(np.int64)
    inside = np.zeros(len(begin), dtype=bool)
    possible = (begin > 0) & (begin < len(word))
    inside[possible] = word[begin[possible]] & word[begin[possible] - 1]
    return inside


def _opens_line(text: bytes, starts: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Of tokens of white space: which have only white space before them on their line, and no line break in them."""
    data = np.frombuffer(text, dtype=np.uint8)
    begin = starts.astype(np.int64)
    breaks = np.concatenate([[-1], np.flatnonzero(data == ord("\n")), [len(data)]])
    dark = np.concatenate([[-1], np.flatnonzero(~_BLANK[data])])
    after = np.searchsorted(breaks, begin, side="left")
    no_break = breaks[after] >= np.append(begin[1:], len(data))
    last_dark = dark[np.searchsorted(dark, begin, side="left") - 1]
    only_blank: npt.NDArray[np.bool_] = last_dark <= breaks[after - 1]
    return only_blank & no_break
