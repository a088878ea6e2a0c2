"""From a page's context to HTML: the whole page, or only its main block for htmx."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, NamedTuple

import jinja2
import jinja2.compiler
from fastapi import Depends, Query, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from markupsafe import Markup, escape
from starlette.concurrency import run_in_threadpool

from keyscope.app.runs import Run
from keyscope.app.web.baskets import read_basket
from keyscope.app.web.dependencies import OpenRun, Runs
from keyscope.app.web.formats import FILTERS
from keyscope.app.web.links import Basket, Links
from keyscope.contract.manifest import Manifest

_SPECIAL = re.compile("[&<>'\"]").search
TEMPLATES = Path(__file__).parents[2] / "templates"


class Help(NamedTuple):
    """Documents a field of a page's context: `Annotated[int, Help("…")]`."""

    text: str


class Crumb(NamedTuple):
    """A step of the path to a page; without an address it is plain text."""

    title: str
    href: str | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds every page: title, navigation and crumbs."""

    title: Annotated[str, Help("Title of the page, shown by the browser")]
    links: Annotated[Links, Help("Addresses, with the basket carried along")]
    run: Annotated[Manifest | None, Help("Manifest of the page's run; None on pages about no run")] = None
    crumbs: Annotated[tuple[Crumb, ...], Help("Path to the page, from the outermost")] = ()

    @classmethod
    def of_run(cls, title: str, links: Links, run: Manifest, *crumbs: Crumb) -> "Frame":
        """The frame of a page within a run; `crumbs` are the steps between the run and the page."""
        run_crumb = Crumb(f"{run.model.model_id} × {run.corpus.name}", links.page("run_page", run=run.run_id))
        path = (Crumb("runs", links.runs()), run_crumb, *crumbs)
        return cls(f"{title} · {run.run_id}", links, run, path)


@dataclass(frozen=True, slots=True)
class Page:
    """The context of a page: the frame and, in each subclass, the page's own fields."""

    frame: Annotated[Frame, Help("What surrounds every page")]


class _Code(jinja2.compiler.CodeGenerator):
    """Templates as Python that escapes by `_Environment.written`."""

    def _output_child_pre(
        self,
        node: jinja2.nodes.Expr,
        frame: jinja2.compiler.Frame,
        finalize: jinja2.compiler.CodeGenerator._FinalizeInfo,
    ) -> None:
        assert frame.eval_ctx.autoescape
        self.write("environment.written(")


class _Environment(jinja2.Environment):
    code_generator_class = _Code

    @staticmethod
    def written(value: object) -> str:
        """A value as `markupsafe.escape` writes it, without an object of its own for each of a page's two thousand values."""
        if isinstance(value, Markup):
            return value
        if isinstance(value, str | int):
            text = str(value)
            return escape(text) if _SPECIAL(text) else text
        return escape(value)


def environment() -> jinja2.Environment:
    """Templates that escape every value and fail on an unknown name."""
    env = _Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # a page uses dozens of templates, and would look at the file of each
    )
    env.filters.update(FILTERS)
    return env


templates = Jinja2Templates(env=environment())


NEVER_STORED = {"Cache-Control": "no-store"}
"""Headers of a page with a secret."""


def respond(
    request: Request, template: str, page: Page, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})
) -> HTMLResponse:
    """The page, or only its `main` block if htmx asks for it at the same address."""
    context = {each.name: getattr(page, each.name) for each in fields(page)}
    headers = {"Vary": "HX-Request", **headers}
    if "HX-Request" not in request.headers:
        return templates.TemplateResponse(request, template, context, status_code=status, headers=headers)
    compiled = templates.get_template(template)
    main = "".join(compiled.blocks["main"](compiled.new_context(context)))
    return HTMLResponse(main, status_code=status, headers=headers)


MaskText = Annotated[str, Query(description="The basket, such as L5.K312:0,L6.K41:0.5, or the id of a saved one")]


def basket_of(request: Request, run_id: str | None, mask: str) -> Basket:
    """The basket in an address.

    Raises:
        InvalidMask, InvalidKey, UnknownBasket, DatabaseUnavailable: it cannot be read.
    """
    return read_basket(request.app.state.database, run_id, mask)


def links_of(request: Request, run_id: str | None, mask: str) -> Links:
    """Addresses that carry the basket of a request; raises what `basket_of` does."""
    return Links(request, basket_of(request, run_id, mask))


async def _run_links(request: Request, run: OpenRun, mask: MaskText = "") -> Links:
    if not mask:
        return Links(request, Basket(run.run_id))
    return await run_in_threadpool(links_of, request, run.run_id, mask)  # the basket may be saved in the database


RunLinks = Annotated[Links, Depends(_run_links)]
"""Addresses for a page about the run in its path, with the basket in its query."""


@dataclass(frozen=True, slots=True)
class RunChoice:
    """The run a page shows, None if there is none yet, and all runs that can be read."""

    run: Run | None
    runs: list[Run]
    links: Links

    @property
    def run_id(self) -> str | None:
        return self.run.run_id if self.run else None

    @property
    def manifest(self) -> Manifest | None:
        return self.run.manifest if self.run else None

    @property
    def manifests(self) -> list[Manifest]:
        return [each.manifest for each in self.runs]


def choose_run(request: Request, registry: Runs, run: str = "", mask: MaskText = "") -> RunChoice:
    """The run named in the query, else the first one.

    Raises:
        UnknownRun: no run has that name.
        InvalidMask, InvalidKey, UnknownBasket, DatabaseUnavailable: the basket cannot be read.
    """
    runs, _ = registry.all()
    chosen = registry.get(run) if run else next(iter(runs), None)
    return RunChoice(chosen, runs, links_of(request, chosen.run_id if chosen else None, mask))


ChosenRun = Annotated[RunChoice, Depends(choose_run)]
