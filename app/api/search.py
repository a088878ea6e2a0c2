"""Search all keys of a run by exact criteria."""

from typing import Annotated

from fastapi import APIRouter, Query

from keyscope.app.queries.search import search
from keyscope.app.web import shapes, shaping
from keyscope.app.web.dependencies import Cursor, OpenRun
from keyscope.app.web.search_query import Searched, UnknownTokens

MAX_LIMIT = 1000
router = APIRouter(tags=["search"])


@router.get("/runs/{run}/search", responses=shapes.OF_A_RUN | shapes.failures(503))
def search_keys(
    run: OpenRun,
    cursor: Cursor,
    wanted: Searched,
    unknown: UnknownTokens,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> shapes.SearchAnswer:
    """A page of the keys that match all criteria, sorted."""
    row = wanted.row
    found = search(cursor, run.vocabulary, wanted, limit, offset)
    return shapes.SearchAnswer(
        total=found.total,
        by_layer=found.by_layer(run.manifest.model.n_layers),
        unknown_tokens=unknown,
        sequence_checked=row.checked if row else None,
        sequence_candidates=row.candidates if row else None,
        sort=found.sort,
        order=found.order,
        limit=limit,
        offset=offset,
        keys=[shaping.found_key(hit) for hit in found.hits],
    )
