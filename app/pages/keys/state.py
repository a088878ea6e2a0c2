"""The state of a key's page, as its address carries it."""

from typing import Literal

from keyscope.app.pages.keys.examples import Show
from keyscope.app.web.forms import PageState

Projection = Literal["normed", "raw"]


class KeyState(PageState):
    """What a key's page shows; an empty language means the one the key fires in most."""

    language: str = ""
    show: Show = "max"
    projection: Projection = "normed"
