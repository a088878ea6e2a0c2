"""`/demo`: the model's code as it is, without the keys behind it, and without as many random keys."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from keyscope.app.accounts.identity import needs
from keyscope.app.live.client import LiveStatus
from keyscope.app.live.effects import DOSES, USUAL_DOSE, Dose, Effect
from keyscope.app.live.measurements import Measured
from keyscope.app.live.prompts import Prompt
from keyscope.app.pages.demo.drawing import MatrixRow, matrix
from keyscope.app.pages.demo.shown import Demonstrator, Loud, Shown, Telling
from keyscope.app.pages.demo.state import STEPS, DemoState
from keyscope.app.roles import Role
from keyscope.app.web.dependencies import LiveWorkers, PromptMeasurements
from keyscope.app.web.key_table import Choice
from keyscope.app.web.render import ChosenRun, Frame, Help, Page, RunChoice, respond, templates
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.manifest import Manifest

router = APIRouter(dependencies=[needs(Role.LABELER)])  # it costs compute
TELLING_STEP, LOUD_STEP = 1, 2
"""Steps of the tour about a single key."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A prompt to try, with its effect once it is measured."""

    prompt: Prompt
    href: str
    current: bool
    effect: Effect | None
    usual: Dose | None
    """The effect of the usual dose."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of the run's prompts so far."""

    presets: list[Preset]
    rows: list[MatrixRow]
    usual: int
    """Number of keys behind the figures."""
    done: int
    steps: int
    running: bool
    problem: str | None
    href: str
    """Address that answers what is known by then."""


@dataclass(frozen=True, slots=True)
class Tour:
    """The step of the tour that is shown."""

    step: int
    steps: int
    back: str | None
    on: str | None
    """Addresses of the steps before and after."""


@dataclass(frozen=True, slots=True)
class DemoPage(Page):
    state: Annotated[DemoState, Help("Prompt, number of keys and view, as in the address")]
    runs: Annotated[list[tuple[Manifest, str]], Help("Runs to choose from, each with its address")]
    status: Annotated[LiveStatus | None, Help("Whether the run's model can generate now; None without a run")]
    status_href: Annotated[str, Help("Address of this page, to poll the status")]
    found: Annotated[Found | None, Help("The prompts to try and what is known of them; None without a run")]
    shown: Annotated[Shown | None, Help("The three generations; None before a prompt is chosen")]
    telling: Annotated[Telling | None, Help("A key that shows what keys are, in the tour")]
    loud: Annotated[Loud | None, Help("A single key amplified, in the tour")]
    doses: Annotated[list[Choice], Help("Numbers of keys to remove, each with its address")]
    other_draw: Annotated[str, Help("Address of the same with other random keys")]
    tour: Annotated[Tour, Help("Step of the tour")]
    views: Annotated[dict[str, str], Help("Addresses of the page and of the presenter's view")]
    problem: Annotated[str | None, Help("Why nothing was generated; None if something was")]


@router.get("/demo", name="demo_page")
async def demo_page(
    request: Request,
    chosen: ChosenRun,
    workers: LiveWorkers,
    measurements: PromptMeasurements,
    state: Annotated[DemoState, Query()],
) -> HTMLResponse:
    """Prompts to try; the chosen one continued with and without the keys behind its next token."""
    run, links = chosen.run, chosen.links
    found = shown = telling = loud = problem = None
    if run is not None:
        measured = measurements.of(run)
        if state.view == "presenter" and not state.text and measured.prompts:
            state = state.model_copy(update={"preset": measured.ranked[0].name})
        found = _found(chosen, state, measured)
        try:
            if state.text:
                demonstrator = Demonstrator(run, workers, measurements, links)
                if state.view == "presenter" and state.step == TELLING_STEP:
                    telling = await demonstrator.telling(state)
                elif state.view == "presenter" and state.step == LOUD_STEP:
                    loud = await demonstrator.loud(state)
                else:
                    shown = await demonstrator.shown(state)
        except KeyscopeError as error:
            problem = error.detail

    def here(**changes: object) -> str:
        return links.page("demo_page", run=chosen.run_id, **state.query(**changes))

    page = DemoPage(
        frame=Frame("Edit the model live", links, chosen.manifest),
        state=state,
        runs=[(each.manifest, links.page("demo_page", run=each.run_id, **state.query())) for each in chosen.runs],
        status=await workers.status(run.manifest) if run else None,
        status_href=links.page("demo_page", run=chosen.run_id),
        found=found,
        shown=shown,
        telling=telling,
        loud=loud,
        doses=[Choice(str(dose), here(keys=dose), dose == state.keys) for dose in (0, *DOSES)],
        other_draw=here(draw=state.draw + 1),
        tour=Tour(
            state.step,
            STEPS,
            here(step=state.step - 1) if state.step > 1 else None,
            here(step=state.step + 1) if state.step < STEPS else None,
        ),
        views={view: here(view=view, step=1) for view in ("page", "presenter")},
        problem=problem,
    )
    template = "demo/presenter.html" if state.view == "presenter" and run else "demo/demo.html"
    return await run_in_threadpool(respond, request, template, page)


@router.get("/demo/measured", name="demo_measured")
async def demo_measured(
    chosen: ChosenRun, measurements: PromptMeasurements, state: Annotated[DemoState, Query()]
) -> HTMLResponse:
    """The prompts to try and the matrix, for the page that waits for them."""
    run = chosen.run
    found = None if run is None else _found(chosen, state, measurements.of(run))
    return HTMLResponse(templates.get_template("demo/measured.html").render(found=found))


def _found(chosen: RunChoice, state: DemoState, measured: Measured) -> Found:
    links, run_id = chosen.links, chosen.run_id
    presets = []
    for prompt in measured.ranked:
        effect = measured.effects.get(prompt.name)
        presets.append(
            Preset(
                prompt=prompt,
                href=links.page("demo_page", run=run_id, **state.query(preset=prompt.name, prompt="")),
                current=prompt == state.chosen,
                effect=effect,
                usual=effect.dose(USUAL_DOSE) if effect else None,
            )
        )
    return Found(
        presets=presets,
        rows=matrix(measured),
        usual=USUAL_DOSE,
        done=measured.done,
        steps=measured.steps,
        running=measured.running,
        problem=measured.problem,
        href=links.page("demo_measured", run=run_id, **state.query()),
    )
