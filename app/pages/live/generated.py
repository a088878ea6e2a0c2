"""Baseline and masked text side by side: which tokens differ, and what the model thought of at each step."""

import math
from dataclasses import dataclass
from difflib import SequenceMatcher

from keyscope.app.web import formats
from keyscope.contract.wire import BRANCHES, Applied, BranchResult, CodeOutcome, GenerateAnswer, GeneratedToken


@dataclass(frozen=True, slots=True)
class ShownToken:
    """One token as it is drawn."""

    text: str
    css: str
    title: str


@dataclass(frozen=True, slots=True)
class ShownBranch:
    """One branch."""

    name: str
    tokens: list[ShownToken]
    mean_logprob: float | None


@dataclass(frozen=True, slots=True)
class Shift:
    """A token's probability at the first difference, in both branches; None where it is not among the most probable."""

    token: str
    baseline: float | None
    masked: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Both branches of one generation."""

    prompt: str
    branches: list[ShownBranch]
    first_divergence: int | None
    shifts: list[Shift]
    applied: Applied
    elapsed_ms: float
    code: CodeOutcome | None
    """What became of the code; None from a worker that does not parse."""


def outcome(prompt: str, answer: GenerateAnswer) -> Outcome:
    """An answer as it is drawn."""
    branches = {"baseline": answer.baseline, "masked": answer.masked}
    first = answer.first_divergence
    differing = dict(zip(BRANCHES, _differing(answer.baseline, answer.masked), strict=True))
    return Outcome(
        prompt=prompt,
        branches=[
            ShownBranch(
                name=name,
                tokens=[
                    _shown(token, at in differing[name], at == first) for at, token in enumerate(branches[name].tokens)
                ],
                mean_logprob=_mean([token.logprob for token in branches[name].tokens]),
            )
            for name in BRANCHES
        ],
        first_divergence=first,
        shifts=[] if first is None else _shifts(answer, first),
        applied=answer.applied,
        elapsed_ms=answer.elapsed_ms,
        code=answer.code,
    )


def _differing(baseline: BranchResult, masked: BranchResult) -> tuple[set[int], set[int]]:
    """The indices of the tokens that have no partner in the other branch, when both are laid side by side."""
    ids = [[token.token_id for token in branch.tokens] for branch in (baseline, masked)]
    same = SequenceMatcher(a=ids[0], b=ids[1], autojunk=False).get_matching_blocks()
    kept = [{block[side] + step for block in same for step in range(block.size)} for side in (0, 1)]
    return set(range(len(ids[0]))) - kept[0], set(range(len(ids[1]))) - kept[1]


def _shown(token: GeneratedToken, differs: bool, first: bool) -> ShownToken:
    css = ["g"] + ["differs"] * differs + ["first"] * first
    alternatives = [f"{formats.visible(each.token)}  {_probability(each.logprob)}" for each in token.top]
    head = f"{formats.visible(token.token)}  log-probability {formats.number(token.logprob)}"
    return ShownToken(token.token, " ".join(css), "\n".join([head, *alternatives]))


def _shifts(answer: GenerateAnswer, at: int) -> list[Shift]:
    sides = [_probabilities(branch.tokens[at : at + 1]) for branch in (answer.baseline, answer.masked)]
    names = list(dict.fromkeys([*sides[0], *sides[1]]))
    return [Shift(formats.visible(name), sides[0].get(name), sides[1].get(name)) for name in names]


def _probabilities(tokens: list[GeneratedToken]) -> dict[str, float]:
    return {each.token: math.exp(each.logprob) for token in tokens for each in [*token.top, token]}


def _probability(logprob: float) -> str:
    return formats.share(math.exp(logprob))


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
