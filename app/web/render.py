"""From a context to HTML: a whole page, or only its main part where htmx asks for it."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, NamedTuple

import jinja2
from fastapi import Query, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from keyscope.app.web.baskets import read_basket
from keyscope.app.web.formats import FILTERS
from keyscope.app.web.links import Basket, Links
from keyscope.contract.manifest import Manifest

TEMPLATES = Path(__file__).parents[2] / "templates"


class Help(NamedTuple):
    """What a field of a page's context is: `Annotated[int, Help("…")]`."""

    text: str


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds every page."""

    title: Annotated[str, Help("What the page is about, as in the window's title")]
    links: Annotated[Links, Help("Addresses, with the basket carried along")]
    run: Annotated[Manifest | None, Help("Manifest of the run the page belongs to; None on pages about no run")]
    here: Annotated[str, Help("Entry of the navigation that is marked: runs, live, labels or visitor")]
    section: Annotated[str, Help("Entry of the run's navigation that is marked: the name of its route")] = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The context of a page: the frame and, in each subclass, the page's own fields."""

    frame: Annotated[Frame, Help("What surrounds every page")]


def environment() -> jinja2.Environment:
    """Templates that escape every value and refuse a name they were not given."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(FILTERS)
    return env


_templates = Jinja2Templates(env=environment())


def respond(request: Request, template: str, page: Page, status: int = 200) -> HTMLResponse:
    """The page, or the `main` block of its template for a request of htmx; the same address answers both."""
    context = {each.name: getattr(page, each.name) for each in fields(page)}
    headers = {"Vary": "HX-Request"}
    if "HX-Request" not in request.headers:
        return _templates.TemplateResponse(request, template, context, status_code=status, headers=headers)
    compiled = _templates.get_template(template)
    main = "".join(compiled.blocks["main"](compiled.new_context(context)))
    return HTMLResponse(main, status_code=status, headers=headers)


MaskText = Annotated[str, Query(description="The basket, such as L5.K312:0,L6.K41:0.5, or the id of a saved one")]


def basket_of(request: Request, run_id: str | None, mask: str) -> Basket:
    """The basket in an address.

    Raises:
        InvalidMask, InvalidKey, UnknownBasket, DatabaseUnavailable: it cannot be read.
    """
    return read_basket(request.app.state.database, run_id, mask)
