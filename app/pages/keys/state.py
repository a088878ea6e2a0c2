"""The state of a key's page, as its address carries it."""

from typing import Literal

from keyscope.app.pages.keys.examples import Show
from keyscope.app.pages.keys.filters import Within
from keyscope.app.web.forms import PageState

Projection = Literal["normed", "raw"]
HeatFrom = Literal["strong", "all"]
View = Literal["code", "stacked"]


class KeyState(PageState):
    """What a key's page shows; an empty language means all of them."""

    language: str = ""
    show: Show = "max"
    token: str = ""
    """The trigger token that examples must be on, as `Token.notation` writes it; empty for any."""
    within: Within = ""
    """The part of the code that trigger tokens must be in."""
    view: View = "stacked"
    """Whether examples are drawn as code or one a line."""
    heat: HeatFrom = "strong"
    """From which coefficient on tokens are shaded."""
    all: bool = False
    """Whether every example is drawn, rather than the first ones."""
    whole: str = ""
    """Name of the example whose window is drawn with all its lines."""
    projection: Projection = "normed"
