"""Renders failures as pages, or fragments for htmx, with links to what exists."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Request
from fastapi.responses import HTMLResponse

from keyscope.app.web.error_handlers import Failure
from keyscope.app.web.links import Basket, Links
from keyscope.app.web.render import Frame, Help, Page, basket_of, respond
from keyscope.app.web.security import SAFE_METHODS
from keyscope.app.web.where_from import path_of
from keyscope.contract.errors import KeyscopeError


@dataclass(frozen=True, slots=True)
class ErrorPage(Page):
    failure: Annotated[Failure, Help("What went wrong, and what exists instead")]
    asked: Annotated[str, Help("Requested address, or the page whose form was sent, to return to")]
    sent_to: Annotated[str, Help("Requested address, which a form that needs a name is sent to again")]


def error_page(request: Request, failure: Failure) -> HTMLResponse:
    """Render a failure."""
    links = Links(request, _basket(request))
    frame = Frame(failure.title, links)
    page = ErrorPage(frame=frame, failure=failure, asked=_asked(request), sent_to=path_of(str(request.url)))
    response = respond(request, "error.html", page, failure.status)
    # htmx may have asked for any part of a page: show the error in its place.
    response.headers["HX-Reselect"] = "#error"
    return response


def _basket(request: Request) -> Basket:
    """The basket in the address; empty if it or its run is what is wrong."""
    run_id = request.path_params.get("run") or request.query_params.get("run")
    try:
        known = run_id in request.app.state.registry.run_ids()
        return basket_of(request, run_id, request.query_params.get("mask", "")) if known else Basket()
    except KeyscopeError:
        return Basket()


def _asked(request: Request) -> str:
    return path_of(str(request.url) if request.method in SAFE_METHODS else request.headers.get("referer", ""))
