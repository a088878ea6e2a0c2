"""`/runs/{run}/keys/{key}`: one key, its triggers as real code, its statistics and what its value writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated
from urllib.parse import urlencode

import duckdb
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from keyscope.app import queries
from keyscope.app.accounts.identity import Visitor
from keyscope.app.analyses.kinds import ShownPart, key_parts
from keyscope.app.errors import InvalidParameter
from keyscope.app.labels.repository import Target
from keyscope.app.pages.keys import automatic, bars, discussion_box, examples, histogram, label_box
from keyscope.app.pages.keys.automatic import Clause
from keyscope.app.pages.keys.bars import Bar
from keyscope.app.pages.keys.discussion_box import Discussion
from keyscope.app.pages.keys.examples import Card, Show, help_of, in_order, is_band, title_of
from keyscope.app.pages.keys.filters import WITHIN, WITHIN_HELP, Filter, TopToken, commonest, top_token
from keyscope.app.pages.keys.label_box import LabelBox
from keyscope.app.pages.keys.state import HeatFrom, KeyState, Projection, View
from keyscope.app.queries import Example, LanguageStatistics, Statistics, Token
from keyscope.app.queries.examples import TriggerToken
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.code import Heat
from keyscope.app.web.dependencies import Cursor, Key, LabelsDatabase, LiveWorkers, OpenRun
from keyscope.app.web.forms import see_other
from keyscope.app.web.links import Links
from keyscope.app.web.render import Crumb, Frame, Help, Page, RunLinks, respond
from keyscope.app.web.statistics import GROUPS
from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import Manifest

router = APIRouter()

NEGATIVE_SHARE = 0.1
"""Share of the scale from which negative coefficients get their own side of the legend."""

SHOWN = 15
"""Examples drawn at first."""
SINK_KEY = 0.5
"""Share of windows with the largest coefficient on a sink from which a key's page says so."""
VIEWS: dict[View, str] = {
    "code": "Each example as code, with the lines around its trigger token.",
    "stacked": "The first example as code, the others one a line, with the trigger tokens below each other.",
}
STRONG = 0.8
"""Quantile of the coefficients above 0 from which tokens are shaded."""
HEATS: dict[HeatFrom, str] = {
    "strong": "Strong: from the 80 % quantile of this key’s coefficients above 0 on. All: every coefficient.",
    "all": "Every coefficient.",
}
PROJECTIONS: dict[Projection, str] = {
    "normed": "Through the final norm's gain: the logits this key adds for each unit of its coefficient.",
    "raw": "The value times the output embedding, as earlier work shows it, without the final norm.",
}


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab: its title, number of examples and address."""

    title: str
    help: str
    count: int | None
    current: bool
    href: str


@dataclass(frozen=True, slots=True)
class Step:
    """A neighbouring key and its arrow."""

    arrow: str
    pressed: str
    title: str
    href: str | None


@dataclass(frozen=True, slots=True)
class Fact:
    """A formatted statistic."""

    title: str
    help: str
    value: str
    id: str


@dataclass(frozen=True, slots=True)
class KeyPage(Page):
    key: Annotated[KeyId, Help("The key")]
    statistics: Annotated[Statistics, Help("Every statistic under its column's name")]
    steps: Annotated[list[Step], Help("The keys beside this one and at its place in the layers below and above")]
    masked: Annotated[bool, Help("Whether the key is in the basket")]
    mask_href: Annotated[str, Help("Address of this page with the key put into the basket, or taken out")]
    language: Annotated[str | None, Help("The language of the examples; None for all")]
    languages: Annotated[list[Tab], Help("Languages to show examples of")]
    shows: Annotated[list[Tab], Help("Kinds of examples: strongest, most negative, bands, random, silent")]
    views: Annotated[list[Tab], Help("How examples are drawn")]
    about: Annotated[str, Help("Which examples are shown")]
    cards: Annotated[list[Card], Help("The examples, each as code")]
    n_examples: Annotated[int, Help("How many there are, drawn or not")]
    all_href: Annotated[str | None, Help("Address of all examples; None if all are drawn")]
    scale: Annotated[float, Help("Coefficient of the deepest shade: the key's largest absolute value")]
    heats: Annotated[list[Tab], Help("Which coefficients are shaded")]
    two_sided: Annotated[bool, Help("Whether negative coefficients are large enough to shade")]
    top_token: Annotated[TopToken | None, Help("The commonest token of the strongest triggers of the languages shown")]
    tokens: Annotated[list[Tab], Help("Trigger tokens to narrow the examples to")]
    withins: Annotated[list[Tab], Help("Parts of the code to narrow the examples to")]
    automatic: Annotated[list[Clause], Help("What is evident about the key, made by rules; empty if nothing is")]
    fires_on: Annotated[list[Bar], Help("Tokens the key fires on, counted over the stored examples only")]
    promoted: Annotated[list[Bar], Help("Tokens whose logits the value raises most")]
    suppressed: Annotated[list[Bar], Help("Tokens whose logits the value lowers most")]
    projections: Annotated[list[Tab], Help("How the value is projected on the vocabulary")]
    histogram: Annotated[histogram.Drawing | None, Help("Coefficients of sampled tokens of all languages")]
    parts: Annotated[list[ShownPart], Help("What the analyses of the run found about the key, each with its template")]
    live: Annotated[bool, Help("Whether a live worker is configured")]
    labels: Annotated[LabelBox, Help("Everyone's labels of the key, and the visitor's form")]
    by_language: Annotated[list[LanguageStatistics], Help("Moments per language")]
    groups: Annotated[list[tuple[str, list[Fact]]], Help("Every statistic, by group")]
    discussion: Annotated[Discussion | None, Help("Decisions, comments and lists; None in the labelling queue")]


@router.get("/runs/{run}/keys/{key}", name="key_page")
def key_page(
    request: Request,
    run: OpenRun,
    key: Key,
    cursor: Cursor,
    visitor: Visitor,
    database: LabelsDatabase,
    workers: LiveWorkers,
    state: Annotated[KeyState, Query()],
    links: RunLinks,
) -> HTMLResponse:
    """One key."""
    target = Target(run.manifest.model.weights_sha256, key)
    box = label_box.box(database, target, links.page("give_label", run=run.run_id, key=key, **state.query()), visitor)

    def href(name: str, **place: object) -> str:
        return links.page(name, run=run.run_id, key=key, **place, **state.query())

    discussion = discussion_box.box(database, target, visitor, href)
    drawing = KeyDrawing(run, key, cursor, state, links, live=bool(workers.expected))
    return respond(request, "keys/key.html", drawing.page(box, discussion))


@router.get("/runs/{run}/keys/{key}/examples/{name}/live", name="mask_at_example")
def mask_at_example(
    run: OpenRun,
    key: Key,
    cursor: Cursor,
    name: str,
    links: RunLinks,
    factor: Annotated[float, Query(allow_inf_nan=False)] = 0.0,
) -> RedirectResponse:
    """Continue the text of an example up to its trigger token, with the key masked or at another factor."""
    text = examples.text_up_to_trigger(run, cursor, key, name)
    return see_other(links.with_basket(links.basket.scaling(key, factor)).live(run.run_id, prompt=text))


class KeyDrawing:
    """Builds the context of a page about one key."""

    shown = SHOWN
    """Examples drawn unless all are asked for."""

    def __init__(
        self,
        run: Run,
        key: KeyId,
        cursor: duckdb.DuckDBPyConnection,
        state: KeyState,
        links: Links,
        live: bool = False,
    ) -> None:
        self.live = live
        self.run, self.key, self.cursor, self.state, self.links = run, key, cursor, state, links
        self.numbers = run.numbers(cursor, key)
        self.statistics = self.numbers.statistics
        self.language = _language(run.manifest, state)

    def page(self, box: LabelBox, discussion: Discussion | None = None) -> KeyPage:
        """The whole context, with the given labels and discussion."""
        run, key, links, state = self.run, self.key, self.links, self.state
        scale = examples.scale_of(self.statistics)
        heat = Heat(scale, self._floor())
        found, n_examples = self._found()
        stack = self.state.view == "stacked"
        strongest = self._triggers[: run.manifest.settings.top_k]
        promoted, suppressed = bars.of_value(self.numbers.value[state.projection], self._layer_firing_on)
        layer = Crumb(f"layer {key.layer}", links.layer(run.run_id, key.layer))
        return KeyPage(
            frame=Frame.of_run(str(key), links, run.manifest, layer),
            key=key,
            statistics=self.statistics,
            steps=self._steps(),
            masked=key in links.basket,
            mask_href=self._href(links.with_basket(links.basket.toggled(key))),
            language=self.language,
            languages=self._languages(),
            shows=self._shows(),
            views=[Tab(name, about, None, name == state.view, self._href(view=name)) for name, about in VIEWS.items()],
            about=f"{help_of(state.show)} {self._sink_note()}".strip(),
            cards=[self._card(each, heat, as_row=stack and place > 0) for place, each in enumerate(found)],
            n_examples=n_examples,
            all_href=self._href(all=True) if len(found) < n_examples else None,
            scale=scale,
            heats=[Tab(name, about, None, name == state.heat, self._href(heat=name)) for name, about in HEATS.items()],
            two_sided=_number(self.statistics, "minimum") < -NEGATIVE_SHARE * scale,
            top_token=top_token(strongest, run.vocabulary),
            fires_on=bars.of_counts(self.numbers.fires_on, self._layer_firing_on),
            automatic=automatic.line(
                strongest,
                self._parts(found),
                self.numbers.value["normed"].promoted,
                run.vocabulary,
            ),
            tokens=self._tokens(),
            withins=[
                Tab(title, WITHIN_HELP, None, name == state.within, self._href(within=name, all=False, whole=""))
                for name, title in WITHIN.items()
            ],
            promoted=promoted,
            suppressed=suppressed,
            projections=[
                Tab(name, about, None, name == state.projection, self._href(projection=name))
                for name, about in PROJECTIONS.items()
            ],
            histogram=self._histogram(),
            parts=key_parts(run, self.cursor, key),
            live=self.live,
            labels=box,
            by_language=self.numbers.by_language,
            groups=self._groups(),
            discussion=discussion,
        )

    def _floor(self) -> float:
        """The smallest coefficient that is shaded."""
        if self.state.heat == "all":
            return 0.0
        return queries.quantile_above_zero(self._histogram_counts, STRONG)

    @cached_property
    def _histogram_counts(self) -> list[int]:
        """Sampled tokens of all languages, per bin."""
        by_language = [each.tokens for each in self.numbers.histograms]
        return [sum(counts) for counts in zip(*by_language, strict=True)]

    def _card(self, example: Example, heat: Heat, as_row: bool) -> Card:
        name = examples.name_of(example)
        whole = name == self.state.whole
        href = self._href(whole="" if whole else name)

        def onward() -> str:
            return self.links.page("mask_at_example", run=self.run.run_id, key=self.key, name=name)

        return examples.card(self.run, example, heat, whole, href, onward, as_row)

    def _found(self) -> tuple[list[Example], int]:
        """The examples to draw, and how many there are."""
        state, windows = self.state, self.run.windows
        count = self._count(self.language, state.show)
        narrowed = Filter(state.token, state.within)
        limit = count if state.all or narrowed else min(count, self.shown)
        as_at_first = (state.show, self.language, state.view, state.whole) == ("max", None, "stacked", "")
        first = self.numbers.first if as_at_first else None
        if first is not None and len(first) >= limit:
            found = queries.of_document(self.cursor, windows, first[:limit])
        else:
            found = queries.first_examples(self.cursor, windows, self.key, state.show, self.language, limit)
        if not narrowed:
            return found, count
        kept = narrowed.of(found, windows)
        return kept if state.all else kept[: self.shown], len(kept)

    def _parts(self, found: Sequence[Example]) -> list[int]:
        """The parts of the code that the first triggers are in; none if samples or chosen triggers are shown."""
        if self.state.show not in ("max", "min") or Filter(self.state.token, self.state.within):
            return []
        return [self.run.windows.part(each.window, each.language, each.trigger_index) for each in found]

    @cached_property
    def _triggers(self) -> list[TriggerToken]:
        """The trigger tokens of the polarity and languages shown, the strongest first."""
        polarity = "min" if self.state.show == "min" else "max"
        return [
            each
            for each in self.numbers.trigger_tokens
            if each.polarity == polarity and self.language in (None, each.language)
        ]

    def _href(self, links: Links | None = None, key: KeyId | None = None, **changes: object) -> str:
        return (links or self.links).key(self.run.run_id, key or self.key, **self.state.query(**changes))

    def _layer_firing_on(self, token: Token) -> str:
        """The address of the keys of this layer that fire on a token."""
        joint = "&" if "?" in self._layer_href else "?"
        return f"{self._layer_href}{joint}{_firing_on(token)}"

    @cached_property
    def _layer_href(self) -> str:
        # found once: a page links to it for each of sixty tokens
        return self.links.layer(self.run.run_id, self.key.layer)

    def _tokens(self) -> list[Tab]:
        """The commonest trigger tokens; samples have none in common."""
        if self.state.show not in ("max", "min"):
            return []
        chosen = self.state.token
        tokens = commonest(self._triggers, self.run.vocabulary, chosen)
        return [
            Tab(
                title=each.token,
                help="Only the triggers on this token.",
                count=each.count,
                current=each.notation == chosen,
                href=self._href(token="" if each.notation == chosen else each.notation, all=False, whole=""),
            )
            for each in tokens
        ]

    def _steps(self) -> list[Step]:
        beside = queries.neighbours(self.run.manifest, self.key)
        arrows = (
            ("←", "ArrowLeft", "previous key", beside.previous),
            ("→", "ArrowRight", "next key", beside.next),
            ("↑", "ArrowUp", "layer above", beside.above),
            ("↓", "ArrowDown", "layer below", beside.below),
        )
        return [
            Step(arrow, pressed, f"{title}: {key}", self._href(key=key)) if key else Step(arrow, pressed, title, None)
            for arrow, pressed, title, key in arrows
        ]

    def _sink_note(self) -> str:
        """What to know about a key that makes attention sinks; nothing about others."""
        share = self.statistics.get("sink_share")
        if not isinstance(share, float) or share < SINK_KEY:
            return ""
        return f"In {formats.share(share)} of windows its largest coefficient lies on an attention sink, not on code."

    def _count(self, language: str | None, show: Show) -> int:
        """The number of examples of a language, or of all."""
        return sum(
            count
            for (of, kind), count in self.numbers.counts.items()
            if kind == show and (language is None or of == language)
        )

    def _languages(self) -> list[Tab]:
        """All languages together, if there are several, then each."""
        each = [(language, formats.language(language)) for language in self.run.manifest.languages]
        tabs = [("", "all languages"), *each] if len(each) > 1 else [("", title) for _, title in each]
        return [
            Tab(
                title=title,
                help="",
                count=self._count(language or None, self.state.show),
                current=language == (self.language or "") or len(tabs) == 1,
                href=self._href(language=language, token="", all=False, whole=""),
            )
            for language, title in tabs
        ]

    def _shows(self) -> list[Tab]:
        """The kinds of examples that there are, and the one shown."""
        kinds = in_order({self.state.show, *(kind for _, kind in self.numbers.counts)})
        counts = {show: self._count(self.language, show) for show in kinds}
        return [
            Tab(
                title=title_of(show),
                help=help_of(show),
                count=None if is_band(show) else count,
                current=show == self.state.show,
                href=self._href(show=show, token="", all=False, whole=""),
            )
            for show, count in counts.items()
            if count or show == self.state.show
        ]

    def _histogram(self) -> histogram.Drawing | None:
        return histogram.draw(self._histogram_counts)

    def _groups(self) -> list[tuple[str, list[Fact]]]:
        return [
            (
                group.title,
                [
                    Fact(each.title, each.help, each.show(self.statistics, self.run.vocabulary), f"help-{each.name}")
                    for each in group.statistics
                    if self.statistics.get(each.name) is not None
                ],
            )
            for group in GROUPS
        ]


@lru_cache(maxsize=1 << 14)
def _firing_on(token: Token) -> str:
    """The query that narrows a list of keys to those that fire on a token."""
    return urlencode({"fires_on": token.notation})


def _language(manifest: Manifest, state: KeyState) -> str | None:
    """The language to show; None for all.

    Raises:
        InvalidParameter: the run has no such language.
    """
    if state.language and state.language not in manifest.languages:
        known = ", ".join(manifest.languages)
        raise InvalidParameter(f"{manifest.run_id} has no language {state.language!r}: it has {known}")
    return state.language or None


def _number(statistics: Statistics, name: str) -> float:
    value = statistics.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
