"""`/find`: whatever is typed into the box in the header, looked for everywhere."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import duckdb
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from keyscope.app import queries
from keyscope.app.accounts.identity import Visitor
from keyscope.app.concepts.lookup import all_concepts
from keyscope.app.database.engine import Database, DatabaseUnavailable
from keyscope.app.errors import NotFound
from keyscope.app.labels.finding import search_labels
from keyscope.app.labels.lists import visible_lists
from keyscope.app.queries.criteria import About, InARow
from keyscope.app.queries.key_rows import KeyRow
from keyscope.app.queries.search import Hit as KeyHit
from keyscope.app.queries.search import Search, in_a_row, search
from keyscope.app.queries.tokens import Token, Vocabulary, keys_about, parse_token
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.dependencies import LabelsDatabase, Runs
from keyscope.app.web.forms import see_other
from keyscope.app.web.links import Links
from keyscope.app.web.render import Crumb, Frame, Help, MaskText, Page, links_of, respond
from keyscope.app.web.search_query import sequence_of
from keyscope.contract.keys import InvalidKey, KeyId

router = APIRouter()

LONGEST = 200
"""Characters of a text that are looked for."""
SHOWN = 8
"""Hits shown of each kind."""
COUNTED = 1000
"""Keys counted whose labels or decisions contain the text; further ones are not looked for."""
_LAYER = re.compile(r"\s*(?:layer\s*|[LED])([0-9]{1,6})\s*", re.ASCII | re.IGNORECASE)
_BLANK = str.maketrans({"·": " "})


@dataclass(frozen=True, slots=True)
class Hit:
    """Something found: a token, a concept, a label, a list or a run."""

    title: str
    about: str
    href: str
    mono: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Hits of one kind."""

    title: str
    total: int
    hits: list[Hit]


@dataclass(frozen=True, slots=True)
class FindPage(Page):
    typed: Annotated[str, Help("What was typed")]
    problem: Annotated[
        str | None, Help("Why it is no key or layer, if it looks like one, or what could not be searched")
    ]
    row: Annotated[InARow | None, Help("Triggers within what was typed, if it is several tokens")]
    row_keys: Annotated[list[KeyHit], Help("The keys with most of these triggers")]
    row_href: Annotated[str, Help("Address of all of them")]
    groups: Annotated[list[Group], Help("What was found, by kind; kinds without hits are left out")]
    keys: Annotated[list[KeyRow], Help("The first keys that fire on the first token found or promote it")]
    keys_title: Annotated[str, Help("That token")]
    keys_href: Annotated[str, Help("Address of all of them")]


@router.get("/find", name="find_page")
def find_page(
    request: Request,
    registry: Runs,
    database: LabelsDatabase,
    visitor: Visitor,
    q: str = "",
    run: str = "",
    mask: MaskText = "",
) -> Response:
    """Go to a key or a layer that is named exactly; otherwise show what was found in the run, by default the newest.

    Raises:
        UnknownRun: the run named does not exist.
    """
    typed = q[:LONGEST].replace("\0", "")
    chosen = registry.get(run) if run else registry.newest()
    links = links_of(request, chosen.run_id if chosen else None, mask)
    problem = None
    if chosen is not None:
        try:
            exact = _exact(chosen, links, typed)
        except NotFound as error:
            exact, problem = None, error.detail
        if exact is not None:
            return see_other(exact)
    return _results(request, links, chosen, typed, problem, _runs(registry.all()[0], links, typed), database, visitor)


def _results(
    request: Request,
    links: Links,
    run: Run | None,
    typed: str,
    problem: str | None,
    runs: Group,
    database: Database,
    visitor: Visitor,
) -> HTMLResponse:
    groups, keys, first = [runs], list[KeyRow](), ""
    row, row_keys, meant = None, list[KeyHit](), typed.translate(_BLANK)
    if run is not None and typed.strip():
        with run.reading() as cursor:
            row = _row(run.vocabulary, cursor, meant)
            if row and row.keys:
                row_keys = search(cursor, run.vocabulary, Search((row,)), limit=SHOWN).hits
            tokens, first = _tokens(run, cursor, links, typed)
            if first:
                keys = _first_keys(run, cursor, first)
            try:
                others = _said(run, cursor, links, database, typed.strip(), visitor.name if visitor else None)
            except DatabaseUnavailable as error:
                others, problem = [], error.detail
        groups = [tokens, *others, runs]
    page = FindPage(
        frame=Frame(typed or "Search", links, run.manifest if run else None, (Crumb("runs", links.runs()),)),
        typed=typed,
        problem=problem,
        row=row,
        row_keys=row_keys,
        row_href=links.page("search_page", run=run.run_id, sequence=meant) if run and row_keys else "",
        groups=[group for group in groups if group.hits],
        keys=keys,
        keys_title=first,
        keys_href=links.page("search_page", run=run.run_id, q=first) if run and first else "",
    )
    return respond(request, "keys/find.html", page)


