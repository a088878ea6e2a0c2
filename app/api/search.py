"""Exact search over all keys of a run."""

from typing import Annotated

from fastapi import APIRouter, Query

from keyscope.app.queries.search import search
from keyscope.app.web import shapes as models
from keyscope.app.web import shaping as shapes
from keyscope.app.web.dependencies import Cursor, OpenRun
from keyscope.app.web.search_query import Searched, UnknownTokens

MAX_LIMIT = 1000
router = APIRouter(tags=["search"])


@router.get("/runs/{run}/search", responses=models.OF_A_RUN | models.failures(503))
def search_keys(
    run: OpenRun,
    cursor: Cursor,
    wanted: Searched,
    unknown: UnknownTokens,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> models.SearchAnswer:
    """The keys for which all criteria hold, in order."""
    found = search(cursor, run.vocabulary, wanted, limit, offset)
    return models.SearchAnswer(
        total=found.total,
        by_layer=found.by_layer(run.manifest.model.n_layers),
        unknown_tokens=unknown,
        sort=found.sort,
        order=found.order,
        limit=limit,
        offset=offset,
        keys=[shapes.found_key(hit) for hit in found.hits],
    )
