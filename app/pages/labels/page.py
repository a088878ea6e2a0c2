"""`/labels`: progress of labelling a model's keys, agreement between people, and disagreements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import plotly.graph_objects as go
from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from keyscope.app import queries
from keyscope.app.accounts.identity import Admin, Person, Visitor
from keyscope.app.database.engine import DatabaseUnavailable
from keyscope.app.errors import UnknownRun
from keyscope.app.labels import adjudication, progress
from keyscope.app.labels import annotator_agreement as agreement
from keyscope.app.labels.adjudication import AdjudicationChanged, Disagreement
from keyscope.app.labels.annotator_agreement import CurrentLabels, LayerKinds, LayerProgress, Pair
from keyscope.app.labels.models import Kind
from keyscope.app.labels.progress import Done
from keyscope.app.labels.repository import Target
from keyscope.app.labels.statistics import Statistic, reading
from keyscope.app.pages.keys.discussion import DecisionForm
from keyscope.app.queries.syntax import scores_by_layer
from keyscope.app.roles import Role
from keyscope.app.web.dependencies import LabelsDatabase, Runs
from keyscope.app.web.drawing import as_json, by_layer
from keyscope.app.web.forms import see_other
from keyscope.app.web.render import ChosenRun, Frame, Help, Page, RunChoice, respond
from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import Manifest

router = APIRouter()

PAGE = 50
"""Disagreements on one page."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """Two people's labels of the keys that both labelled."""

    first: str
    second: str
    rows: Sequence[tuple[Kind, Sequence[int]]]
    """The first person's kind, and how many of those keys the second gives each kind."""
    n: int


@dataclass(frozen=True, slots=True)
class Agreed:
    """A statistic of agreement as a row."""

    name: str
    about: str
    """What it is; for a pair, who."""
    estimate: Statistic
    reading: str
    """The value in words."""
    href: str | None = None
    """Address of the two people side by side."""


@dataclass(frozen=True, slots=True)
class LabelsPage(Page):
    runs: Annotated[list[Manifest], Help("Runs to choose from")]
    problem: Annotated[str | None, Help("Why the labels could not be read; None if they were")]
    said: Annotated[CurrentLabels | None, Help("The current labels; None without a run or without an answer")]
    done: Annotated[list[Done], Help("Labels of each person, today and in all")]
    progress: Annotated[list[LayerProgress], Help("Progress by layer")]
    pairs: Annotated[list[Agreed], Help("Pairs of people with Cohen's kappa, those with most keys in common first")]
    n_pairs: Annotated[int, Help("Pairs that have keys in common, listed or not")]
    overall: Annotated[list[Agreed], Help("Statistics over all people")]
    confusion: Annotated[Confusion | None, Help("Two people side by side; None where nobody shares a key with another")]
    kinds: Annotated[tuple[Kind, ...], Help("The kinds, in their order")]
    disagreements: Annotated[list[Disagreement], Help("Keys with labels of several kinds, one page of them")]
    n_disagreements: Annotated[int, Help("All of them")]
    n_open: Annotated[int, Help("Disagreements without a decision")]
    may_decide: Annotated[bool, Help("Whether the visitor may decide them")]
    decide_href: Annotated[str, Help("Where a decision is sent")]
    earlier: Annotated[str | None, Help("Address of the page of disagreements before")]
    later: Annotated[str | None, Help("Address of the page of disagreements after")]
    may_import: Annotated[bool, Help("Whether labels can be imported by the visitor, or by who says their name")]


@dataclass(frozen=True, slots=True)
class DecidedPage(Page):
    """Context of one row of the disagreements, for the script that shows the table."""

    each: Annotated[Disagreement, Help("The key, its labels and the decision")]
    kinds: Annotated[tuple[Kind, ...], Help("The kinds, in their order")]
    may_decide: Annotated[bool, Help("Whether the visitor may decide it")]
    decide_href: Annotated[str, Help("Where a decision is sent")]
    problem: Annotated[str | None, Help("Why nothing was decided")]


