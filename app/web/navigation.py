"""The navigation: groups of entries, each with the routes of the pages that belong to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from fastapi import APIRouter


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry, which leads to the page of the route `home`."""

    title: str
    home: str
    routes: frozenset[str]
    """Names of the routes on whose pages it is the current entry."""
    parameters: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """Parameters of the home's address besides the run."""


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """An entry of one run, on one page."""

    title: str
    name: str
    """The route it leads to."""
    href: str
    current: bool


@dataclass(frozen=True, slots=True)
class ShownGroup:
    title: str
    entries: list[ShownEntry]

    @property
    def current(self) -> bool:
        """Whether the page belongs to it."""
        return any(entry.current for entry in self.entries)


def entry(title: str, home: str, *routers: APIRouter, **parameters: object) -> Entry:
    """An entry that is current on every page of some routers."""
    routes = frozenset(str(getattr(route, "name", "")) for router in routers for route in router.routes)
    return Entry(title, home, routes | {home}, parameters)
