"""The form of a label: what it sends, and who sends it."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from keyscope.app.accounts.identity import Person, require
from keyscope.app.accounts.names import person_name
from keyscope.app.errors import InvalidParameter
from keyscope.app.labels.fields import MOST_EVIDENCE, MOST_TAGS, Description, Tag
from keyscope.app.labels.models import Evidence, Kind
from keyscope.app.labels.repository import Judgement
from keyscope.app.roles import Role
from keyscope.app.web.forms import BlankIsNone, FormModel

Place = Annotated[str, Field(pattern="^[0-9a-f]{64}:[0-9]{1,9}$")]
"""A trigger, written `sha256:offset`."""
Places = Annotated[list[Place], Field(max_length=MOST_EVIDENCE)]


def _split(texts: list[str]) -> list[str]:
    """Tags as they are typed, with commas between them."""
    return list(dict.fromkeys(tag for text in texts for part in text.split(",") if (tag := part.strip())))


class LabelForm(FormModel):
    """A label as the form sends it."""

    action: Literal["save", "retract", "undo", "skip"] = "save"
    person: str = ""
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

    def sender(self, visitor: Person | None) -> Person:
        """Who labels: the visitor, or where nobody signs in and they have not said who they are, the name in the form.

        Raises:
            Forbidden: the visitor may not label.
            InvalidParameter: the name is none.
        """
        if visitor is None:
            return Person(person_name(self.person), Role.ADMIN)
        require(visitor, Role.LABELER)
        return visitor
