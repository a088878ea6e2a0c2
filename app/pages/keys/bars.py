"""Tokens with bars: what a key fires on, and what its value writes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keyscope.app.queries import Token, TokenCount, TokenLogit, ValueTokens
from keyscope.app.web import formats

Href = Callable[[Token], str]
"""The address a token links to."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A token with a bar; `length` is a percentage of the longest."""

    token: str
    title: str
    length: int
    value: str
    href: str
    css: str = ""
    """byte for a token that is no text on its own."""


def of_counts(found: Sequence[TokenCount], href: Href) -> list[Bar]:
    """Tokens by count, on the scale of the largest."""
    largest = max((each.count for each in found), default=1)
    return [_bar(each.token, each.count / largest, formats.count(each.count), href) for each in found]


def of_value(value: ValueTokens, href: Href) -> tuple[list[Bar], list[Bar]]:
    """Promoted and suppressed tokens of a value, on one scale, those that are text first."""
    # Avoid dividing by zero: a value of all zeros has logits of 0.
    largest = max((abs(each.logit) for each in value.promoted + value.suppressed), default=0.0) or 1.0

    def bar(found: TokenLogit) -> Bar:
        return _bar(found.token, abs(found.logit) / largest, formats.signed(found.logit), href)

    def bars(found: Sequence[TokenLogit]) -> list[Bar]:
        """Tokens that are only some bytes of a character come last: they tell nobody anything."""
        return [bar(each) for each in sorted(found, key=lambda each: each.token.hex is not None)]

    return bars(value.promoted), bars(value.suppressed)


def _bar(token: Token, length: float, value: str, href: Href) -> Bar:
    return Bar(
        token=formats.token(token),
        title=f"{token.notation} (token {token.token_id}): other keys of the layer that fire on it",
        length=max(1, round(100 * length)),
        value=value,
        href=href(token),
        css="byte" if token.hex else "",
    )
