"""From sums to the rows of an edit's tables: changes with intervals, and how the edit compares with its controls."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from keyscope.contract.analyses.edit import (
    CHANGED,
    CONTROLS,
    EDIT_CONDITIONS,
    EDIT_CONTRASTS,
    EDIT_CONTROLS,
    EDIT_EFFECTS,
    EDIT_KEYS,
    EDIT_MEANS,
    EDIT_PROMPTS,
    EDIT_SITES,
    EDITS,
    MEASURES,
)
from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.edit.conditions import Condition, Masks
from keyscope.worker.analysis.edit.endpoint import Endpoint, endpoint
from keyscope.worker.analysis.edit.keys import IntArray, KeyTable
from keyscope.worker.analysis.edit.measure import SITE_WAYS
from keyscope.worker.analysis.edit.places import CONCEPT, GENERAL, NEAR, Cells
from keyscope.worker.analysis.edit.scores import ACCURACY, KL, LOSS, RANK, FloatArray
from keyscope.worker.analysis.edit.settings import EditSettings
from keyscope.worker.analysis.intervals import difference_interval, ratio_interval
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.units import Members, Units
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.rows import Columns, insert

PROMPTS = 5
"""Examples to store."""
_COMPARED = (*((control, "mean") for control in CONTROLS), ("damage", "resample"))
"""Controls and what becomes of their coefficients; the edit compared with them is masked in the same way."""
_HARM = np.array([-1.0, 1.0, 1.0, 1.0])
"""Direction in which each measure moves when predictions get worse."""


@dataclass(frozen=True)
class Measured:
    """Everything an edit has measured, before any statistics."""

    edit: str
    settings: EditSettings
    cells: Cells
    windows: tuple[int, int]
    table: KeyTable
    masks: Masks
    all_conditions: Sequence[Condition]
    """As they were measured, each draw of places to resample from on its own."""
    means: FloatArray
    """[languages, keys]"""
    centre: FloatArray
    spread: FloatArray
    target: float
    """The damage that controls were matched on, in nats …"""
    matched: FloatArray
    """… and that of each of their draws."""
    parts: Sequence[Arrays]
    all_units: Units

    @cached_property
    def conditions(self) -> list[Condition]:
        """The conditions with the draws of places taken together."""
        return [
            replace(each, draw=None) if each.role == "resample" else each
            for each in self.all_conditions
            if each.role != "resample" or not each.draw
        ]

    @cached_property
    def units(self) -> Members:
        """The units of the files that were measured."""
        return self.all_units.members(self.files)

    @cached_property
    def files(self) -> IntArray:
        """Every file that was measured."""
        return np.unique(np.concatenate([part["files"] for part in self.parts]))

    @cached_property
    def counts(self) -> FloatArray:
        """Numbers of places, [files, cells]."""
        total = np.zeros((len(self.files), len(self.cells.names)))
        for part in self.parts:
            total[np.searchsorted(self.files, part["files"])] += part["counts"].T
        return total

    @cached_property
    def sums(self) -> FloatArray:
        """Measures summed under every condition, [conditions, files, cells, measures]."""
        shape = len(self.all_conditions), len(self.files), len(self.cells.names), len(MEASURES)
        total = np.zeros(shape)
        for part in self.parts:
            total[:, np.searchsorted(self.files, part["files"])] += part["sums"].transpose(0, 2, 1, 3)
        draws = np.array([each.role == "resample" for each in self.all_conditions])
        first = int(np.argmax(draws))
        total[first] = total[draws].mean(axis=0)
        draws[first] = False
        kept: FloatArray = total[~draws]
        return kept

    @cached_property
    def changes(self) -> FloatArray:
        """The sums less those of the baseline at the same places, same shape."""
        changes: FloatArray = self.sums - self.sums[0]
        return changes

    @property
    def main(self) -> int:
        """Index of the main dose."""
        return next(number for number, each in enumerate(self.conditions) if each.main)

    def of(self, role: str, operation: str) -> list[int]:
        """Indices of the conditions with a role and an operation."""
        return [
            number for number, each in enumerate(self.conditions) if (each.role, each.operation) == (role, operation)
        ]

    def edit_by(self, operation: str) -> FloatArray:
        """The changes by the main dose with an operation, [files, cells, measures]."""
        number = self.main if operation == "mean" else self.of("resample", operation)[0]
        found: FloatArray = self.changes[number]
        return found

    @cached_property
    def endpoint(self) -> Endpoint:
        """What the edit is registered for."""
        drawn = self.changes[self.of("damage", "mean")][:, :, CONCEPT, LOSS]
        return endpoint(self.edit_by("mean")[:, CONCEPT, LOSS], drawn, self.counts[:, CONCEPT], self.units)


def write_rows(subject: Subject, connection: duckdb.DuckDBPyConnection, measured: Measured) -> None:
    """Write all tables."""
    for table, rows in (
        (EDITS, [_edit(measured)]),
        (EDIT_KEYS, _keys(measured)),
        (EDIT_MEANS, _means(measured)),
        (EDIT_CONDITIONS, _conditions(measured)),
        (EDIT_EFFECTS, _effects(measured)),
        (EDIT_CONTROLS, _controls(measured)),
        (EDIT_CONTRASTS, _contrasts(measured)),
        (EDIT_SITES, _sites(subject, measured)),
        (EDIT_PROMPTS, _prompts(subject, measured)),
    ):
        filled = [{"edit": measured.edit, **row} for row in rows]
        if filled:
            insert(connection, table, _columns(filled), order=table.sorted_by)


def _columns(rows: Sequence[dict[str, Any]]) -> Columns:
    table = pa.Table.from_pylist(list(rows))
    return {name: table.column(name) for name in table.column_names}


def _edit(measured: Measured) -> dict[str, Any]:
    settings, concept, found = measured.settings, measured.cells.concept, measured.endpoint
    main = measured.conditions[measured.main]
    return {
        "concept": concept.part,
        "title": concept.title,
        "languages": [each for each in measured.cells.languages if each in concept.patterns],
        "picker": settings.picker,
        "factor": float(main.factors[0]) if len(set(main.factors)) == 1 else None,
        "share": settings.share if settings.picker != "basket" else None,
        "keys": len(main.keys),
        "draws": settings.draws,
        "resamples": settings.resamples,
        "chosen": settings.tunes,
        "damage": measured.target,
        "primary": found.estimate,
        "primary_low": _or_none(found.estimate - found.reach),
        "primary_high": _or_none(found.estimate + found.reach),
        "primary_p": _or_none(found.p),
        "detectable": _or_none(found.detectable),
        "tau": settings.tau,
        "windows": measured.windows[0],
        "general_windows": measured.windows[1],
    }


def _keys(measured: Measured) -> Iterator[dict[str, Any]]:
    table, masks = measured.table, measured.masks
    for place, (number, factor) in enumerate(zip(masks.ranked, masks.factors, strict=True)):
        yield {
            "rank": place + 1,
            "layer": int(table.layers[number]),
            "index": int(table.indices[number]),
            "factor": float(factor),
            "centre": float(measured.centre[place]),
            "spread": float(measured.spread[place]),
        }


def _means(measured: Measured) -> Iterator[dict[str, Any]]:
    table, masks = measured.table, measured.masks
    for place, number in enumerate(masks.ranked[: masks.main]):
        for code, language in enumerate(measured.cells.languages):
            yield {
                "rank": place + 1,
                "layer": int(table.layers[number]),
                "index": int(table.indices[number]),
                "language": language,
                "mean": float(measured.means[code, number]),
            }


def _conditions(measured: Measured) -> Iterator[dict[str, Any]]:
    table = measured.table
    for number, each in enumerate(measured.conditions):
        yield {
            "condition": number,
            "role": each.role,
            "operation": each.operation if each.role != "baseline" else None,
            "main": each.main or each.role in ("range", "zero", "resample"),
            "draw": each.draw,
            "damage": float(measured.matched[each.draw]) if each.role == "damage" and each.draw is not None else None,
            "keys": len(each.keys),
            "firing_rate": float(table.firing_rate[each.keys].mean()) if len(each.keys) else None,
            "norm_value": float(table.norm_value[each.keys].mean()) if len(each.keys) else None,
        }


def _effects(measured: Measured) -> Iterator[dict[str, Any]]:
    places = measured.counts.sum(axis=0)
    files = (measured.counts > 0).sum(axis=0)
    for number in range(len(measured.conditions)):
        levels = _by_place(measured.sums[number].sum(axis=0), places)
        change, low, high, projects = ratio_interval(measured.changes[number], measured.counts, measured.units)
        for table in (levels, change, low, high):  # log ranks: levels as geometric means, changes as ratios
            table[:, RANK] = np.exp(table[:, RANK])
        for cell, (group, name) in enumerate(measured.cells.names):
            row = {"condition": number, "group": group, "name": name}
            row |= {"places": int(places[cell]), "files": int(files[cell])}
            row["projects"] = _or_none(projects[cell, 0])
            for which, measure in enumerate(MEASURES):
                row[measure] = _or_none(levels[cell, which])
                row[f"{measure}_change"] = _or_none(change[cell, which])
                row[f"{measure}_low"] = _or_none(low[cell, which])
                row[f"{measure}_high"] = _or_none(high[cell, which])
            yield row


def _controls(measured: Measured) -> Iterator[dict[str, Any]]:
    places = measured.counts.sum(axis=0)
    files = (measured.counts > 0).sum(axis=0)
    for control, operation in _COMPARED:
        edit = measured.edit_by(operation)
        others = measured.changes[measured.of(control, operation)]
        drawn = _by_place(others.sum(axis=1), places)  # [draws, cells, measures]
        mine = _by_place(edit.sum(axis=0), places)
        excess, low, high, projects = ratio_interval(edit - others.mean(axis=0), measured.counts, measured.units)
        mean, deviation = drawn.mean(axis=0), drawn.std(axis=0, ddof=1)
        # controls that harm at least as much; with one more above and below, p is never 0 (Phipson and Smyth 2010)
        as_bad = (drawn * _HARM >= mine * _HARM).sum(axis=0)
        for cell, (group, name) in enumerate(measured.cells.names):
            if not places[cell]:
                continue
            for which, measure in enumerate(MEASURES):
                at = cell, which
                yield {
                    "group": group,
                    "name": name,
                    "control": control,
                    "operation": operation,
                    "measure": measure,
                    "draws": len(drawn),
                    "mean": float(mean[at]),
                    "deviation": float(deviation[at]),
                    "smallest": float(drawn[:, cell, which].min()),
                    "largest": float(drawn[:, cell, which].max()),
                    "z": float((mine[at] - mean[at]) / deviation[at]) if deviation[at] else None,
                    "p": (1 + int(as_bad[at])) / (1 + len(drawn)),
                    "excess": float(excess[at]),
                    "excess_low": _or_none(low[at]),
                    "excess_high": _or_none(high[at]),
                    "files": int(files[cell]),
                    "projects": _or_none(projects[at]),
                }


def _contrasts(measured: Measured) -> Iterator[dict[str, Any]]:
    numbers = [number for number, each in enumerate(measured.conditions) if each.role in CHANGED]
    for against, cell in (("near", NEAR), ("general", GENERAL)):
        pair = [CONCEPT, cell]
        if not measured.counts[:, cell].any():
            continue
        files = int((measured.counts[:, pair] > 0).all(axis=1).sum())
        for number in numbers:
            found = difference_interval(measured.changes[number][:, pair], measured.counts[:, pair], measured.units)
            for which, measure in enumerate(MEASURES):
                yield {
                    "condition": number,
                    "against": against,
                    "measure": measure,
                    "difference": _or_none(found.estimate[which]),
                    "low": _or_none(found.low[which]),
                    "high": _or_none(found.high[which]),
                    "files": files,
                    "projects": _or_none(found.projects[which]),
                }


def _sites(subject: Subject, measured: Measured) -> Iterator[dict[str, Any]]:
    """Every place of the concept that was measured."""
    store, listing = subject.store, subject.store.files()
    paths, sources = (listing.column(name).to_pylist() for name in ("path", "source"))
    for part in measured.parts:
        unmasked, *masked = part["site_scores"]
        changes = dict(zip(SITE_WAYS[1:], (scores - unmasked for scores in masked), strict=True))
        for at, number in enumerate(part["sites"][:, 0].tolist()):
            file = _file_of(store, number)
            yield {
                "language": store.language_names[store.languages[file]],
                "project": store.project_names[store.projects[file]],
                "source": sources[file],
                "path": paths[file],
                "line": int(store.lines[number]),
                "column": int(store.columns[number]),
                "token": _token(store, number),
                "loss": float(unmasked[at, LOSS]),
                **{f"loss_{way}": float(change[at, LOSS]) for way, change in changes.items()},
                "kl": float(changes["mean"][at, KL]),
                "right": bool(unmasked[at, ACCURACY]),
                "right_mean": bool(masked[0][at, ACCURACY]),
                "coefficient": float(part["coefficients"][at]),
            }


def _prompts(subject: Subject, measured: Measured) -> Iterator[dict[str, Any]]:
    """The places that lose most, at most one per file; those that were right before come first."""
    store = subject.store
    places = np.concatenate([part["sites"] for part in measured.parts])
    before, after = (
        np.concatenate([part["site_scores"][SITE_WAYS.index(way)] for part in measured.parts])
        for way in ("baseline", "mean")
    )
    listing = store.files()
    seen: set[int] = set()
    for at in np.lexsort((before[:, LOSS] - after[:, LOSS], after[:, ACCURACY] - before[:, ACCURACY])):
        number, first = (int(each) for each in places[at])
        file = _file_of(store, number)
        if file in seen or len(seen) == PROMPTS:
            continue
        seen.add(file)
        begin, token = int(store.starts[first]), int(store.starts[number])
        yield {
            "rank": len(seen),
            "language": store.language_names[store.languages[file]],
            "path": str(listing.column("path")[file]),
            "line": int(store.lines[number]),
            "prompt": store.text(file)[begin:token].decode(errors="replace"),
            "token": _token(store, number),
            "loss": float(before[at, LOSS]),
            "masked_loss": float(after[at, LOSS]),
        }


def _file_of(store: TokenStore, number: int) -> int:
    return int(np.searchsorted(store.offsets, number, side="right")) - 1


def _token(store: TokenStore, number: int) -> str:
    """The text of a token, by its number in the corpus."""
    file = _file_of(store, number)
    text, last = store.text(file), number + 1 == store.offsets[file + 1]
    end = len(text) if last else int(store.starts[number + 1])
    return text[int(store.starts[number]) : end].decode(errors="replace")


def _by_place(sums: FloatArray, places: FloatArray) -> FloatArray:
    """Sums over all files divided by the number of places, [… cells, measures]; NaN without places."""
    divisor = np.where(places > 0, places, np.nan)
    return np.asarray(sums / divisor[:, None])


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