def _exact(run: Run, links: Links, typed: str) -> str | None:
    """The address of the key or layer that was typed; None if it is neither.

    Raises:
        UnknownLayer, UnknownKey: it looks like one, but the run has no such layer or key.
    """
    if match := _LAYER.fullmatch(typed):
        number = int(match[1])
        queries.check_layer(run.manifest, number)
        return links.layer(run.run_id, number)
    try:
        key = KeyId.parse(typed)
    except InvalidKey:
        return None
    queries.check_key(run.manifest, key)
    return links.key(run.run_id, key)


def _tokens(run: Run, cursor: duckdb.DuckDBPyConnection, links: Links, typed: str) -> tuple[Group, str]:
    """The tokens that may be meant, with how many keys are about each; and the notation of the likeliest."""
    meant = candidates(run.vocabulary, typed)
    counts = keys_about(cursor, [token.token_id for token in meant])
    hits = [
        Hit(
            formats.token(token),
            f"{formats.count(counts.get(token.token_id, 0))} keys fire on it or promote it",
            links.page("search_page", run=run.run_id, q=token.notation),
            mono=True,
        )
        for token in meant
    ]
    first = next((token.notation for token in meant if token.token_id in counts), "")
    return Group("Tokens", len(hits), hits), first


def candidates(vocabulary: Vocabulary, typed: str) -> list[Token]:
    """The tokens that may be meant by a text, the likeliest first.

    These are the text as one token, with the blank in front that most words have in code, and in other spellings; then
    the tokens that it consists of, likewise.
    """
    plain = parse_token(typed.translate(_BLANK))
    bare = plain.strip() or plain
    whole = [vocabulary[each[0]] for text in (plain, bare, b" " + bare) if (each := vocabulary.ids(text))]
    parts = [*vocabulary.split(b" " + bare), *vocabulary.split(bare)]
    found = {token.token_id: token for token in (*whole, *vocabulary.alike(plain)[:SHOWN], *parts)}
    return [token for token in found.values() if token.bytes.strip() or token.bytes == plain][: 2 * SHOWN]


def _row(vocabulary: Vocabulary, cursor: duckdb.DuckDBPyConnection, typed: str) -> InARow | None:
    """Triggers within a text; None unless it is several tokens, with a blank in front and without."""
    text = sequence_of(typed)
    several = all(len(vocabulary.split(each)) > 1 for each in (text, b" " + text))
    return in_a_row(cursor, vocabulary, text) if several else None


def _first_keys(run: Run, cursor: duckdb.DuckDBPyConnection, token: str) -> list[KeyRow]:
    found = search(cursor, run.vocabulary, Search((About(parse_token(token)),)), limit=SHOWN)
    return [hit.row for hit in found.hits]


def _said(
    run: Run, cursor: duckdb.DuckDBPyConnection, links: Links, database: Database, typed: str, person: str | None
) -> Sequence[Group]:
    """Concepts, labels and lists that contain the text.

    Raises:
        DatabaseUnavailable: labels cannot be read.
    """
    weights = run.manifest.model.weights_sha256
    wanted = typed.casefold()
    concepts = [
        each.concept
        for each in all_concepts(cursor, database)[0]
        if wanted in f"{each.concept.name}\n{each.concept.title}\n{each.concept.description}".casefold()
    ]
    visible = database.read(lambda session: visible_lists(session, person, weights))
    lists = [each for each in visible if wanted in each.list.name.casefold()]
    labels = database.read(lambda session: search_labels(session, weights, typed, COUNTED))
    return (
        Group(
            "Concepts",
            len(concepts),
            [
                Hit(each.title, each.description, links.page("concept_page", run=run.run_id, concept=each.name))
                for each in concepts[:SHOWN]
            ],
        ),
        Group(
            "Labels",
            len(labels),
            [
                Hit(
                    str(each.key),
                    f"{each.kind} {'decided ' if each.decided else ''}by {each.person}: "
                    f"{', '.join([each.description, *each.tags])}",
                    links.key(run.run_id, each.key),
                    mono=True,
                )
                for each in labels[:SHOWN]
            ],
        ),
        Group(
            "Lists",
            len(lists),
            [
                Hit(
                    each.list.name,
                    f"{formats.count(each.n_keys)} keys",
                    links.page("list_page", list=each.list.id, run=run.run_id),
                )
                for each in lists[:SHOWN]
            ],
        ),
    )


def _runs(runs: Sequence[Run], links: Links, typed: str) -> Group:
    wanted = typed.strip().casefold()
    found = [
        run.manifest
        for run in runs
        if wanted and wanted in f"{run.run_id}\n{run.manifest.model.model_id}\n{run.manifest.corpus.name}".casefold()
    ]
    hits = [
        Hit(
            each.run_id,
            f"{each.model.model_id} × {each.corpus.name}",
            links.page("run_page", run=each.run_id),
            mono=True,
        )
        for each in found[:SHOWN]
    ]
    return Group("Runs", len(found), hits)
