"""`/`: the list of runs, and of files that cannot be read as runs."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from keyscope.app.runs import Unreadable
from keyscope.app.web.dependencies import Runs
from keyscope.app.web.render import Frame, Help, MaskText, Page, links_of, respond
from keyscope.contract.manifest import Manifest

router = APIRouter()


@dataclass(frozen=True, slots=True)
class RunsPage(Page):
    runs: Annotated[list[Manifest], Help("Manifests of the runs that can be read, by name")]
    unreadable: Annotated[list[Unreadable], Help("Files that cannot be shown, each with the reason")]
    directory: Annotated[str, Help("Directory the server looks in")]


@router.get("/", name="runs_page")
def runs_page(request: Request, registry: Runs, run: str = "", mask: MaskText = "") -> HTMLResponse:
    """The list of runs; a basket is kept for the run it belongs to."""
    readable, unreadable = registry.all()
    page = RunsPage(
        frame=Frame("Runs", links_of(request, run or None, mask)),
        runs=[run.manifest for run in readable],
        unreadable=unreadable,
        directory=str(registry.directory.absolute()),
    )
    return respond(request, "keys/runs.html", page)
