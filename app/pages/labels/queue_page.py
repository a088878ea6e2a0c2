"""Contexts of the labelling queue: its options, a key to label, and the previous label."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from sqlalchemy.orm import Session

from keyscope.app.labels import progress, repository
from keyscope.app.labels.lists import Summary
from keyscope.app.labels.models import Label
from keyscope.app.labels.queue import CALIBRATION, MOST_CALIBRATION, PEOPLE, Offer, Strategy, Wanted, keys_left
from keyscope.app.labels.repository import Target
from keyscope.app.pages.keys.key import KeyDrawing, KeyPage
from keyscope.app.pages.keys.label_box import Action, LabelBox
from keyscope.app.pages.keys.state import KeyState, View
from keyscope.app.runs import Run
from keyscope.app.web.forms import BlankIsNone
from keyscope.app.web.links import Links
from keyscope.app.web.render import Crumb, Help, Page
from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import Manifest

TRIGGERS = 10
"""Triggers shown per key; the key's page has all."""
ACTIONS = (Action("save", "save and next", "Enter"), Action("skip", "skip", "s"))
STRATEGIES = {
    Strategy.SAMPLE: "Sample: random keys, one from each layer in turn",
    Strategy.IMPACT: "High impact: keys that write most on average first",
    Strategy.DISAGREEING: "Disagreement: keys on which people’s kinds differ",
    Strategy.UNSURE: "Low confidence: keys with an unsure label",
    Strategy.LIST: "A saved list, in its order",
}
LEFT = {
    Strategy.SAMPLE: "of the sample left",
    Strategy.IMPACT: "keys left",
    Strategy.DISAGREEING: "disagreements left",
    Strategy.UNSURE: "unsure keys left",
    Strategy.LIST: "of the list left",
}
_LARGEST = 2**31 - 1
Id = Annotated[Annotated[int, Field(ge=0, le=_LARGEST)] | None, BlankIsNone]


class QueueState(KeyState):
    """The state of the queue in its address."""

    not_in_query: ClassVar[set[str]] = {"mask"}

    view: View = "code"
    """Evidence is marked on code."""
    run: str = ""
    strategy: Strategy | None = None
    seed: int = Field(0, ge=0, le=_LARGEST)
    people: int = Field(PEOPLE, ge=1, le=100)
    calibration: int = Field(CALIBRATION, ge=0, le=MOST_CALIBRATION)
    list: Id = None
    blind: bool = False
    key: str = ""
    last: Id = None
    """Id of the previous label, shown beside the next key."""
    undone: Id = None
    """Id of the label just undone, to start from."""

    mask_run: str = ""
    """Run of the basket; the form may choose another run."""

    @model_validator(mode="after")
    def _drop_the_basket_of_another_run(self) -> Self:
        if self.mask_run not in ("", self.run):
            self.mask = ""
        self.mask_run = ""
        return self

    def wanted(self, strategy: Strategy) -> Wanted:
        """Which keys to offer."""
        return Wanted(strategy, self.seed, self.people, self.calibration, self.list)

    def rest(self, **changes: object) -> dict[str, Any]:
        """Query parameters without those about one key."""
        of_a_key = {
            "key": "",
            "last": None,
            "undone": None,
            "language": "",
            "show": "max",
            "token": "",
            "within": "",
            "projection": "normed",
            "all": False,
            "whole": "",
        }
        return self.query(**{**of_a_key, **changes})


@dataclass(frozen=True, slots=True)
class Last:
    """The previous label, and others' labels of that key."""

    label: Label
    href: str
    """The key's page."""
    others: list[Label]
    undo_href: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the visitor is."""

    labelled: int
    """Keys of the model that they have labelled."""
    left: int
    """Keys of the queue that they may still be offered."""
    of: str
    """What those are."""
    seconds: float | None
    """Their usual time for a key; None before they have a pace."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A strategy to choose."""

    value: Strategy
    words: str
    current: bool


@dataclass(frozen=True, slots=True)
class StartPage(Page):
    """Context of the page before the first key and after the last."""

    runs: Annotated[list[Manifest], Help("Runs whose keys can be labelled")]
    strategies: Annotated[list[Choice], Help("What to label next")]
    lists: Annotated[list[Summary], Help("Saved lists that the visitor may see")]
    state: Annotated[QueueState, Help("What is chosen so far")]
    offer: Annotated[Offer | None, Help("What is left, at the end of the queue")]
    last: Annotated[Last | None, Help("The label just given")]
    again: Annotated[str, Help("Address of the queue, to try again")]


@dataclass(frozen=True, slots=True)
class LastPage(Page):
    """Context of a saved label alone, for the script that already has the page."""

    progress: Annotated[Progress, Help("How far the visitor is")]
    last: Annotated[Last | None, Help("The label just given")]


@dataclass(frozen=True, slots=True)
class QueuePage(KeyPage):
    """Context of a key to label: that of its page, and the queue's."""

    next_href: Annotated[str, Help("Address of the next key")]
    lease_href: Annotated[str, Help("Where the lease on this key is renewed and released")]
    key_href: Annotated[str, Help("Address of the key's page")]
    holder: Annotated[str | None, Help("Who else is labelling this key; None if no one is")]
    progress: Annotated[Progress, Help("How far the visitor is")]
    last: Annotated[Last | None, Help("The label just given")]


class QueueDrawing(KeyDrawing):
    """Builds the context of a key to label; its tabs lead back to the queue."""

    shown = TRIGGERS
    state: QueueState

    def queue_page(
        self, box: LabelBox, strategy: Strategy, holder: str | None, so_far: Progress, last: Last | None
    ) -> QueuePage:
        """The whole context, with the key's labels and the previous label."""
        run, key, links, state = self.run.run_id, self.key, self.links, self.state
        page = self.page(box)
        shared = {each.name: getattr(page, each.name) for each in fields(page)}
        change_href = links.page("queue_page", **state.rest(strategy=None))
        path = (
            Crumb("labelling queue", change_href),
            Crumb(STRATEGIES[strategy]),
            *([Crumb("blind")] if box.blind else []),
        )
        shared["frame"] = replace(page.frame, crumbs=path)
        return QueuePage(
            **shared,
            next_href=links.page("queue_page", **state.rest()),
            lease_href=links.to("renew_lease", run=run, key=key),
            key_href=links.key(run, key),
            holder=holder,
            progress=so_far,
            last=last,
        )

    def _href(self, links: Links | None = None, key: KeyId | None = None, **changes: object) -> str:
        return (links or self.links).page("queue_page", **self.state.query(key=str(key or self.key), **changes))


def load_last(state: QueueState, weights_sha256: str, person: str, links: Links) -> Callable[[Session], Last | None]:
    """Loads the previous label; None if there is none, or it has changed since."""

    def load(session: Session) -> Last | None:
        label = repository.label_of(session, weights_sha256, person, state.last) if state.last else None
        if label is None or not label.current:
            return None
        labels = repository.current_labels(session, Target(weights_sha256, label.key))
        others = [each for each in labels if each.person != person]
        return Last(label, links.key(state.run, label.key), others, links.page("queue_undo", **state.rest()))

    return load


def load_progress(run: Run, wanted: Wanted, person: str) -> Callable[[Session], Progress]:
    """Loads how far a person is in a queue."""
    weights = run.manifest.model.weights_sha256

    def load(session: Session) -> Progress:
        return Progress(
            labelled=progress.done_by(session, weights, person),
            left=len(keys_left(session, run, wanted, person)),
            of=LEFT[wanted.strategy],
            seconds=progress.pace(session, weights, person),
        )

    return load
