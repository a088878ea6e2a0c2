"""Edits of a run: what masking a concept's keys did to it, beside controls and everything else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from keyscope.app.errors import NotFound
from keyscope.app.queries.estimate import Estimate
from keyscope.app.queries.values import rows
from keyscope.contract.analyses.edit import MEASURES
from keyscope.contract.concepts import Concept
from keyscope.contract.keys import Fix, KeyId, Mask, Scale

_EDIT = (
    "edit, concept, title, languages, picker, factor, share, keys, draws, tau, windows, general_windows, resamples, chosen, "
    "damage, primary_p, detectable"
)
_PRIMARY = """
    SELECT "primary", primary_low, primary_high, places, e.files, projects
    FROM edits JOIN edit_effects e USING (edit) WHERE edit = ? AND condition = 0 AND "group" = 'concept'"""
_SITE = (
    'language, project, path, line, "column", token, loss, loss_mean, loss_zero, loss_resample, kl, "right", right_mean, '
    "coefficient"
)
_CHANGES = ", ".join(f"{measure}, {measure}_change, {measure}_low, {measure}_high" for measure in MEASURES)


class UnknownEdit(NotFound):
    """A run has no such edit."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit: what was masked, and how much was measured."""

    edit: str
    """Its name."""
    concept: str
    title: str
    languages: list[str]
    picker: str
    factor: float | None
    """None if a basket has several."""
    share: float | None
    keys: int
    draws: int
    tau: float
    windows: int
    general_windows: int
    resamples: int | None
    """Draws of places to resample from; None in an edit of a version that only scaled coefficients."""
    chosen: bool | None
    """Whether the main dose was chosen on files of its own."""
    damage: float | None
    """Rise of general code's loss that controls were matched on, in nats."""
    primary_p: float | None
    """p of the registered endpoint, not corrected for other edits."""
    detectable: float | None
    """Endpoint that would be found with probability 0.8, in nats."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One group of places under one condition."""

    condition: int
    role: str
    operation: str | None
    """What became of the coefficients; None without a mask, and in edits that only scaled."""
    main: bool
    draw: int | None
    keys: int
    group: str
    name: str
    places: int
    files: int
    projects: int | None
    """None if its intervals are over files."""
    levels: dict[str, float | None]
    """Each measure under the mask; None without places."""
    changes: dict[str, Estimate]
    """What the mask did to each measure; none without places."""


@dataclass(frozen=True, slots=True)
class Control:
    """The edit beside masks of other keys, for one measure of one group of places."""

    group: str
    name: str
    control: str
    operation: str | None
    measure: str
    draws: int
    mean: float
    deviation: float
    smallest: float
    largest: float
    z: float | None
    p: float
    excess: Estimate
    """The edit's change minus the mean change of the controls."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """The change at the concept's places minus the change elsewhere."""

    condition: int
    against: str
    measure: str
    difference: Estimate | None


@dataclass(frozen=True, slots=True)
class Prompt:
    """Code before a token of the concept that the edit makes less probable."""

    language: str
    path: str
    line: int
    prompt: str
    token: str
    loss: float
    masked_loss: float


@dataclass(frozen=True, slots=True)
class Site:
    """A place of the concept, with the changes of its loss in nats."""

    language: str
    project: str
    path: str
    line: int
    column: int
    token: str
    loss: float
    loss_mean: float
    loss_zero: float
    loss_resample: float
    kl: float
    right: bool
    right_mean: bool
    coefficient: float
    """Of the edit's first key where the token is predicted."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Averages over the keys of a condition."""

    role: str
    keys: float
    damage: float | None
    firing_rate: float | None
    norm_value: float | None


def list_edits(cursor: duckdb.DuckDBPyConnection, concept: str | None = None) -> list[Edit]:
    """The edits of a run, or those of one concept, given as name and start of the definition's sha256."""
    query = f"SELECT {_EDIT} FROM edits WHERE ? IS NULL OR concept = ? ORDER BY title, picker, keys, edit"  # noqa: S608 - our own columns
    return [Edit(*row) for row in rows(cursor, query, [concept, concept])]


def get_edit(cursor: duckdb.DuckDBPyConnection, name: str) -> Edit:
    """Look up one edit.

    Raises:
        UnknownEdit: the run has no edit of that name.
    """
    found = [edit for edit in list_edits(cursor) if edit.edit == name]
    if not found:
        raise UnknownEdit(
            f"this run has no edit {name!r}: it may have been recomputed with other settings; the edits page lists what there is"
        )
    return found[0]


def definition(cursor: duckdb.DuckDBPyConnection, edit: Edit) -> Concept | None:
    """The definition of an edit's concept; None if the analysis of its keys is gone."""
    found = rows(cursor, "SELECT definition FROM concepts WHERE concept = ?", [edit.concept])
    return Concept.model_validate_json(found[0][0]) if found else None


