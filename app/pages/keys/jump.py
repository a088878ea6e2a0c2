"""`/jump`: resolves whatever is typed into the box in the header."""

import re

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse

from keyscope.app import queries
from keyscope.app.errors import Exists, NotFound
from keyscope.app.queries import parse_token
from keyscope.app.runs import Registry, Run
from keyscope.app.web.dependencies import Runs
from keyscope.app.web.forms import see_other
from keyscope.app.web.links import Links
from keyscope.app.web.render import MaskText, links_of
from keyscope.contract.keys import InvalidKey, KeyId

router = APIRouter()

_LAYER = re.compile(r"\s*(?:layer\s*|L)([0-9]{1,6})\s*", re.ASCII | re.IGNORECASE)
_SHOWN = str.maketrans({"·": " "})
_WHAT_TO_TYPE = "type a key like L5.K312, a layer like L5, or a token, with its exact white space"


class NothingFound(NotFound):
    """The text typed is neither a key nor a layer nor a token."""


@router.get("/jump", name="jump")
def jump(request: Request, registry: Runs, q: str = "", run: str = "", mask: MaskText = "") -> RedirectResponse:
    """Redirect to a key, to a layer, or to the keys that fire on a token or promote it.

    Raises:
        NothingFound: it is none of these, or there are several runs and none is named.
        UnknownRun, UnknownLayer, UnknownKey: it does not exist.
    """
    chosen = _run(registry, run, q)
    return see_other(_target(chosen, links_of(request, chosen.run_id, mask), q))


def _run(registry: Registry, run_id: str, typed: str) -> Run:
    """The run named, or the only one there is."""
    run_ids = registry.run_ids()
    if run_id or len(run_ids) == 1:
        return registry.get(run_id or run_ids[0])
    raise NothingFound(f"open a run first, to look for {typed!r} in it", Exists(runs=tuple(run_ids)))


def _target(run: Run, links: Links, typed: str) -> str:
    exists = Exists(run_id=run.run_id, n_layers=run.manifest.model.n_layers)
    try:
        key = KeyId.parse(typed)
    except InvalidKey:
        pass
    else:
        queries.check_key(run.manifest, key)
        return links.key(run.run_id, key)
    if match := _LAYER.fullmatch(typed):
        number = int(match[1])
        queries.check_layer(run.manifest, number)
        return links.layer(run.run_id, number)
    for text in (typed, typed.translate(_SHOWN)):
        if text and run.vocabulary.ids(parse_token(text)):
            return links.page("search_page", run=run.run_id, q=text)
    raise NothingFound(f"nothing in {run.run_id} is called {typed!r}: {_WHAT_TO_TYPE}", exists)
