"""`/lists` and `/lists/{list}`: named lists of keys, with a note on each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import Field
from sqlalchemy.orm import Session

from keyscope.app import queries
from keyscope.app.accounts.identity import Labeler, Person, Visitor
from keyscope.app.labels import lists
from keyscope.app.labels.lists import Summary
from keyscope.app.labels.models import Label
from keyscope.app.labels.repository import labels_of_keys
from keyscope.app.labels.team_models import KeyList, ListEntry
from keyscope.app.queries.key_rows import KeyRow, rows_of
from keyscope.app.roles import Role
from keyscope.app.runs import Registry, Run
from keyscope.app.web.baskets import shortened
from keyscope.app.web.dependencies import LabelsDatabase, ListId, Runs
from keyscope.app.web.forms import FormModel, see_other
from keyscope.app.web.links import Basket, Links
from keyscope.app.web.render import ChosenRun, Crumb, Frame, Help, MaskText, Page, links_of, respond
from keyscope.contract.keys import KeyId, Mask, parse_basket
from keyscope.contract.manifest import Manifest

PAGE = 50
"""Keys of a list on one page."""
router = APIRouter()


@dataclass(frozen=True, slots=True)
class ListsPage(Page):
    runs: Annotated[list[Manifest], Help("Runs to choose from")]
    lists: Annotated[list[Summary], Help("Lists of keys of the run's weights that the visitor may see")]
    put_away: Annotated[list[Summary], Help("The visitor's archived lists")]
    may_write: Annotated[bool, Help("Whether the visitor may make lists")]


@dataclass(frozen=True, slots=True)
class Listed:
    """A key of a list as a row of the table."""

    entry: ListEntry
    row: KeyRow | None
    """Its strongest trigger and promoted tokens; None without a run of its weights."""
    labels: Sequence[Label]
    """Everyone's current label of it."""


@dataclass(frozen=True, slots=True)
class ListPage(Page):
    list: Annotated[KeyList, Help("The list")]
    entries: Annotated[Sequence[Listed], Help("Its keys with triggers, labels and notes, one page of them")]
    first: Annotated[int, Help("Place of the first of them, from 0")]
    total: Annotated[int, Help("All its keys")]
    may_write: Annotated[bool, Help("Whether the visitor may add and remove keys and edit notes")]
    may_rename: Annotated[bool, Help("Whether the visitor may rename and archive it")]
    earlier: Annotated[str | None, Help("Address of the page before")]
    later: Annotated[str | None, Help("Address of the page after")]


def _back(request: Request, run: str = "", mask: MaskText = "") -> Links:
    return Links(request, Basket(run or None), mask)


Back = Annotated[Links, Depends(_back)]
"""Addresses that pass the basket on unread."""


class NewListForm(FormModel):
    run: str
    name: str = ""
    keys: str = ""
    """Key names separated by white space or commas; factors of a basket are ignored."""
    private: bool = False


class ListForm(FormModel):
    """A list's name, and the version the form was opened on."""

    name: str = ""
    private: bool = False
    seen: int = Field(1, ge=1)


class KeysForm(FormModel):
    keys: str = ""
    note: str = ""


class EntryForm(FormModel):
    """A change of one key of a list; the button says which."""

    key: str
    note: str = ""
    seen: int = Field(1, ge=1)
    """Version of the note."""
    place: int = Field(0, ge=0)
    """Where the key was shown, to come back to."""
    order: int = Field(1, ge=1)
    """Version of the list's order."""
    action: Annotated[str, Field(pattern="^(note|up|down|remove)$")] = "note"


@router.get("/lists", name="lists_page")
def lists_page(request: Request, chosen: ChosenRun, database: LabelsDatabase, visitor: Visitor) -> HTMLResponse:
    """Every list of keys of a run's weights, and a form to make one."""
    name = visitor.name if visitor else None

    def load(session: Session) -> tuple[list[Summary], list[Summary]]:
        weights = chosen.manifest.model.weights_sha256 if chosen.manifest else None
        return lists.visible_lists(session, name, weights), lists.put_away_lists(session, name)

    visible, put_away = database.read(load)
    page = ListsPage(
        frame=Frame("Lists", chosen.links, chosen.manifest),
        runs=chosen.manifests,
        lists=visible,
        put_away=put_away,
        may_write=_may_write(visitor),
    )
    return respond(request, "labels/lists.html", page)


@router.post("/lists", name="make_list_form")
def make_list(
    request: Request,
    registry: Runs,
    database: LabelsDatabase,
    person: Labeler,
    form: Annotated[NewListForm, Form()],
    mask: MaskText = "",
) -> RedirectResponse:
    """Make a list and show it."""
    manifest = registry.get(form.run).manifest
    keys = parse_keys(form.keys)
    for key in keys:
        queries.check_key(manifest, key)
    weights = manifest.model.weights_sha256
    made = database.write(
        lambda session: lists.make_list(session, person, weights, form.name, keys, not form.private).id
    )
    return _to_list(_back(request, form.run, mask), made)


