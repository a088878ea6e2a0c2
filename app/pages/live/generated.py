"""Baseline and masked text side by side: which tokens differ, and what the model considered at each step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from pydantic import BaseModel

from keyscope.app.web import formats
from keyscope.contract.texts import legible
from keyscope.contract.wire import (
    BRANCHES,
    Alternative,
    Applied,
    CodeOutcome,
    DoneEvent,
    GenerateAnswer,
    GeneratedToken,
    TokenEvent,
)


class Streamed(BaseModel):
    """A finished generation as the page's script received it: every event of the stream."""

    prompt: str
    baseline: list[TokenEvent]
    masked: list[TokenEvent]
    done: DoneEvent


@dataclass(frozen=True, slots=True)
class ShownToken:
    """A generated token; it differs if the other branch has no partner for it."""

    text: str
    css: str
    label: str
    """Name for screen readers: the token and its probability."""
    title: str
    """One line on the token, then its alternatives with their probabilities, one a line."""


@dataclass(frozen=True, slots=True)
class ShownBranch:
    """One branch."""

    tokens: list[ShownToken]
    mean_logprob: float | None


@dataclass(frozen=True, slots=True)
class Chance:
    """A token's probability in a branch."""

    probability: float
    listed: bool
    """If not, it is smaller: the branch lists only its most probable tokens."""


@dataclass(frozen=True, slots=True)
class Shift:
    """A token's probability in both branches at one step."""

    token: str
    baseline: Chance
    masked: Chance


@dataclass(frozen=True, slots=True)
class Outcome:
    """Both branches of one generation."""

    prompt: str
    branches: dict[str, ShownBranch]
    first_divergence: int | None
    shifts: list[Shift]
    """At the first difference, or at the first token if there is none; the greatest change first."""
    applied: Applied
    elapsed_ms: float
    code: CodeOutcome | None
    """Effect on the code; None from a worker that does not parse."""


def of_answer(prompt: str, answer: GenerateAnswer) -> Outcome:
    """The outcome of a generation that was not streamed."""
    return _outcome(prompt, answer.baseline.tokens, answer.masked.tokens, answer)


def of_stream(streamed: Streamed) -> Outcome:
    """The outcome of a streamed generation."""
    return _outcome(streamed.prompt, streamed.baseline, streamed.masked, streamed.done)


def _outcome(
    prompt: str,
    baseline: Sequence[GeneratedToken],
    masked: Sequence[GeneratedToken],
    end: GenerateAnswer | DoneEvent,
) -> Outcome:
    first = end.first_divergence
    sides = zip(BRANCHES, (baseline, masked), differing(baseline, masked), strict=True)
    return Outcome(
        prompt=prompt,
        branches={name: _branch(tokens, differing, first) for name, tokens, differing in sides},
        first_divergence=first,
        shifts=_shifts(baseline, masked, first or 0),
        applied=end.applied,
        elapsed_ms=end.elapsed_ms,
        code=end.code,
    )


def differing(baseline: Sequence[GeneratedToken], masked: Sequence[GeneratedToken]) -> tuple[set[int], set[int]]:
    """Indices of the tokens left without a partner when the branches are aligned."""
    ids = [[token.token_id for token in branch] for branch in (baseline, masked)]
    # autojunk would ignore tokens that are frequent in long texts, such as line breaks.
    same = SequenceMatcher(a=ids[0], b=ids[1], autojunk=False).get_matching_blocks()
    kept = [{block[side] + step for block in same for step in range(block.size)} for side in (0, 1)]
    return set(range(len(ids[0]))) - kept[0], set(range(len(ids[1]))) - kept[1]


def _branch(tokens: Sequence[GeneratedToken], differing: set[int], first: int | None) -> ShownBranch:
    shown = [_shown(at, token, at in differing, at == first) for at, token in enumerate(tokens)]
    return ShownBranch(shown, sum(token.logprob for token in tokens) / len(tokens) if tokens else None)


def _shown(at: int, token: GeneratedToken, differs: bool, first: bool) -> ShownToken:
    head = f"token {at + 1} · log-probability {formats.fixed(token.logprob, 3)}"
    lines = [f"{formats.visible(each.token)}\t{_probability(each)}" for each in _considered(token)]
    return ShownToken(
        text=legible(token.token),
        css=" ".join(["g"] + ["differs"] * differs + ["first"] * first),
        label=f"{formats.visible(token.token)} {_probability(token)}",
        title="\n".join([head, *lines]),
    )


def _considered(token: GeneratedToken) -> list[Alternative]:
    """The alternatives of a step, and the token taken if it is none of them."""
    return [*token.top, *([] if token.token_id in {each.token_id for each in token.top} else [token])]


def _shifts(baseline: Sequence[GeneratedToken], masked: Sequence[GeneratedToken], at: int) -> list[Shift]:
    sides = [
        {each.token: math.exp(each.logprob) for token in branch[at : at + 1] for each in _considered(token)}
        for branch in (baseline, masked)
    ]
    if not all(sides):  # one branch has ended before
        return []
    least = [min(side.values()) for side in sides]
    shifts = [
        Shift(
            formats.visible(name),
            *(Chance(side.get(name, floor), name in side) for side, floor in zip(sides, least, strict=True)),
        )
        for name in dict.fromkeys([*sides[0], *sides[1]])
    ]
    return sorted(shifts, key=lambda shift: -abs(shift.baseline.probability - shift.masked.probability))


def _probability(token: Alternative) -> str:
    return formats.share(math.exp(token.logprob))
