"""Addresses of routes by name, carrying the basket of masks along."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from fastapi import Request

from keyscope.app.accounts.identity import Person
from keyscope.app.table_files import FORMATS, PAGE_FORMATS
from keyscope.app.web.addresses import Addresses
from keyscope.app.web.navigation import Entry, Group, ShownEntry, ShownGroup
from keyscope.contract.keys import REMOVE, KeyId, Mask, Operation, Scale, format_basket

LONGEST_BASKET = 4000
"""Characters of a basket in an address; longer ones are saved and referred to by id."""
TAKEN_OUT = "-"
"""Prefix of a key removed from a saved basket."""


@dataclass(frozen=True, slots=True)
class Section:
    """A place to go to, such as the visitor's own page."""

    name: str
    title: str
    href: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A basket saved under an id because it is too long for an address."""

    id: str
    masks: tuple[Mask, ...]


@dataclass(frozen=True)
class Basket:
    """The keys a person has chosen to mask; all of one run, because a key means nothing in another."""

    run_id: str | None = None
    masks: tuple[Mask, ...] = ()
    saved: Saved | None = None
    """The saved basket this one equals or was derived from."""

    def __str__(self) -> str:
        """The basket as an address carries it."""
        return self._address

    def __len__(self) -> int:
        return len(self.masks)

    def __contains__(self, key: KeyId) -> bool:
        return key in self._operations

    @property
    def text(self) -> str:
        """All masks, in the API's notation."""
        return format_basket(self.masks)

    @property
    def is_long(self) -> bool:
        """Whether it is too long to write out in an address."""
        return self.saved is not None or len(self.text) > LONGEST_BASKET

    def holding(self, *keys: KeyId) -> "Basket":
        """The basket with these keys added, with factor 0."""
        new = [Mask(key) for key in dict.fromkeys(keys) if key not in self]
        return replace(self, masks=(*self.masks, *new)) if new else self

    def scaling(self, key: KeyId, factor: float) -> "Basket":
        """The basket with this key at a factor."""
        others = tuple(mask for mask in self.masks if mask.key != key)
        return replace(self, masks=(*others, Mask(key, Scale(factor))))

    def toggled(self, key: KeyId) -> "Basket":
        """The basket without the key if it has it, else with it."""
        if key not in self:
            return self.holding(key)
        return replace(self, masks=tuple(mask for mask in self.masks if mask.key != key))

    # A page lists hundreds of keys and a basket may hold thousands: addresses that differ by one key reuse the parts
    # of this basket's address rather than formatting every mask again.

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
        """Address part of each key that differs from the saved basket."""
        put_in = {mask.key: str(mask) for mask in self.masks if self._before.get(mask.key) != mask.operation}
        return put_in | {key: f"{TAKEN_OUT}{key}" for key in self._before if key not in self}

    @cached_property
    def _address(self) -> str:
        return self._written(self._changes)

    def _address_but(self, key: KeyId, operation: Operation | None) -> str:
        """The address with one key's operation changed, or without the key if None."""
        changes = {other: change for other, change in self._changes.items() if other != key}
        if operation != self._before.get(key):
            changes[key] = f"{TAKEN_OUT}{key}" if operation is None else str(Mask(key, operation))
        return self._written(changes)

    def _written(self, changes: dict[KeyId, str]) -> str:
        return ",".join([*([self.saved.id] if self.saved else []), *changes.values()])


class Links:
    """Addresses by the name of their route, with the path prefix of a reverse proxy in front.

    Parameters that the route's path does not name go into the query; None and "" are left out.
    """

    def __init__(self, request: Request, basket: Basket = Basket(), mask: str | None = None) -> None:
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
        """The same addresses carrying the basket with a key added or removed."""
        return Links(self._request, self.basket, self.basket.address_toggled(key))

    @property
    def visitor(self) -> Person | None:
        """The person at the browser; None before they have given a name or signed in."""
        visitor: Person | None = getattr(self._request.state, "visitor", None)
        return visitor

    @property
    def asks_name(self) -> bool:
        """Whether a form that needs a name has to ask for it: nobody signs in, and the browser knows none yet."""
        return self.visitor is None and self._request.app.state.settings.accounts == "none"

    def visitor_section(self) -> Section:
        """The visitor's entry in the header: their name, account or the way to sign in."""
        by_word = self._request.app.state.settings.accounts == "none"
        name = "name_page" if by_word else "account_page" if self.visitor else "sign_in_page"
        unknown = "set your name" if by_word else "sign in"
        address = self.page(name, run=self._basket_run) if by_word else self.to(name)
        return Section(name, self.visitor.name if self.visitor else unknown, address)

    def static(self, path: str) -> str:
        """A file of ours or of a third party, in its present version."""
        return self.to("static", path=f"{self._request.app.state.static_version}/{path}")

    def runs(self) -> str:
        """The list of runs, which keeps the basket of the run it belongs to."""
        return self.page("runs_page", run=self._basket_run)

    def navigation(self, run_id: str) -> list[ShownGroup]:
        """The navigation for a run."""
        groups: tuple[Group, ...] = self._request.app.state.navigation
        return [ShownGroup(group.title, [self._entry(each, run_id) for each in group.entries]) for group in groups]

    def _entry(self, entry: Entry, run_id: str) -> ShownEntry:
        href = self.page(entry.home, run=run_id, **entry.parameters)
        return ShownEntry(entry.title, entry.home, href, self.route in entry.routes)

    @property
    def route(self) -> str:
        """The name of the route that answers; empty if there is none."""
        return getattr(self._request.scope.get("route"), "name", "")

    def layer(self, run_id: str, layer: int, **query: object) -> str:
        """The keys of a layer."""
        return self.page("layer_page", run=run_id, layer=layer, **query)

    def key(self, run_id: str, key: KeyId, **query: object) -> str:
        """A key."""
        return self.page("key_page", run=run_id, key=key, **query)

    def live(self, run_id: str | None, **query: object) -> str:
        """Mask and regenerate."""
        return self.page("live_page", run=run_id, **query)

    def exports(self, name: str, /, **parameters: object) -> dict[str, str]:
        """A table in the formats for pages, by the format's title."""
        return {FORMATS[each].title: self.to(name, **parameters, format=each) for each in PAGE_FORMATS}

    def export_labels(self, run_id: str, shape: Literal["labels", "keys"] = "labels") -> dict[str, str]:
        """The labels of a run's weights in every format, by the format's title; or one row per key."""
        wanted = None if shape == "labels" else shape
        return {
            each.title: self.to("export_labels", run=run_id, format=name, shape=wanted)
            for name, each in FORMATS.items()
        }

    def page(self, name: str, /, **parameters: object) -> str:
        """A page or form, carrying the basket where the page is about the basket's run (`run`)."""
        mask = str(self.basket or "") if self._mask is None else self._mask
        carried = mask if parameters.get("run") == self.basket.run_id else ""
        return self.to(name, **parameters, **({"mask": carried} if carried else {}))

    def to(self, name: str, /, **parameters: object) -> str:
        """A route, without the basket."""
        return self._prefix + self._addresses.find(name, parameters)

    @property
    def _basket_run(self) -> str | None:
        return self.basket.run_id if self.basket else None
