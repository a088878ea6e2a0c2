"""Every page in one router."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from keyscope.app.analyses.agreement import page as layer_agreement
from keyscope.app.analyses.concepts import list_page as concepts
from keyscope.app.analyses.concepts import page as concept
from keyscope.app.analyses.edits import page as edits
from keyscope.app.analyses.firing import page as firing
from keyscope.app.analyses.syntax import page as syntax
from keyscope.app.findings import page as findings
from keyscope.app.pages.keys import discussion, jump, key, layer, overview, runs, search
from keyscope.app.pages.keys import figure_routes as figures
from keyscope.app.pages.keys import label_changes as labels
from keyscope.app.pages.labels import activity, label_import, lists, queue
from keyscope.app.pages.labels import page as team
from keyscope.app.pages.live import activations, jobs, lens
from keyscope.app.pages.live import page as live

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
    layer_agreement,
    syntax,
    firing,
    concepts,
    concept,
    edits,
    findings,
):
    router.include_router(page.router)
