"""Put the endpoints of the JSON API together."""

from fastapi import APIRouter

from keyscope.app.accounts.identity import CREDENTIALS
from keyscope.app.analyses.agreement import api as layer_agreement
from keyscope.app.analyses.concepts import api as concepts
from keyscope.app.analyses.edits import api as edits
from keyscope.app.analyses.firing import api as firing
from keyscope.app.analyses.syntax import api as syntax
from keyscope.app.api import (
    accounts,
    baskets,
    comments,
    exports,
    jobs,
    keys,
    label_exports,
    labels,
    lists,
    live,
    queue,
    runs,
    search,
)
from keyscope.app.api import annotator_agreement as agreement
from keyscope.app.findings import api as findings
from keyscope.app.web.shapes import failures

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
