"""Every failure as a page, or as a fragment for htmx, with the way on from it."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Request
from fastapi.responses import HTMLResponse

from app.error_handlers import Failure
from app.pages.links import Basket, Links
from app.pages.render import Frame, Help, Page, respond
from app.security import SAFE_METHODS
from app.where_from import path_of


@dataclass(frozen=True, slots=True)
class ErrorPage(Page):
    """What a failure shows."""

    failure: Annotated[Failure, Help("What went wrong, and what there is instead")]
    asked: Annotated[str, Help("Address that was asked for, or the page whose form was sent, to come back to")]


def error_page(request: Request, failure: Failure) -> HTMLResponse:
    """Draw a failure."""
    links = Links(request, Basket())
    frame = Frame(title=failure.title, links=links, run=None, here="")
    response = respond(
        request, "error.html", ErrorPage(frame=frame, failure=failure, asked=_asked(request)), failure.status
    )
    # Whatever part of a page the request was for, it is the error that is shown there.
    response.headers["HX-Reselect"] = "#error"
    return response


def _asked(request: Request) -> str:
    return path_of(str(request.url) if request.method in SAFE_METHODS else request.headers.get("referer", ""))
