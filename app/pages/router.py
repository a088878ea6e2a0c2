"""Every page in one router, and the navigation of a run."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from keyscope.app.analyses import kinds
from keyscope.app.findings import page as findings
from keyscope.app.pages.demo import page as demo
from keyscope.app.pages.keys import card, discussion, figures, jump, key, label_changes, layer, overview, runs, search
from keyscope.app.pages.keys import live as key_live
from keyscope.app.pages.labels import activity, codebook, label_import, lists, queue
from keyscope.app.pages.labels import page as team
from keyscope.app.pages.live import activations, jobs, lens
from keyscope.app.pages.live import page as live

OF_KEYS = runs, overview, search, layer, key, key_live, card, label_changes, discussion, figures, jump
OF_LABELS = label_import, team, codebook, lists, activity, queue
OF_MODELS = jobs, demo, live, lens, activations


def page_router() -> APIRouter:
    """All pages, those of the analyses among them."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    for page in (*OF_KEYS, *OF_LABELS, *OF_MODELS, findings):
        router.include_router(page.router)
    router.include_router(key_live.of_run_files)
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
