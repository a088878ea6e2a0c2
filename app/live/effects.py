"""What removing the keys behind a prompt's next token does to it, to that prompt and to others, with random keys as control."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from keyscope.app.live.client import Workers
from keyscope.app.live.control import random_keys
from keyscope.app.runs import Run
from keyscope.contract.keys import KeyId, Mask
from keyscope.contract.wire import ActivationsRequest, Alternative, NextRequest

DOSES = (20, 60, 200)
"""Numbers of keys that are removed."""
USUAL_DOSE: Final = 60


@dataclass(frozen=True, slots=True)
class Dose:
    """Probability of a prompt's next token without some keys."""

    keys: int
    masked: float
    """Without the keys behind the token."""
    control: float
    """Without as many random keys."""


@dataclass(frozen=True, slots=True)
class Effect:
    """The keys behind a prompt's next token, and its probability without them."""

    target: Alternative
    """The most probable next token of the model as it is."""
    after: int
    """Id of the prompt's last token."""
    keys: tuple[KeyId, ...]
    """The keys that contribute most to it, the greatest contribution first."""
    baseline: float
    """Probability of the token by the model as it is."""
    doses: tuple[Dose, ...]

    @property
    def size(self) -> float:
        """How much more probability the usual dose takes than the random keys take."""
        usual = self.dose(USUAL_DOSE)
        return usual.control - usual.masked

    def dose(self, keys: int) -> Dose:
        """The dose of so many keys: 0 or one of `DOSES`."""
        return next((dose for dose in self.doses if dose.keys == keys), Dose(0, self.baseline, self.baseline))


async def measure(run: Run, workers: Workers, prompt: str, draw: int = 0) -> Effect:
    """Pick the keys behind a prompt's next token and remove them dose by dose; `draw` numbers the random keys.

    Raises:
        WorkerUnavailable, WorkerOtherWeights, WorkerRefused, WorkerFailed: nothing was read.
    """
    manifest = run.manifest
    asked = ActivationsRequest(run=run.run_id, text=prompt, limit=DOSES[-1])
    answer = await workers.activations(manifest, asked)
    keys = tuple(KeyId.parse(each.key) for each in answer.keys)
    sets = [keys[:dose] for dose in DOSES]
    controls = [random_keys(manifest.model.keys_in, picked, draw) for picked in sets]
    baseline, *rest = await probabilities(run, workers, prompt, answer.target.token_id, [(), *sets, *controls])
    n = len(DOSES)
    doses = tuple(Dose(*each) for each in zip(DOSES, rest[:n], rest[n:], strict=True))
    return Effect(answer.target, answer.tokens[answer.token_index].token_id, keys, baseline, doses)


async def probabilities(
    run: Run, workers: Workers, prompt: str, token_id: int, sets: Sequence[Sequence[KeyId]]
) -> list[float]:
    """Probability that a token follows a prompt, without each of several sets of keys.

    Raises:
        WorkerUnavailable, WorkerOtherWeights, WorkerRefused, WorkerFailed: nothing was read.
    """
    masks = [[Mask(key) for key in keys] for keys in sets]
    asked = NextRequest(run=run.run_id, text=prompt, masks=masks, tokens=[token_id], top=0)
    answer = await workers.next_token(run.manifest, asked)
    return [math.exp(branch.tokens[0].logprob) for branch in answer.branches]
