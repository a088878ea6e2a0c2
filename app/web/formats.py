"""Formatting of numbers, tokens, languages and times for people."""

from datetime import datetime
from functools import lru_cache

from keyscope.app.queries import Token
from keyscope.contract import texts

BEFORE = 28
"""Characters of a line shown before its trigger token in a table."""
LAST_LINES = 4
"""Lines shown of a text that is continued."""
NOTHING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_THIN = "\N{NARROW NO-BREAK SPACE}"
_SPACE = str.maketrans({" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"})
_LANGUAGES = {
    "cpp": "C++",
    "csharp": "C#",
    "javascript": "JavaScript",
    "typescript": "TypeScript",
    "php": "PHP",
}
ROLE_TITLES = {
    "keyword": "keyword",
    "operator": "operator",
    "punctuation": "punctuation",
    "identifier_defined": "identifier, defined",
    "identifier_used": "identifier, used",
    "identifier_imported": "identifier, imported",
    "call_target": "call target",
    "attribute": "attribute",
    "type": "type",
    "string": "string",
    "number": "number",
    "comment": "comment",
    "indentation": "indentation",
    "whitespace": "white space",
    "other": "other",
    "end_of_file": "end of the file",
}
"""Roles of tokens in their code."""
CONFIDENCES = {0.25: "a guess", 0.5: "likely", 0.75: "rather sure", 1.0: "certain"}
"""Confidences that the form of a label offers, in words."""


plain = texts.shortest
duration = texts.duration


def roughly(seconds: float) -> str:
    """A time that is only estimated: `1 minute`, `7 minutes`, `2.5 hours`."""
    minutes = max(1, round(seconds / 60))
    if minutes < 90:
        return "1 minute" if minutes == 1 else f"{minutes} minutes"
    return f"{seconds / 3600:.1f} hours"


def number(value: float | None) -> str:
    """Three significant digits, as short as they go: `7.92`, `1,250`, `3.1e-6`."""
    if value is None:
        return NOTHING
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        text = exponent(value, digits=1)
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.3g}"
    return text.replace("-", _MINUS, 1) if value < 0 else text


def signed(value: float) -> str:
    """A number with its sign: `+3.1`."""
    return f"+{number(value)}" if value > 0 else number(value)


def fixed(value: float, digits: int) -> str:
    """A number with its sign and a fixed number of decimals: `+0.350`, `−12.3`; zero has no sign."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", _MINUS)


def exponent(value: float, digits: int = 0) -> str:
    """A number in scientific notation: `3e-6`; zero is `0`."""
    if value == 0:
        return "0"
    mantissa, _, power = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(power)}"


def count(value: int | None) -> str:
    """An integer with thousands separators: `1,204`."""
    return NOTHING if value is None else f"{value:,}"


def share(value: float | None) -> str:
    """A share as a percentage of two significant digits: `1.8 %`, `0.034 %`, `62 %`."""
    if value is None:
        return NOTHING
    percent = 100 * value
    text = f"{percent:.0f}" if percent >= 99.5 else f"{percent:.2g}"
    return f"{exponent(percent) if 'e' in text else text}{_THIN}%"


def confidence(value: float) -> str:
    """A confidence in the words of the form, or as a percentage if a program gave one between them: `likely`, `40 % sure`."""
    return CONFIDENCES.get(value) or f"{share(value)} sure"


def visible(text: str) -> str:
    """A token with visible white space: space as ·, line break as ⏎, tab as ⇥, other hidden characters as `\\x1b`."""
    return texts.escaped(text.translate(_SPACE))


def ending(text: str) -> str:
    """The end of the text before a trigger, without indentation, so the trigger stays in view."""
    text = text.lstrip()
    return text if len(text) <= BEFORE else f"…{text[-BEFORE:]}"


def last_lines(text: str) -> str:
    """The last lines of a text, with an ellipsis for those before them."""
    lines = text.split("\n")
    return text if len(lines) <= LAST_LINES else "\n".join(["…", *lines[-LAST_LINES:]])


@lru_cache(maxsize=1 << 14)  # a page shows a hundred tokens, most of them ones that other pages showed
def token(value: Token) -> str:
    """A token as shown in lists; bytes that are not valid UTF-8 in hexadecimal."""
    return f"0x{value.hex}" if value.hex else visible(value.text)


def language(name: str | None) -> str:
    """The name of a language: `Python`, `C++`."""
    return NOTHING if name is None else _LANGUAGES.get(name, name.capitalize())


def short_hash(value: str) -> str:
    """The first eight digits of a sha256."""
    return value[:8]


def moment(value: datetime) -> str:
    """A time to the minute in UTC."""
    return f"{value:%Y-%m-%d %H:%M} UTC"


FILTERS = {
    "number": number,
    "signed": signed,
    "plain": plain,
    "exponent": exponent,
    "count": count,
    "share": share,
    "confidence": confidence,
    "visible": visible,
    "escaped": texts.escaped,
    "legible": texts.legible,
    "ending": ending,
    "last_lines": last_lines,
    "token": token,
    "language": language,
    "duration": duration,
    "short_hash": short_hash,
    "moment": moment,
}
"""Template filters."""
