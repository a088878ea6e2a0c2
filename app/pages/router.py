"""Every page in one router."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from keyscope.app.pages import (
    activations,
    activity,
    concept,
    concepts,
    discussion,
    edits,
    figures,
    findings,
    firing,
    jobs,
    jump,
    key,
    label_import,
    labels,
    layer,
    layer_agreement,
    lens,
    lists,
    live,
    overview,
    queue,
    runs,
    search,
    syntax,
    team,
)

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
