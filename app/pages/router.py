"""Every page in one router, and the navigation between them."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from keyscope.app.analyses import kinds
from keyscope.app.findings import page as findings
from keyscope.app.pages.demo import page as demo
from keyscope.app.pages.keys import card, discussion, figures, find, home, key, label_changes, layer, overview, search
from keyscope.app.pages.keys import live as key_live
from keyscope.app.pages.labels import activity, codebook, label_import, lists, queue
from keyscope.app.pages.labels import page as team
from keyscope.app.pages.live import activations, jobs, lens
from keyscope.app.pages.live import page as live
from keyscope.app.web.navigation import Group, entry

OF_KEYS = home, overview, search, layer, key, key_live, card, label_changes, discussion, figures, find
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


def navigation() -> tuple[Group, ...]:
    """All entries, in four groups."""
    evidence = [entry(kind.title, kind.home, *kind.pages) for kind in kinds.KINDS]
    return (
        Group(
            "browse",
            (
                entry("overview", "run_page", overview.router),
                entry("layers", "layer_page", layer.router, key.router, key_live.router, label_changes.router, layer=0),
                entry("search", "search_page", search.router, find.router),
            ),
        ),
        Group(
            "try",
            (
                entry("demo", "demo_page", demo.router),
                entry("live", "live_page", live.router),
                entry("lens", "lens_page", lens.router),
                entry("my code", "activations_page", activations.router),
            ),
        ),
        Group(
            "evidence",
            (*evidence, entry("findings", "findings_page", findings.router), entry("jobs", "jobs_page", jobs.router)),
        ),
        Group(
            "label",
            (
                entry("queue", "queue_page", queue.router),
                entry("between people", "labels_page", team.router, label_import.router),
                entry("codebook", "codebook_page", codebook.router),
                entry("lists", "lists_page", lists.router),
                entry("activity", "activity_page", activity.router),
            ),
        ),
    )