@router.get("/lists/{list}", name="list_page")
def list_page(
    request: Request,
    list_id: ListId,
    registry: Runs,
    database: LabelsDatabase,
    visitor: Visitor,
    run: str = "",
    mask: MaskText = "",
    offset: Annotated[int, Query(ge=0)] = 0,
) -> HTMLResponse:
    """The keys of a list."""

    def load(session: Session) -> tuple[KeyList, Sequence[ListEntry], dict[KeyId, list[Label]]]:
        chosen = lists.get_list(session, list_id, visitor.name if visitor else None)
        entries = lists.entries(session, list_id)
        here = [entry.key for entry in entries[offset : offset + PAGE]]
        return chosen, entries, labels_of_keys(session, chosen.weights_sha256, here)

    found, entries, labels = database.read(load)
    here = entries[offset : offset + PAGE]
    chosen = _run_of(registry, found, run)
    run_id = chosen.run_id if chosen else None
    links = links_of(request, run_id, mask if run in ("", run_id) else "")

    rows = _rows(chosen, [entry.key for entry in here]) if chosen else {}
    lists_crumb = Crumb("lists", links.page("lists_page", run=run_id))

    def turn(to: int) -> str | None:
        return links.page("list_page", list=list_id, run=run_id, offset=to or None) if 0 <= to < len(entries) else None

    page = ListPage(
        frame=Frame(found.name, links, chosen.manifest if chosen else None, crumbs=(lists_crumb,)),
        list=found,
        entries=[Listed(entry, rows.get(entry.key), labels.get(entry.key, ())) for entry in here],
        first=offset,
        total=len(entries),
        may_write=_may_write(visitor),
        may_rename=_may_write(visitor)
        and visitor is not None
        and (visitor.name == found.owner or visitor.role.may(Role.ADMIN)),
        earlier=turn(offset - PAGE),
        later=turn(offset + PAGE),
    )
    return respond(request, "labels/list.html", page)


@router.post("/lists/{list}", name="rename_list_form")
def rename_list(
    list_id: ListId,
    database: LabelsDatabase,
    person: Labeler,
    form: Annotated[ListForm, Form()],
    back: Back,
) -> RedirectResponse:
    """Rename a list, or change who sees it."""
    said = form.name, not form.private, form.seen
    database.write(lambda session: lists.rename_list(session, list_id, person, *said))
    return _to_list(back, list_id)


@router.post("/lists/{list}/put-away", name="put_list_away_form")
def put_list_away(list_id: ListId, database: LabelsDatabase, person: Labeler, back: Back) -> RedirectResponse:
    """Archive a list and show the others."""
    database.write(lambda session: lists.put_away(session, list_id, person))
    return see_other(back.page("lists_page", run=back.basket.run_id))


@router.post("/lists/{list}/restore", name="bring_list_back_form")
def bring_list_back(list_id: ListId, database: LabelsDatabase, person: Labeler, back: Back) -> RedirectResponse:
    """Restore a list and show it."""
    database.write(lambda session: lists.bring_back(session, list_id, person))
    return _to_list(back, list_id)


@router.post("/lists/{list}/keys", name="add_keys_form")
def add_keys(
    list_id: ListId,
    registry: Runs,
    database: LabelsDatabase,
    person: Labeler,
    form: Annotated[KeysForm, Form()],
    back: Back,
) -> RedirectResponse:
    """Append keys to a list."""
    keys = parse_keys(form.keys)
    lists.check_keys(registry, database, list_id, person.name, keys)
    database.write(lambda session: lists.add_keys(session, list_id, person, keys, form.note))
    return _to_list(back, list_id)


@router.post("/lists/{list}/entry", name="change_entry_form")
def change_entry(
    list_id: ListId,
    database: LabelsDatabase,
    person: Labeler,
    form: Annotated[EntryForm, Form()],
    back: Back,
) -> RedirectResponse:
    """Edit the note on a key, move the key by one place, or remove it."""
    key = KeyId.parse(form.key)

    def change(session: Session) -> None:
        match form.action:
            case "remove":
                lists.remove_key(session, list_id, person, key)
            case "note":
                lists.set_note(session, list_id, person, key, form.note, form.seen)
            case direction:
                by = 1 if direction == "down" else -1
                lists.shift_key(session, list_id, person, key, by, form.order)

    database.write(change)
    return _to_list(back, list_id, offset=form.place // PAGE * PAGE or None)


@router.post("/lists/{list}/mask", name="mask_list_form")
def mask_list(
    request: Request, list_id: ListId, registry: Runs, database: LabelsDatabase, visitor: Visitor, run: str = ""
) -> RedirectResponse:
    """Open the live page with all keys of a list masked; a basket too long for an address is saved first."""
    name = visitor.name if visitor else None
    found = database.read(lambda session: lists.get_list(session, list_id, name))
    masks = [Mask(key) for key in database.read(lambda session: lists.list_keys(session, list_id, name))]
    chosen = _run_of(registry, found, run)
    run_id = chosen.run_id if chosen else None
    basket = shortened(database, Basket(run_id, tuple(masks)))
    return see_other(Links(request, basket).live(run_id))


def parse_keys(text: str) -> list[KeyId]:
    """The keys in pasted text: names or a basket, separated by white space, commas or semicolons.

    Raises:
        InvalidKey, InvalidMask: a part of it is neither.
    """
    return [mask.key for mask in parse_basket(",".join(text.replace(";", " ").replace(",", " ").split()))]


def _rows(run: Run, keys: Sequence[KeyId]) -> dict[KeyId, KeyRow]:
    with run.reading() as cursor:
        return {row.key: row for row in rows_of(cursor, run.vocabulary, keys)}


def _may_write(visitor: Person | None) -> bool:
    return visitor is not None and visitor.role.may(Role.LABELER)


def _run_of(registry: Registry, found: KeyList, wanted: str) -> Run | None:
    """The named run if it has the list's weights, else the first that does.

    Raises:
        UnknownRun: no run has that name.
    """
    run = registry.get(wanted) if wanted else None
    if run is not None and run.manifest.model.weights_sha256 == found.weights_sha256:
        return run
    return registry.with_weights(found.weights_sha256)


def _to_list(back: Links, list_id: int, **query: object) -> RedirectResponse:
    return see_other(back.page("list_page", list=list_id, run=back.basket.run_id, **query))
