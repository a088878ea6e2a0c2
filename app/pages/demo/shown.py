"""What the demo shows of a chosen prompt: what was picked, what was generated, and how much each dose does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from starlette.concurrency import run_in_threadpool

from keyscope.app.live.client import Workers
from keyscope.app.live.control import random_keys
from keyscope.app.live.effects import USUAL_DOSE, Dose, Effect
from keyscope.app.live.measurements import Measurements
from keyscope.app.live.prompts import Prompt
from keyscope.app.pages.demo.columns import NEW_TOKENS, Column, column
from keyscope.app.pages.demo.drawing import Curve, dose_curve
from keyscope.app.pages.demo.state import DemoState
from keyscope.app.queries.edits import list_edits
from keyscope.app.queries.key_rows import KeyRow, rows_of
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.links import Links
from keyscope.contract.keys import KeyId, Mask, Scale
from keyscope.contract.wire import GenerateAnswer, GenerateRequest

LOUD = Scale(20)
"""What the tour does to a single key."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One prompt, continued three times."""

    text: str
    effect: Effect
    token: str
    """The next token of the model as it is."""
    dose: Dose
    """Its probability without the keys and without the random ones."""
    picked: list[tuple[KeyId, str]]
    """The removed keys, each with its address."""
    n_control: int
    """Number of random keys; a small layer may have fewer others than were picked."""
    columns: list[Column]
    curve: Curve
    live_href: str
    """The live page with the same prompt and masks."""
    edit: tuple[str, str] | None
    """Title and address of the measured edit of the concept, if there is one."""


@dataclass(frozen=True, slots=True)
class Telling:
    """A key that shows what keys are."""

    row: KeyRow
    href: str


@dataclass(frozen=True, slots=True)
class Loud:
    """A prompt continued with the strongest key behind its next token amplified."""

    text: str
    token: str
    key: KeyId
    factor: float
    columns: list[Column]


@dataclass(frozen=True, slots=True)
class Demonstrator:
    """Runs the demo's experiments on one run."""

    run: Run
    workers: Workers
    measurements: Measurements
    links: Links

    async def shown(self, state: DemoState) -> Shown:
        """Continue the prompt as it is, without the keys and without random ones.

        Raises:
            WorkerUnavailable, WorkerOtherWeights, WorkerRefused, WorkerFailed: nothing was generated.
        """
        run_id = self.run.run_id
        effect = await self.measurements.effect(self.run, state.text, state.draw)
        picked = effect.keys[: state.keys]
        control = random_keys(self.run.manifest.model.keys_in, picked, state.draw)
        masks = tuple(map(Mask, picked))
        answer = await self._generate(state.text, masks, tuple(map(Mask, control)))
        assert answer.control is not None
        baseline, masked, other = answer.baseline, answer.masked, answer.control
        live = self.links.with_basket(replace(self.links.basket, run_id=run_id, masks=masks, saved=None))
        return Shown(
            text=state.text,
            effect=effect,
            token=self._token(effect),
            dose=effect.dose(state.keys),
            picked=[(key, self.links.key(run_id, key)) for key in picked],
            n_control=len(control),
            columns=[
                column("baseline", "as it is", baseline, masked),
                column("masked", f"without the {len(picked)} keys", masked, baseline),
                column("control", f"without {len(control)} random keys", other, baseline),
            ],
            curve=dose_curve(effect),
            live_href=live.live(run_id, prompt=state.text, max_new_tokens=NEW_TOKENS),
            edit=await run_in_threadpool(self._edit, state.chosen),
        )

    async def telling(self, state: DemoState) -> Telling:
        """A key behind the prompt's next token that is easy to understand; raises what `shown` does."""
        effect = await self.measurements.effect(self.run, state.text, state.draw)
        row = await run_in_threadpool(self._telling, effect)
        return Telling(row, self.links.key(self.run.run_id, row.key))

    async def loud(self, state: DemoState) -> Loud:
        """Continue the prompt with the strongest key behind its next token amplified; raises what `shown` does."""
        effect = await self.measurements.effect(self.run, state.text, state.draw)
        key = effect.keys[0]
        answer = await self._generate(state.text, (Mask(key, LOUD),))
        return Loud(
            text=state.text,
            token=self._token(effect),
            key=key,
            factor=LOUD.factor,
            columns=[
                column("baseline", "as it is", answer.baseline, answer.masked),
                column("masked", f"{key} × {LOUD}", answer.masked, answer.baseline),
            ],
        )

    async def _generate(
        self, prompt: str, masks: Sequence[Mask], control: Sequence[Mask] | None = None
    ) -> GenerateAnswer:
        asked = GenerateRequest(
            run=self.run.run_id,
            prompt=prompt,
            masks=list(masks),
            control=None if control is None else list(control),
            max_new_tokens=NEW_TOKENS,
            top_logprobs=0,
        )
        return await self.workers.generate(self.run.manifest, asked)

    def _token(self, effect: Effect) -> str:
        return formats.token(self.run.vocabulary[effect.target.token_id])

    def _telling(self, effect: Effect) -> KeyRow:
        """The key that promotes the token, and fires hardest on the prompt's last one; else one that does the first."""
        with self.run.reading() as cursor:
            found = rows_of(cursor, self.run.vocabulary, effect.keys[:USUAL_DOSE])

        def clarity(row: KeyRow) -> tuple[bool, bool]:
            promotes = any(each.token.token_id == effect.target.token_id for each in row.promoted)
            return promotes, row.top is not None and row.top.token.token_id == effect.after

        return max(found, key=clarity)  # of equals the first, which contributes most

    def _edit(self, prompt: Prompt | None) -> tuple[str, str] | None:
        """The measured edit of the prompt's concept."""
        if prompt is None or prompt.concept is None:
            return None
        with self.run.reading() as cursor:
            edits = [each for each in list_edits(cursor) if each.concept.rpartition("-")[0] == prompt.concept]
        if not edits:
            return None
        return edits[0].title, self.links.page("edit_page", run=self.run.run_id, edit=edits[0].edit)
