"""Every page in one router, and the navigation of a run."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from keyscope.app.analyses import kinds
from keyscope.app.findings import page as findings
from keyscope.app.pages.keys import discussion, jump, key, layer, overview, runs, search
from keyscope.app.pages.keys import figure_routes as figures
from keyscope.app.pages.keys import label_changes as labels
from keyscope.app.pages.labels import activity, label_import, lists, queue
from keyscope.app.pages.labels import page as team
from keyscope.app.pages.live import activations, jobs, lens
from keyscope.app.pages.live import page as live


def page_router() -> APIRouter:
    """All pages, those of the analyses among them."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    for page in (
        runs,
        overview,
        search,
        layer,
        key,
        labels,
        label_import,
        discussion,
        team,
        lists,
        activity,
        queue,
        figures,
        jobs,
        jump,
        live,
        lens,
        activations,
        findings,
    ):
        router.include_router(page.router)
    for kind in kinds.KINDS:
        for analysis in kind.pages:
            router.include_router(analysis)
    return router


def run_sections() -> list[tuple[str, str]]:
    """The pages about a whole run, by route and title, in the order of the navigation."""
    return [
        ("run_page", "overview"),
        ("search_page", "search"),
        *((kind.home, kind.title) for kind in kinds.KINDS),
        ("findings_page", "findings"),
        ("jobs_page", "jobs"),
    ]
