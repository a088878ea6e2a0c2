"""The state of a key's page, as it stands in its address."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from keyscope.app.pages.keys.examples import Show

Projection = Literal["normed", "raw"]


class KeyState(BaseModel):
    """What is shown of a key; the language is empty for the one in which it fires most."""

    model_config = ConfigDict(extra="ignore")

    language: str = ""
    show: Show = "max"
    projection: Projection = "normed"
    mask: str = ""

    def query(self, **changes: object) -> dict[str, Any]:
        """The address's parameters after the changes, defaults and the basket left out."""
        return self.model_copy(update=changes).model_dump(exclude_defaults=True, exclude={"mask"})
