"""Page states in addresses, fields of forms, and where a form leads."""

from functools import cache
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from fastapi import Query, Request
from fastapi.responses import RedirectResponse
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

BlankIsNone = BeforeValidator(lambda text: None if text == "" else text)
"""Reads a field left empty as None: `Annotated[int | None, BlankIsNone]`."""
Typed = Annotated[str, AfterValidator(lambda text: text.replace("\r\n", "\n"))]
"""Text of several lines; browsers submit every line break as CR LF."""
Next = Annotated[str, Query(alias="next")]
"""The address to return to, as the query parameter `next`."""


class FormModel(BaseModel):
    """A form's fields; unknown ones, such as a browser extension's, are ignored."""

    model_config = ConfigDict(extra="ignore")


class PageState(FormModel):
    """The state of a page as its address carries it, the basket of masks included."""

    not_in_query: ClassVar[set[str]] = {"run", "mask"}
    """Fields that `Links` adds to an address, or that only a form sends."""

    mask: str = ""

    def query(self, **changes: object) -> dict[str, Any]:
        """Query parameters of the state after some changes, without those at their defaults."""
        # a page has a hundred links: copying and dumping a model for each takes as long as finding their addresses
        values = self.__dict__ | changes
        return {name: values[name] for name, default in _defaults(type(self)).items() if values[name] != default}


@cache
def _defaults(state: type[PageState]) -> dict[str, object]:
    """The fields of a state that go into an address, in order, with their defaults."""
    fields = state.model_fields.items()
    return {
        name: each.get_default(call_default_factory=False) for name, each in fields if name not in state.not_in_query
    }


def see_other(address: str) -> RedirectResponse:
    """Redirect to a page after a form (303), so that reloading it does not send the form again."""
    return RedirectResponse(address, status_code=303)


def way_back(request: Request, wanted: str) -> str:
    """The address to return to if it is a path on this site, else the list of runs."""
    return wanted if _is_path(wanted) else request.url_for("runs_page").path


def _is_path(address: str) -> bool:
    # Browsers read // and /\ as the beginning of another site, and drop tabs and line ends before they look.
    if not address.startswith("/") or address[1:2] in ("/", "\\") or not address.isprintable() or " " in address:
        return False
    parts = urlsplit(address)
    return not (parts.scheme or parts.netloc)
