"""`/`: what Keyscope is, ways in, keys to look at first, and all runs."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from keyscope.app.queries.first_keys import clear_keys
from keyscope.app.queries.key_rows import KeyRow
from keyscope.app.runs import Registry, Run, Unreadable
from keyscope.app.web.dependencies import Runs
from keyscope.app.web.render import Frame, Help, MaskText, Page, links_of, respond
from keyscope.contract.manifest import Manifest

router = APIRouter()

CARDS = 6
"""Keys shown as cards."""


@dataclass(frozen=True, slots=True)
class HomePage(Page):
    runs: Annotated[list[Manifest], Help("Manifests of the runs that can be read, by name")]
    keys: Annotated[list[KeyRow], Help("Keys of the run shown whose triggers are mostly on one word")]
    unreadable: Annotated[list[Unreadable], Help("Files that cannot be shown, each with the reason")]
    directory: Annotated[str, Help("Directory the server looks in")]


@router.get("/", name="runs_page")
def home_page(request: Request, registry: Runs, run: str = "", mask: MaskText = "") -> HTMLResponse:
    """The ways in lead to the run named in the address, by default the newest.

    Raises:
        UnknownRun: the run named does not exist.
    """
    readable, unreadable = registry.all()
    shown = _shown(registry, run)
    page = HomePage(
        frame=Frame("Neurons of code models", links_of(request, run or None, mask), shown.manifest if shown else None),
        runs=[each.manifest for each in readable],
        keys=_cards(shown) if shown else [],
        unreadable=unreadable,
        directory=str(registry.directory.absolute()),
    )
    return respond(request, "keys/home.html", page)


def _shown(registry: Registry, run_id: str) -> Run | None:
    return registry.get(run_id) if run_id else registry.newest()


def _cards(run: Run) -> list[KeyRow]:
    with run.reading() as cursor:
        return run.recall(clear_keys, cursor, run.vocabulary, CARDS)