class TableDecision(DecisionForm):
    """A decision with the key it is about."""

    key: str


@router.get("/labels", name="labels_page")
def labels_page(
    request: Request,
    chosen: ChosenRun,
    database: LabelsDatabase,
    visitor: Visitor,
    first: Annotated[str, Query(description="Person in the rows of the confusion")] = "",
    second: Annotated[str, Query(description="Person in its columns")] = "",
    offset: Annotated[int, Query(ge=0)] = 0,
) -> HTMLResponse:
    """Progress, agreement and disagreements of the current labels of a run's weights."""
    manifest = chosen.manifest
    problem, said = None, None
    disputed: list[Disagreement] = []
    done: list[Done] = []
    try:
        if manifest:
            said, disputed, done = database.read(lambda session: _load(session, manifest.model.weights_sha256))
    except DatabaseUnavailable as error:
        problem = error.detail
    pairs, n_pairs = agreement.pairs(said) if said else ([], 0)

    query = {"first": first, "second": second}

    def turn(to: int) -> str | None:
        if not 0 <= to < len(disputed):
            return None
        return chosen.links.page("labels_page", run=chosen.run_id, **query, offset=to or None) + "#disagreements"

    page = LabelsPage(
        frame=Frame("Labels", chosen.links, manifest),
        runs=chosen.manifests,
        problem=problem,
        said=said,
        done=done,
        progress=agreement.progress(said, manifest.model) if said and manifest else [],
        pairs=[_of_pair(each, chosen) for each in pairs],
        n_pairs=n_pairs,
        overall=_overall(said) if said else [],
        confusion=_confusion(said, first, second, pairs) if said else None,
        kinds=agreement.KINDS,
        disagreements=disputed[offset : offset + PAGE],
        n_disagreements=len(disputed),
        n_open=sum(each.decision is None for each in disputed),
        may_decide=_may_decide(visitor),
        decide_href=chosen.links.page("decide_disagreement", run=chosen.run_id, **query, offset=offset or None),
        earlier=turn(offset - PAGE),
        later=turn(offset + PAGE),
        may_import=visitor is None or visitor.role.may(Role.ADMIN),
    )
    return respond(request, "labels/labels.html", page)


