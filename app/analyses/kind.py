"""What the app has to know of a kind of analysis to show it everywhere it belongs."""

from collections.abc import Callable
from dataclasses import dataclass

import duckdb
from fastapi import APIRouter

from keyscope.app.analyses.claim import Claim
from keyscope.app.runs import Run
from keyscope.contract.keys import KeyId


@dataclass(frozen=True, slots=True)
class Fact:
    """A number of an analysis on a key's page, written out and explained."""

    title: str
    help: str
    value: str
    id: str


@dataclass(frozen=True, slots=True)
class KeyPart:
    """A section of a key's page."""

    template: str
    """Drawn with what was read as `found`."""
    read: Callable[[Run, duckdb.DuckDBPyConnection, KeyId], object]
    """Reads the section; what is falsy is not drawn."""


@dataclass(frozen=True, slots=True)
class AnalysisKind:
    name: str
    """As in the contract's `KINDS`."""
    title: str
    """In the navigation of a run."""
    home: str
    """Route of the page the navigation leads to."""
    pages: tuple[APIRouter, ...]
    endpoints: APIRouter
    """Of the JSON API."""
    about: str = ""
    """What it shows, in a sentence, for people who have not computed it."""
    passes: float | None = None
    """What it costs with its default settings, in bare forward passes over the corpus, measured on the demo's run."""
    claims: tuple[Claim, ...] = ()
    key_part: KeyPart | None = None
