"""All endpoints of the JSON API."""

from fastapi import APIRouter

from keyscope.app.accounts.identity import CREDENTIALS
from keyscope.app.api import (
    accounts,
    agreement,
    baskets,
    comments,
    concepts,
    edits,
    exports,
    findings,
    firing,
    jobs,
    keys,
    label_exports,
    labels,
    layer_agreement,
    lists,
    live,
    queue,
    runs,
    search,
    syntax,
)
from keyscope.app.api.models import failures

router = APIRouter(prefix="/api/v1", dependencies=CREDENTIALS, responses=failures(401))
for room in (
    runs,
    search,
    keys,
    labels,
    queue,
    label_exports,
    layer_agreement,
    syntax,
    firing,
    concepts,
    agreement,
    comments,
    lists,
    baskets,
    live,
    jobs,
    edits,
    exports,
    findings,
    accounts,
):
    router.include_router(room.router)
