"""The state of the demo in its address."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from keyscope.app.live.effects import USUAL_DOSE
from keyscope.app.live.prompts import PROMPTS, Prompt
from keyscope.app.web.forms import PageState, Typed

STEPS = 6
"""Steps of the tour."""


class DemoState(PageState):
    """What the demo shows."""

    run: str = ""
    preset: str = ""
    """Name of a prompt to try."""
    prompt: Typed = ""
    """A prompt of one's own, which goes before the preset."""
    keys: Annotated[Literal[0, 20, 60, 200], BeforeValidator(int)] = USUAL_DOSE
    """How many keys to remove: nothing or one of the doses."""
    draw: int = Field(0, ge=0, lt=2**31)
    """Number of the random draw of the control."""
    view: Literal["page", "presenter"] = "page"
    step: int = Field(1, ge=1, le=STEPS)
    """Step of the tour, in the presenter's view."""

    @property
    def chosen(self) -> Prompt | None:
        """The prompt to try of that name; None if there is none, or the prompt is one's own."""
        return None if self.prompt else next((each for each in PROMPTS if each.name == self.preset), None)

    @property
    def text(self) -> str:
        """The prompt to continue; empty before one is chosen."""
        return self.prompt or (self.chosen.text if self.chosen else "")