@router.post("/labels/decisions", name="decide_disagreement")
def decide(
    request: Request,
    chosen: ChosenRun,
    database: LabelsDatabase,
    person: Admin,
    form: Annotated[TableDecision, Form()],
    first: str = "",
    second: str = "",
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """Decide a disagreement in its table, or reopen it; a script gets the row alone, others the page at the next open one.

    Raises:
        AdjudicationChanged: somebody else decided first; a script gets the row with their decision.
        UnknownRun: there is no run yet.
    """
    if chosen.run is None:
        raise UnknownRun("", [])
    key = KeyId.parse(form.key)
    queries.check_key(chosen.run.manifest, key)
    target = Target(chosen.run.manifest.model.weights_sha256, key)
    scripted, problem = "HX-Request" in request.headers, None
    said = form.kind, form.description, form.seen
    try:
        database.write(lambda session: adjudication.decide(session, target, person.name, *said))
    except AdjudicationChanged as error:
        if not scripted:
            raise
        problem = error
    query = {"first": first, "second": second, "offset": offset or None}
    if not scripted:
        _, disputed, _ = database.read(lambda session: _load(session, target.weights_sha256))
        still_open = [each.key for each in disputed if each.decision is None]
        onward = next((each for each in still_open if each > key), next(iter(still_open), "disagreements"))
        return see_other(chosen.links.page("labels_page", run=chosen.run_id, **query) + f"#{onward}")
    page = DecidedPage(
        frame=Frame("Decided", chosen.links, chosen.manifest),
        each=database.read(lambda session: adjudication.disagreement_on(session, target)),
        kinds=agreement.KINDS,
        may_decide=True,
        decide_href=chosen.links.page("decide_disagreement", run=chosen.run_id, **query),
        problem=problem.detail if problem else None,
    )
    return respond(request, "labels/decided.html", page, problem.status if problem else 200)


@router.get("/labels/figures/kinds", name="kinds_figure")
def kinds_figure(registry: Runs, database: LabelsDatabase, run: str) -> Response:
    """The kinds of the current labels by layer, as Plotly JSON."""
    opened = registry.get(run)
    model = opened.manifest.model
    said = database.read(lambda session: agreement.load(session, model.weights_sha256))
    with opened.reading() as cursor:
        scores = scores_by_layer(cursor)
    figure = kinds_by_layer(agreement.kinds_by_layer(said, model), scores or None)
    return as_json(figure)


def kinds_by_layer(layers: Sequence[LayerKinds], scores: Mapping[int, float] | None = None) -> go.Figure:
    """Share of each kind among the labels of every layer; where known, beside it the layers' variety of triggers, from
    0, and semantic, 1, that follows from the triggers alone."""
    numbers = [layer.layer for layer in layers]
    totals = [sum(layer.counts.values()) for layer in layers]
    figure = go.Figure(
        [
            go.Bar(
                x=numbers,
                y=[layer.counts[kind] / total if total else None for layer, total in zip(layers, totals, strict=True)],
                customdata=numbers,
                text=[f"{layer.counts[kind]} of {total}" for layer, total in zip(layers, totals, strict=True)],
                textposition="none",
                name=kind.value,
                meta={"colour": kind.colour},
                hovertemplate=f"layer %{{x}}<br>%{{y:.0%}} {kind.value}, %{{text}} labels<extra></extra>",
            )
            for kind in agreement.KINDS
        ]
    )
    if scores:
        figure.add_scatter(
            x=list(scores),
            y=list(scores.values()),
            customdata=list(scores),
            mode="lines+markers",
            name="variety of triggers",
            hovertemplate="layer %{x}<br>variety of triggers %{y:.2f}<extra></extra>",
        )
    figure.update_yaxes(tickformat=".0%", range=[0, 1])
    return by_layer(figure, barmode="stack", showlegend=True, bargap=0.25)


def _may_decide(visitor: Person | None) -> bool:
    return visitor is not None and visitor.role.may(Role.ADMIN)


def _load(session: Session, weights_sha256: str) -> tuple[CurrentLabels, list[Disagreement], list[Done]]:
    said = agreement.load(session, weights_sha256)
    disputed = adjudication.disagreements(session, weights_sha256, said)
    return said, disputed, progress.done(session, weights_sha256)


def _overall(said: CurrentLabels) -> list[Agreed]:
    alpha, fleiss = agreement.alpha(said), agreement.fleiss(said)
    return [
        Agreed("Krippendorff’s α", "nominal, over the keys with two labels or more", alpha, reading(alpha)),
        Agreed("Fleiss’ κ", "over the keys that everybody labelled", fleiss, reading(fleiss)),
    ]


def _of_pair(pair: Pair, chosen: RunChoice) -> Agreed:
    href = chosen.links.page("labels_page", run=chosen.run_id, first=pair.first, second=pair.second) + "#confusion"
    return Agreed("Cohen’s κ", f"{pair.first} and {pair.second}", pair.kappa, reading(pair.kappa), href)


def _confusion(said: CurrentLabels, first: str, second: str, pairs: Sequence[Pair]) -> Confusion | None:
    """The two people asked for, where both have labels, else the pair with most keys in common."""
    if not {first, second} <= set(said.people):
        if not pairs:
            return None
        first, second = pairs[0].first, pairs[0].second
    table = agreement.confusion(said, first, second)
    return Confusion(first, second, list(zip(agreement.KINDS, table, strict=True)), sum(map(sum, table)))
