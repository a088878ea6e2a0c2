"""`/name`: the visitor's name on a server without sign-in, asked for once and kept in a cookie."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from keyscope.app.accounts.identity import Visitor
from keyscope.app.accounts.names import person_name
from keyscope.app.web import by_word
from keyscope.app.web.forms import FormModel, Next, see_other, way_back
from keyscope.app.web.render import Frame, Help, MaskText, Page, links_of, respond

router = APIRouter()


@dataclass(frozen=True, slots=True)
class NamePage(Page):
    name: Annotated[str, Help("Current name")]
    next: Annotated[str, Help("Address to return to")]


class NameForm(FormModel):
    name: str = ""
    next: str = ""


@router.get("/name", name="name_page")
def name_page(
    request: Request, visitor: Visitor, wanted: Next = "", run: str = "", mask: MaskText = ""
) -> HTMLResponse:
    """The form."""
    links = links_of(request, run or None, mask)
    frame = Frame("Your name", links)
    onward = way_back(request, wanted or links.runs())
    return respond(request, "accounts/name.html", NamePage(frame, visitor.name if visitor else "", onward))


@router.post("/name", name="give_name")
def give_name(request: Request, form: Annotated[NameForm, Form()]) -> RedirectResponse:
    """Remember the name and return to the page the visitor came from.

    Raises:
        InvalidParameter: the name is empty, too long or not printable.
    """
    response = see_other(way_back(request, form.next))
    by_word.remember(response, person_name(form.name))
    return response
