"""The state of a key's page, as its address carries it."""

from typing import Literal

from keyscope.app.pages.keys.examples import Show
from keyscope.app.web.forms import PageState

Projection = Literal["normed", "raw"]


class KeyState(PageState):
    """What a key's page shows; an empty language means all of them."""

    language: str = ""
    show: Show = "max"
    all: bool = False
    """Whether every example is drawn, rather than the first ones."""
    whole: str = ""
    """Name of the example whose window is drawn with all its lines."""
    projection: Projection = "normed"
