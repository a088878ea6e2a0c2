"""The rows of an export with one row per key: its current labels counted, and what it is in the end."""

from collections import Counter
from collections.abc import Iterator
from heapq import merge
from itertools import groupby
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from keyscope.app.labels import adjudication
from keyscope.app.labels.models import Kind, Label
from keyscope.app.labels.records import BATCH
from keyscope.app.labels.team_models import Adjudication
from keyscope.contract.keys import KeyId

COUNT = "n_labels"
"""A column that only this export has."""
COLUMNS = {
    "key": "VARCHAR",
    "layer": "INTEGER",
    "index": "INTEGER",
    "weights_sha256": "VARCHAR",
    COUNT: "INTEGER",
    **{kind.value: "INTEGER" for kind in Kind},
    "majority": "VARCHAR",
    "decision": "VARCHAR",
    "final": "VARCHAR",
    "people": "VARCHAR[]",
    "tags": "VARCHAR[]",
    "descriptions": "VARCHAR[]",
}
"""The columns of the file and their types in DuckDB."""


def rows(session: Session, weights_sha256: str | None = None, layer: int | None = None) -> Iterator[list[object]]:
    """Every key with a current label or a decision in force, by weights, layer and index, as values of `COLUMNS`."""

    def narrowed(table: Any) -> Iterator[Any]:
        chosen = (
            select(Label).where(Label.superseded_at.is_(None)) if table is Label else adjudication.select_in_force()
        )
        wanted = {table.weights_sha256: weights_sha256, table.layer: layer}
        chosen = chosen.where(*(column == value for column, value in wanted.items() if value is not None))
        order = [table.weights_sha256, table.layer, table.key_index, table.stack, table.person]
        return iter(session.scalars(chosen.order_by(*order).execution_options(yield_per=BATCH)))

    for _, about_key in groupby(merge(narrowed(Label), narrowed(Adjudication), key=_place), key=_place):
        yield _row(list(about_key))


def _place(each: Label | Adjudication) -> tuple[str, KeyId]:
    return each.weights_sha256, each.key


def _row(said: list[Label | Adjudication]) -> list[object]:
    labels = [each for each in said if isinstance(each, Label)]
    decision = next((each.kind for each in said if isinstance(each, Adjudication)), None)
    counts = Counter(label.kind for label in labels)
    majority = _most_frequent(counts)
    first = said[0]
    return [
        str(first.key),
        first.layer,
        first.key_index,
        first.weights_sha256,
        len(labels),
        *(counts[kind] for kind in Kind),
        majority,
        decision,
        decision or majority,
        [label.person for label in labels],
        sorted({tag for label in labels for tag in label.tags}),
        [label.description for label in labels if label.description],
    ]


def _most_frequent(counts: Counter[Kind]) -> Kind | None:
    """The kind that was given most often; None if several were, or none was."""
    best = counts.most_common(2)
    return best[0][0] if best and (len(best) == 1 or best[0][1] > best[1][1]) else None
