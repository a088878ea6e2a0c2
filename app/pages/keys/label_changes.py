"""The form of a label, and labels on the page of a key: saved, removed, undone, and conflicts between two changes."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Request, Response
from pydantic import BeforeValidator, Field

from keyscope.app.accounts.identity import Labeler, Person
from keyscope.app.database.engine import Database
from keyscope.app.errors import InvalidParameter
from keyscope.app.labels import repository
from keyscope.app.labels.fields import MOST_EVIDENCE, MOST_TAGS, Description, Tag
from keyscope.app.labels.models import Evidence, Kind, Label
from keyscope.app.labels.repository import Judgement, LabelChanged, Target
from keyscope.app.pages.keys.state import KeyState
from keyscope.app.runs import Run
from keyscope.app.web.dependencies import Key, LabelsDatabase, OpenRun
from keyscope.app.web.forms import BlankIsNone, FormModel, see_other
from keyscope.app.web.links import Links
from keyscope.app.web.render import Frame, Help, Page, RunLinks, respond
from keyscope.contract.keys import KeyId

router = APIRouter()

Place = Annotated[str, Field(pattern="^[0-9a-f]{64}:[0-9]{1,9}$")]
"""A trigger, written `sha256:offset`."""
Places = Annotated[list[Place], Field(max_length=MOST_EVIDENCE)]


def _split(texts: list[str]) -> list[str]:
    """Tags as they are typed, with commas between them."""
    return list(dict.fromkeys(tag for text in texts for part in text.split(",") if (tag := part.strip())))


class LabelForm(FormModel):
    """A label as the form sends it."""

    action: Literal["save", "retract", "undo", "skip"] = "save"
    kind: Kind | None = None
    description: Description = ""
    tags: Annotated[list[Tag], BeforeValidator(_split), Field(max_length=MOST_TAGS)] = Field(default_factory=list)
    confidence: Annotated[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None, BlankIsNone] = None
    evidence: Places = Field(default_factory=list)
    """Triggers that are ticked."""
    shown: Places = Field(default_factory=list)
    """Triggers that stand on the page, ticked or not."""
    kept: Places = Field(default_factory=list)
    """Triggers the form started with; those not on the page stay as they are."""
    based_on: int | None = Field(None, ge=0)
    """Id of one's own label that the form was opened on, 0 for none."""

    def judgement(self) -> Judgement:
        """What the label says.

        Raises:
            InvalidParameter: no kind is chosen.
        """
        if self.kind is None:
            raise InvalidParameter(f"a label needs a kind: choose {Kind.choices()}")
        places = [each for each in self.kept if each not in self.shown] + self.evidence
        evidence = [Evidence.parse(each) for each in dict.fromkeys(places)]
        return Judgement(self.kind, self.description.strip(), self.confidence, self.tags, evidence)


@dataclass(frozen=True, slots=True)
class ConflictPage(Page):
    """Context shown when the person's label has changed since the form was opened."""

    key: Annotated[KeyId, Help("The key")]
    saved: Annotated[Label | None, Help("The person's current label; None if it was removed")]
    sent: Annotated[LabelForm, Help("The form's contents, not saved")]
    evidence: Annotated[list[str], Help("Triggers ticked as evidence")]
    save_href: Annotated[str, Help("Where the form's label is saved after all")]
    keep_href: Annotated[str, Help("Where the current label is kept")]


@dataclass(frozen=True, slots=True)
class Change:
    """A label form sent by one person about one key."""

    run: Run
    key: KeyId
    form: LabelForm
    person: Person

    @property
    def target(self) -> Target:
        """The key and its weights."""
        return Target(self.run.manifest.model.weights_sha256, self.key)

    def apply(self, database: Database) -> int:
        """Make the change and return the id of the person's label after it, 0 for none.

        Raises:
            InvalidParameter: no kind is chosen.
            NoLabel: there is nothing to remove or undo.
            LabelChanged: the label is not the one the form was opened with.
        """
        target, name, based_on = self.target, self.person.name, self.form.based_on
        match self.form.action:
            case "retract":
                database.write(lambda session: repository.retract_label(session, target, name, based_on))
                return 0
            case "undo":
                label = database.write(lambda session: repository.undo(session, target, name, based_on))
                return label.id if label else 0
            case _:
                said = self.form.judgement()
                return database.write(lambda session: repository.put_label(session, target, name, said, based_on)).id

    def conflict(self, links: Links, database: Database, save_href: str, keep_href: str) -> ConflictPage:
        """Both versions, to choose from."""
        current = database.read(lambda session: repository.current_label(session, self.target, self.person.name))
        manifest, judgement = self.run.manifest, self.form.judgement()
        return ConflictPage(
            frame=Frame.of_run(f"{self.key}: two labels", links, manifest),
            key=self.key,
            saved=current,
            sent=self.form,
            evidence=[str(each) for each in judgement.evidence],
            save_href=save_href,
            keep_href=keep_href,
        )


@router.post("/runs/{run}/keys/{key}/label", name="give_label")
def give_label(
    request: Request,
    run: OpenRun,
    key: Key,
    person: Labeler,
    database: LabelsDatabase,
    state: Annotated[KeyState, Query()],
    form: Annotated[LabelForm, Form()],
    links: RunLinks,
) -> Response:
    """Save or remove a label, or undo the last change, and show the key again.

    Raises:
        InvalidParameter: no kind is chosen.
        NoLabel: there is nothing to remove or undo.
        LabelChanged: the label to remove or undo has changed meanwhile.
    """
    change = Change(run, key, form, person)
    page = links.key(run.run_id, key, **state.query()) + "#labels"
    try:
        change.apply(database)
    except LabelChanged:
        if form.action != "save":
            raise
        save = links.page("give_label", run=run.run_id, key=key, **state.query())
        return respond(request, "keys/label_conflict.html", change.conflict(links, database, save, page), 409)
    return see_other(page)
