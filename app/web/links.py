"""Every address that a page links to, with the basket of masks carried along."""

from dataclasses import dataclass, replace
from functools import cached_property

from fastapi import Request
from starlette.datastructures import URL

from keyscope.app.accounts.identity import Person
from keyscope.app.web.addresses import Addresses
from keyscope.contract.keys import REMOVE, KeyId, Mask, Operation, format_basket

Parameters = dict[str, object]
LONGEST_BASKET = 4000
"""Characters of a basket in an address; longer ones are saved and go by their id."""
TAKEN_OUT = "-"
"""What stands before a key that was taken out of a saved basket."""
SECTIONS = (
    ("run_page", "overview"),
    ("search_page", "search"),
    ("syntax_page", "syntax"),
    ("agreement_page", "agreement"),
    ("firing_page", "firing"),
    ("concepts_page", "concepts"),
    ("edits_page", "edits"),
    ("findings_page", "findings"),
    ("jobs_page", "jobs"),
)
"""Pages about a whole run, by the name of their route and their title, in the order of the navigation."""
LIVE_SECTIONS = (("lens_page", "lens"), ("activations_page", "my code"))
"""Pages on which a run's model reads a text, which have the run among their parameters."""


@dataclass(frozen=True, slots=True)
class Section:
    """An entry of a run's navigation."""

    name: str
    title: str
    href: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A basket kept under an id, being too long for an address."""

    id: str
    masks: tuple[Mask, ...]


@dataclass(frozen=True)
class Basket:
    """The keys a person has chosen to mask; keys of one run, for a key means nothing in another."""

    run_id: str | None = None
    masks: tuple[Mask, ...] = ()
    saved: Saved | None = None
    """The saved basket that it is, or was before some keys were put in or taken out."""

    def __str__(self) -> str:
        """The basket as an address carries it."""
        return self._address

    def __len__(self) -> int:
        return len(self.masks)

    def __contains__(self, key: KeyId) -> bool:
        return key in self._operations

    @property
    def text(self) -> str:
        """All its masks, as programs take them."""
        return format_basket(self.masks)

    @property
    def is_long(self) -> bool:
        """Whether its masks are too many to be written out in an address."""
        return self.saved is not None or len(self.text) > LONGEST_BASKET

    def holding(self, *keys: KeyId) -> "Basket":
        """The basket with the keys in it, with factor 0 where they were not."""
        new = [Mask(key) for key in dict.fromkeys(keys) if key not in self]
        return replace(self, masks=(*self.masks, *new)) if new else self

    def toggled(self, key: KeyId) -> "Basket":
        """The basket with the key taken out if it is in, else put in."""
        if key not in self:
            return self.holding(key)
        return replace(self, masks=tuple(mask for mask in self.masks if mask.key != key))

    # A page lists hundreds of keys and a basket holds thousands, so addresses that differ by one key are made from
    # the parts of the basket's own and not from its masks.

    def address_with(self, key: KeyId) -> str:
        """The address of `holding(key)`."""
        return self._address if key in self else self._address_but(key, REMOVE)

    def address_toggled(self, key: KeyId) -> str:
        """The address of `toggled(key)`."""
        return self._address_but(key, None if key in self else REMOVE)

    @cached_property
    def _operations(self) -> dict[KeyId, Operation]:
        return {mask.key: mask.operation for mask in self.masks}

    @cached_property
    def _before(self) -> dict[KeyId, Operation]:
        """The operations of the saved basket."""
        return {mask.key: mask.operation for mask in self.saved.masks} if self.saved else {}

    @cached_property
    def _changes(self) -> dict[KeyId, str]:
        """What an address says of each key that is otherwise than in the saved basket."""
        put_in = {mask.key: str(mask) for mask in self.masks if self._before.get(mask.key) != mask.operation}
        return put_in | {key: f"{TAKEN_OUT}{key}" for key in self._before if key not in self}

    @cached_property
    def _address(self) -> str:
        return self._written(self._changes)

    def _address_but(self, key: KeyId, operation: Operation | None) -> str:
        """The address with another operation on a key, or without the key."""
        changes = {other: change for other, change in self._changes.items() if other != key}
        if operation != self._before.get(key):
            changes[key] = f"{TAKEN_OUT}{key}" if operation is None else str(Mask(key, operation))
        return self._written(changes)

    def _written(self, changes: dict[KeyId, str]) -> str:
        return ",".join([*([self.saved.id] if self.saved else []), *changes.values()])


class Links:
    """Addresses by name; paths are the routes' own, so a prefix of a reverse proxy is in them."""

    def __init__(self, request: Request, basket: Basket, mask: str | None = None) -> None:
        self._request = request
        self._addresses: Addresses = request.app.state.addresses
        self._prefix = request.base_url.path.rstrip("/")
        self._mask = mask
        self.basket = basket

    def with_basket(self, basket: Basket) -> "Links":
        """The same addresses carrying another basket."""
        return Links(self._request, basket)

    def with_key(self, key: KeyId) -> "Links":
        """The same addresses carrying the basket with a key in it."""
        return Links(self._request, self.basket, self.basket.address_with(key))

    def toggling(self, key: KeyId) -> "Links":
        """The same addresses carrying the basket with a key put in, or taken out."""
        return Links(self._request, self.basket, self.basket.address_toggled(key))

    @property
    def visitor(self) -> Person | None:
        """Who looks; None where they have not said."""
        visitor: Person | None = getattr(self._request.state, "visitor", None)
        return visitor

    def visitor_section(self) -> Section:
        """Where who looks says who they are, and sees what is theirs."""
        by_word = self._request.app.state.settings.accounts == "none"
        name = "name_page" if by_word else "account_page" if self.visitor else "sign_in_page"
        unknown = "your name?" if by_word else "sign in"
        back: Parameters = {"run": self.basket.run_id} if self.basket else {}
        address = self._carrying(self.basket.run_id, name, back) if by_word else self._to(name)
        return Section(name, self.visitor.name if self.visitor else unknown, address)

    def static(self, path: str) -> str:
        """A file of ours or of a third party."""
        return self._to("static", path=path)

    def runs(self) -> str:
        """The list of runs, which keeps the basket of the run it belongs to."""
        return self._carrying(self.basket.run_id, "runs_page", {"run": self.basket.run_id} if self.basket else {})

    def run(self, run_id: str) -> str:
        """The overview of a run."""
        return self._carrying(run_id, "run_page", run=run_id)

    def sections(self, run_id: str) -> list[Section]:
        """The pages about a whole run."""
        return [Section(name, title, self._carrying(run_id, name, run=run_id)) for name, title in SECTIONS] + [
            Section(name, title, self._carrying(run_id, name, {"run": run_id})) for name, title in LIVE_SECTIONS
        ]

    def of_run(self, name: str, run_id: str) -> str:
        """A page about a whole run, by the name of its route."""
        return self._carrying(run_id, name, run=run_id)

    def layer(self, run_id: str, layer: int, **query: object) -> str:
        """The keys of a layer."""
        return self._carrying(run_id, "layer_page", query, run=run_id, layer=layer)

    def search(self, run_id: str, **query: object) -> str:
        """The keys of a run that meet some criteria."""
        return self._carrying(run_id, "search_page", query, run=run_id)

    def firing(self, run_id: str) -> str:
        """When the keys of a run fire."""
        return self._carrying(run_id, "firing_page", run=run_id)

    def key(self, run_id: str, key: KeyId, **query: object) -> str:
        """A key."""
        return self._carrying(run_id, "key_page", query, run=run_id, key=key)

    def label(self, run_id: str, key: KeyId, **query: object) -> str:
        """Where the form of a label is sent to, with the state of the key's page."""
        return self._carrying(run_id, "give_label", query, run=run_id, key=key)

    def key_form(self, name: str, run_id: str, key: KeyId, query: Parameters, **place: object) -> str:
        """Where another form about a key is sent to, by its route, with the state of the key's page."""
        return self._carrying(run_id, name, query, run=run_id, key=key, **place)

    def team(self, name: str, run_id: str | None, **query: object) -> str:
        """A page of the team about a run's weights: labels, lists or activity, by its route."""
        return self._carrying(run_id, name, {"run": run_id, **query})

    def list(self, list_id: int, run_id: str | None, **query: object) -> str:
        """A list of keys."""
        return self.of_list("list_page", list_id, run_id, **query)

    def of_list(self, name: str, list_id: int, run_id: str | None, **query: object) -> str:
        """A list, or where one of its forms is sent to, by its route."""
        return self._carrying(run_id, name, {"run": run_id, **query}, list=list_id)

    def export_labels(self, run_id: str, format: str) -> str:
        """Everything that was said of the keys of a run's weights, as a file."""
        return str(URL(self._to("export_labels")).include_query_params(run=run_id, format=format))

    def queue(self, run: str | None = None, **query: object) -> str:
        """The labelling queue."""
        return self._carrying(run, "queue_page", {"run": run, **query})

    def queue_answer(self, run: str | None = None, **query: object) -> str:
        """Where the form of a label is sent to from the queue."""
        return self._carrying(run, "queue_answer", {"run": run, **query})

    def queue_undo(self, run: str | None = None, **query: object) -> str:
        """Where a label that was given in the queue is taken back."""
        return self._carrying(run, "queue_undo", {"run": run, **query})

    def random_key(self, run_id: str) -> str:
        """Any key of a run."""
        return self._carrying(run_id, "random_key_page", run=run_id)

    def live(self, run_id: str | None, **query: object) -> str:
        """Mask and regenerate."""
        return self._carrying(run_id, "live_page", {"run": run_id, **query})

    def lens(self, run_id: str | None, **query: object) -> str:
        """A prompt through the logit lens."""
        return self._carrying(run_id, "lens_page", {"run": run_id, **query})

    def activations(self, run_id: str | None, **query: object) -> str:
        """Which keys fire on a text."""
        return self._carrying(run_id, "activations_page", {"run": run_id, **query})

    def concepts(self, run_id: str, **query: object) -> str:
        """All concepts, and the form that defines one."""
        return self._carrying(run_id, "concepts_page", query, run=run_id)

    def concept(self, run_id: str, concept: str, **query: object) -> str:
        """A concept in a run."""
        return self._carrying(run_id, "concept_page", query, run=run_id, concept=concept)

    def concept_edits(self, run_id: str, concept: str) -> str:
        """What masking a concept's keys does, and the form that measures it."""
        return self._carrying(run_id, "concept_edits_page", run=run_id, concept=concept)

    def edit(self, run_id: str, edit: str) -> str:
        """One edit."""
        return self._carrying(run_id, "edit_page", run=run_id, edit=edit)

    def jobs(self, run_id: str, **query: object) -> str:
        """Analyses of a run that a worker computes."""
        return self._carrying(run_id, "jobs_page", query, run=run_id)

    def jump(self) -> str:
        """Where the box in the header leads."""
        return self._to("jump")

    def exports(self, name: str, query: Parameters | None = None, **parameters: object) -> dict[str, str]:
        """A table as CSV and as Parquet, by the name of its format."""
        address = URL(self._to(name, **parameters)).include_query_params(**_given(query))
        return {format: str(address.include_query_params(format=format)) for format in ("csv", "parquet")}

    def key_table(self, run_id: str, key: KeyId, table: str) -> dict[str, str]:
        """One table of a key's page as CSV and as Parquet."""
        return self.exports("export_key_table", run=run_id, key=key, table=table)

    def to(self, name: str, **parameters: object) -> str:
        """Any other route by its name."""
        return self._to(name, **parameters)

    def _carrying(self, run_id: str | None, name: str, query: Parameters | None = None, **parameters: object) -> str:
        path = self._to(name, **parameters)
        shown = _given(query)
        mask = str(self.basket or "") if self._mask is None else self._mask
        if mask and run_id == self.basket.run_id:
            shown["mask"] = mask
        return str(URL(path).include_query_params(**shown)) if shown else path

    def _to(self, name: str, **parameters: object) -> str:
        return self._prefix + self._addresses.path(name, **parameters)


def _given(query: Parameters | None) -> Parameters:
    return {key: value for key, value in (query or {}).items() if value not in (None, "")}