def effects(cursor: duckdb.DuckDBPyConnection, edit: str, *roles: str) -> list[Effect]:
    """Every group of places under the conditions with these roles, in the order of the conditions."""
    query = f"""
        SELECT condition, role, operation, main, draw, keys, "group", name, places, files, projects, {_CHANGES}
        FROM edit_effects JOIN edit_conditions USING (edit, condition)
        WHERE edit = ? AND list_contains(?, role) ORDER BY condition, "group", name"""  # noqa: S608 - our own columns
    return [_effect(row) for row in rows(cursor, query, [edit, list(roles)])]


def controls(cursor: duckdb.DuckDBPyConnection, edit: str) -> list[Control]:
    """An edit compared with its controls, for every group of places and every measure."""
    query = """
        SELECT "group", name, control, operation, measure, draws, mean, deviation, smallest, largest, z, p, excess,
               excess_low, excess_high, files, projects
        FROM edit_controls WHERE edit = ? ORDER BY "group", name, measure, control, operation"""
    found = [
        (*about, Estimate(value, low, high, 0, files, projects))
        for *about, value, low, high, files, projects in rows(cursor, query, [edit])
    ]
    return [Control(*each) for each in found]


def primary(cursor: duckdb.DuckDBPyConnection, edit: str) -> Estimate | None:
    """The registered endpoint of an edit, in nats; None in an edit older than it."""
    ((value, *rest),) = rows(cursor, _PRIMARY, [edit])
    return None if value is None else Estimate(value, *rest)


def sites(cursor: duckdb.DuckDBPyConnection, edit: str, limit: int, offset: int = 0) -> list[Site]:
    """Places of the concept, those that lose most with the keys at their means first."""
    query = f"""
        SELECT {_SITE} FROM edit_sites WHERE edit = ?
        ORDER BY loss_mean DESC, path, line, "column" LIMIT ? OFFSET ?"""  # noqa: S608 - our own columns
    return [Site(*row) for row in rows(cursor, query, [edit, limit, offset])]


def count_sites(cursor: duckdb.DuckDBPyConnection, edit: str) -> int:
    """How many places of the concept were measured one by one."""
    return int(rows(cursor, "SELECT count(*) FROM edit_sites WHERE edit = ?", [edit])[0][0])


def contrasts(cursor: duckdb.DuckDBPyConnection, edit: str) -> list[Contrast]:
    """The concept's places compared with others, at every dose."""
    query = """
        SELECT condition, against, measure, difference, low, high, files, projects
        FROM edit_contrasts WHERE edit = ? ORDER BY condition, against, measure"""
    return [
        Contrast(condition, against, measure, None if value is None else Estimate(value, low, high, 0, *rests_on))
        for condition, against, measure, value, low, high, *rests_on in rows(cursor, query, [edit])
    ]


def likenesses(cursor: duckdb.DuckDBPyConnection, edit: str) -> list[Likeness]:
    """Averages over the keys of the main dose and of the controls."""
    query = """
        SELECT role, avg(keys), avg(damage), avg(firing_rate), avg(norm_value) FROM edit_conditions
        WHERE edit = ? AND (role = 'dose' AND main OR draw IS NOT NULL) AND operation IS DISTINCT FROM 'resample'
        GROUP BY role ORDER BY role"""
    return [Likeness(*row) for row in rows(cursor, query, [edit])]


def prompts(cursor: duckdb.DuckDBPyConnection, edit: str) -> list[Prompt]:
    """Code to try an edit on, most harmed first."""
    query = """
        SELECT language, path, line, prompt, token, loss, masked_loss
        FROM edit_prompts WHERE edit = ? ORDER BY rank"""
    return [Prompt(*row) for row in rows(cursor, query, [edit])]


def masks(cursor: duckdb.DuckDBPyConnection, edit: Edit) -> list[Mask]:
    """The masks of an edit's main dose, as factors."""
    query = 'SELECT layer, "index", stack, factor FROM edit_keys WHERE edit = ? AND rank <= ? ORDER BY rank'
    return [Mask(KeyId(*key), Scale(factor)) for *key, factor in rows(cursor, query, [edit.edit, edit.keys])]


def mean_masks(cursor: duckdb.DuckDBPyConnection, edit: Edit, language: str) -> list[Mask]:
    """The masks of an edit's main dose that hold the keys at their means in a language; none in an older edit."""
    query = 'SELECT layer, "index", stack, mean FROM edit_means WHERE edit = ? AND language = ? ORDER BY rank'
    return [Mask(KeyId(*key), Fix(mean)) for *key, mean in rows(cursor, query, [edit.edit, language])]


def _effect(row: Sequence[Any]) -> Effect:
    condition, role, operation, main, draw, keys, group, name, places, files, projects, *numbers = row
    # four numbers a measure: level, change and both ends of the change's interval
    measured = {measure: numbers[4 * at : 4 * at + 4] for at, measure in enumerate(MEASURES)}
    levels = {measure: level for measure, (level, *_) in measured.items()}
    changes = {
        measure: Estimate(change, low, high, places, files, projects)
        for measure, (_, change, low, high) in measured.items()
        if change is not None
    }
    return Effect(condition, role, operation, main, draw, keys, group, name, places, files, projects, levels, changes)
