"""Put the endpoints of the JSON API together."""

from fastapi import APIRouter

from keyscope.app.accounts.identity import CREDENTIALS
from keyscope.app.analyses import kinds
from keyscope.app.api import (
    accounts,
    baskets,
    codebook,
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


def json_router() -> APIRouter:
    """All endpoints, those of the analyses among them."""
    router = APIRouter(prefix="/api/v1", dependencies=CREDENTIALS, responses=failures(401))
    for room in (
        runs,
        search,
        keys,
        labels,
        queue,
        codebook,
        label_exports,
        agreement,
        comments,
        lists,
        baskets,
        live,
        jobs,
        exports,
        findings,
        accounts,
    ):
        router.include_router(room.router)
    for kind in kinds.KINDS:
        router.include_router(kind.endpoints)
    return router
