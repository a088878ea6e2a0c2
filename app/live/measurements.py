"""Measures the prompts to try on runs: in the background, once for each content of a run's files."""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from keyscope.app.live.client import NOT_CONFIGURED, Workers
from keyscope.app.live.effects import USUAL_DOSE, Effect, measure, probabilities
from keyscope.app.live.prompts import Prompt, prompts_of
from keyscope.app.queries.recent import Recent
from keyscope.app.runs import Run, Signature
from keyscope.contract.errors import KeyscopeError

log = logging.getLogger(__name__)
KEPT_RUNS, KEPT_EFFECTS = 8, 256
RETRY_SECONDS = 5.0


@dataclass
class Measured:
    """What is known of a run's prompts so far."""

    prompts: list[Prompt]
    effects: dict[str, Effect] = field(default_factory=dict)
    """By name of the prompt."""
    left: dict[tuple[str, str], float] = field(default_factory=dict)
    """Share of the next token's probability that is left: (whose keys are removed, of which prompt) → share."""
    problem: str | None = None
    """Why the measurement stopped; None if it did not."""
    stopped: float = 0.0

    @property
    def steps(self) -> int:
        """Number of steps of the whole measurement."""
        return 2 * len(self.prompts)

    @property
    def done(self) -> int:
        """Number of steps that are done."""
        return len(self.effects) + len({prompt for _, prompt in self.left})

    @property
    def running(self) -> bool:
        """Whether more will be known soon."""
        return self.done < self.steps and self.problem is None

    @property
    def ranked(self) -> list[Prompt]:
        """The prompts, those with the greatest effect first and those not measured yet last."""
        return sorted(self.prompts, key=lambda each: -self.effects[each.name].size if each.name in self.effects else 1)


class Measurements:
    """The measurements of the runs that were asked about last."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._of_runs: dict[tuple[str, Signature], Measured] = {}
        self._effects: Recent[tuple[str, Signature, str, int], Effect] = Recent(KEPT_EFFECTS)
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, run: Run) -> Measured:
        """What is known of a run's prompts; whatever is missing is measured from now on, in the background."""
        name = (run.run_id, run.signature)
        found = self._of_runs.get(name)
        if found is None:
            while len(self._of_runs) >= KEPT_RUNS:
                del self._of_runs[next(iter(self._of_runs))]
            found = self._of_runs[name] = Measured(prompts_of(run.manifest.languages))
            self._start(run, found)
        elif found.problem is not None and time.monotonic() - found.stopped > RETRY_SECONDS:
            found.problem = None
            self._start(run, found)
        return found

    async def effect(self, run: Run, prompt: str, draw: int) -> Effect:
        """The effect of removing the keys behind a prompt's next token; raises what `measure` does."""
        name = (run.run_id, run.signature, prompt, draw)
        found = self._effects.known([name]).get(name)
        if found is None:
            found = await measure(run, self._workers, prompt, draw)
            self._effects.keep({name: found})
        return found

    async def close(self) -> None:
        """End the measurements in progress."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, run: Run, measured: Measured) -> None:
        if not self._workers.expected:
            measured.problem, measured.stopped = NOT_CONFIGURED, time.monotonic()
            return
        task = asyncio.create_task(self._measure(run, measured))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _measure(self, run: Run, measured: Measured) -> None:
        """Fill in what is missing, one request after another, so that people's requests come in between."""
        try:
            for prompt in measured.prompts:
                if prompt.name not in measured.effects:
                    measured.effects[prompt.name] = await self.effect(run, prompt.text, draw=0)
            for prompt in measured.prompts:
                if (prompt.name, prompt.name) not in measured.left:
                    measured.left |= await self._left(run, measured, prompt)
        except KeyscopeError as error:
            measured.problem, measured.stopped = error.detail, time.monotonic()
        except Exception:
            measured.problem, measured.stopped = (
                "the prompts could not be measured; see the server's log",
                time.monotonic(),
            )
            log.exception("measuring the prompts of %s failed", run.run_id)

    async def _left(self, run: Run, measured: Measured, prompt: Prompt) -> dict[tuple[str, str], float]:
        """The prompt's column of `Measured.left`."""
        effect = measured.effects[prompt.name]
        sets = [measured.effects[each.name].keys[:USUAL_DOSE] for each in measured.prompts]
        found = await probabilities(run, self._workers, prompt.text, effect.target.token_id, sets)
        return {
            (whose.name, prompt.name): left / effect.baseline
            for whose, left in zip(measured.prompts, found, strict=True)
        }
