"""Import an export of labels: check every row first, then store all rows or none.

Rows that already exist change nothing. If a person labelled a key in both databases, the versions are merged in order of
time, and each ends where the next one begins.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import false, inspect, select, text, update
from sqlalchemy.orm import Session

from keyscope.app.database.engine import Database
from keyscope.app.database.statements import about_keys, portions
from keyscope.app.labels import key_records, records
from keyscope.app.labels.models import Label
from keyscope.app.labels.records import Record
from keyscope.app.labels.repository import Target
from keyscope.app.labels.team_models import Adjudication
from keyscope.app.runs import Registry
from keyscope.app.table_files import Format, count_rows, read_rows
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.keys import KeyId, Stack

CLOCKS = timedelta(minutes=10)
"""How far ahead of ours another server's clock may be."""
SHOWN = 1000
"""At most so many problems are listed; the others are counted."""
MOST_ROWS = 1_000_000
"""Most rows of one file."""
_FAR = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one row cannot be imported."""

    line: int
    """Line of a text file or row of a Parquet file, from 1."""
    problem: str


Shapes = Mapping[str, Callable[[Stack], Sequence[int]]]


class ImportRefused(KeyscopeError, status=422):
    """Some rows cannot be imported, so none were."""

    def __init__(self, problems: list[Problem], count: int) -> None:
        """Of `count` problems, keep the first ones given."""
        first = "; ".join(f"line {each.line}: {each.problem}" for each in problems[:3])
        more = f"; and {count - 3:,} more" if count > 3 else ""
        super().__init__(f"nothing was imported, because {count:,} rows are wrong: {first}{more}")
        self.problems = problems


class TooManyRows(KeyscopeError, status=422):
    """The file has more rows than one import may have; nothing was imported."""

    def __init__(self, rows: str) -> None:
        super().__init__(f"the file has {rows} rows, one import may have {MOST_ROWS:,}: split it")


class OneRowPerKey(KeyscopeError, status=422):
    """The file is an export with one row per key; nothing was imported."""

    def __init__(self) -> None:
        super().__init__(
            "this file has one row per key, from which nobody's labels can be restored: "
            "import an export with one row per label instead"
        )


@dataclass(slots=True)
class Outcome:
    """What an import did, or what a dry run would do."""

    added: int = 0
    """New rows."""
    changed: int = 0
    """Existing labels that now end, or end earlier."""
    unchanged: int = 0
    """Rows that already existed."""


Row = TypeVar("Row", Label, Adjudication)
Numbered = tuple[int, Record]
Group = tuple[Target, str]
"""Key and person: one history of labels."""


@dataclass(slots=True)
class _Plan:
    outcome: Outcome = field(default_factory=Outcome)
    labels: list[Record] = field(default_factory=list)
    """New ones."""
    ends: dict[Label, tuple[datetime, bool]] = field(default_factory=dict)
    """Existing labels to close: when, and whether they were retracted."""
    orders: list[list[Adjudication | Record]] = field(default_factory=list)
    """The decisions on a key that gets new ones, all in their new order."""


def import_upload(database: Database, runs: Registry, content: bytes, name: Format, dry_run: bool = False) -> Outcome:
    """Import the content of an uploaded file; see `import_file`."""
    with tempfile.TemporaryDirectory(prefix="keyscope-") as directory:
        path = Path(directory, f"labels.{name}")
        path.write_bytes(content)
        return import_file(database, runs, path, name, dry_run)


def import_file(database: Database, runs: Registry, path: Path, name: Format, dry_run: bool = False) -> Outcome:
    """Import a file, checking its keys against the known runs.

    Raises:
        ImportRefused: a row is wrong; nothing was changed.
        TooManyRows: the file has more rows than `MOST_ROWS`; nothing was changed.
        OneRowPerKey: the file has one row per key; nothing was changed.
        DatabaseUnavailable: the database cannot be reached.
    """
    models = [run.manifest.model for run in runs.all()[0]]
    found = check(path, name, {model.weights_sha256: model.keys_in for model in models})
    return database.write(lambda session: import_records(session, found, dry_run))


def check(path: Path, name: Format, shapes: Shapes) -> list[Numbered]:
    """Read and check every row of a file; `shapes` maps known weights to the keys per layer of each stack.

    Raises:
        ImportRefused: a row is wrong.
        TooManyRows: the file has more rows than `MOST_ROWS`.
        OneRowPerKey: the file has one row per key.
    """
    announced = count_rows(path, name)
    if announced > MOST_ROWS:
        raise TooManyRows(f"{announced:,}")
    found: list[Numbered] = []
    problems: list[Problem] = []
    wrong = 0
    first = _FirstCurrent()
    for number, (line, values) in enumerate(read_rows(path, name, records.JSON_COLUMNS), start=1):
        if number > MOST_ROWS:
            raise TooManyRows(f"more than {MOST_ROWS:,}")
        if isinstance(values, dict) and key_records.COUNT in values:
            raise OneRowPerKey
        record = values if isinstance(values, str) else records.read(values)
        if isinstance(record, Record):
            record = _misplaced(record, shapes) or first.doubled(line, record) or record
        if isinstance(record, Record):
            found.append((line, record))
            continue
        wrong += 1
        if len(problems) < SHOWN:
            problems.append(Problem(line, record))
    if wrong:
        raise ImportRefused(problems, wrong)
    return found


def import_records(session: Session, found: Sequence[Numbered], dry_run: bool = False) -> Outcome:
    """Store the rows, or only count what would change."""
    _hold(session)
    plan = _Plan()
    labels: dict[Group, list[Record]] = defaultdict(list)
    decisions: dict[Target, list[Record]] = defaultdict(list)
    for _, record in found:
        if record.record == "label":
            labels[record.target, record.person].append(record)
        else:
            decisions[record.target].append(record)
    there = _there(session, Label, {target for target, _ in labels})
    for (target, person), given in labels.items():
        _merge_labels(plan, [each for each in there[target] if each.person == person], given)
    decided = _there(session, Adjudication, decisions)
    for target, given in decisions.items():
        _merge_decisions(plan, decided[target], given)
    if not dry_run:
        _apply(session, plan)
    return plan.outcome


def _misplaced(record: Record, shapes: Shapes) -> str | None:
    target = record.target
    keys_in = shapes.get(target.weights_sha256)
    sizes = None if keys_in is None else keys_in(target.key.stack)
    if sizes is not None and not (target.key.layer < len(sizes) and target.key.index < sizes[target.key.layer]):
        return f"key: the model of weights {target.weights_sha256[:8]} has no key {target.key}"
    if record.created_at > datetime.now(UTC) + CLOCKS:
        return f"created_at: {record.created_at:%Y-%m-%d %H:%M} is in the future"
    return None


class _FirstCurrent:
    """Finds second current labels of one person and key, and second decisions in force on one key."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, Target, str], int] = {}

    def doubled(self, line: int, record: Record) -> str | None:
        """What is wrong with the row, if an earlier one is current as well."""
        if record.superseded_at is not None:
            return None
        person = record.person if record.record == "label" else ""
        other = self._lines.setdefault((record.record, record.target, person), line)
        if other == line:
            return None
        what = f"label of {record.key} by {person}" if person else f"decision on {record.key}"
        return f"it is a second current {what}; the first is in line {other}"


def _hold(session: Session) -> None:
    """Block other writers of labels until the transaction ends, so what is read stays true."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE labels, adjudications IN SHARE ROW EXCLUSIVE MODE"))
    else:
        # Any write takes SQLite's lock, even one that changes no row.
        session.execute(update(Label).where(false()).values(retracted=Label.retracted))


def _there(session: Session, table: Any, targets: Iterable[Target]) -> dict[Target, list[Any]]:
    """The existing rows about these keys, in order of insertion."""
    found: dict[Target, list[Any]] = defaultdict(list)
    by_weights: dict[str, list[KeyId]] = defaultdict(list)
    for target in targets:
        by_weights[target.weights_sha256].append(target.key)
    for weights_sha256, keys in by_weights.items():
        for portion in portions(keys):
            chosen = about_keys(select(table), table, weights_sha256, portion).order_by(table.id)
            for each in session.scalars(chosen):
                found[Target(weights_sha256, each.key)].append(each)
    return found


def _merge_labels(plan: _Plan, there: list[Label], given: list[Record]) -> None:
    waiting = list(there)
    ends: dict[Label | Record, tuple[datetime, bool] | None] = {each: _end(each) for each in there}
    new = []
    for record in given:
        same = next((each for each in waiting if _says(each) == _says(record)), None)
        if same is None:
            new.append(record)
        else:
            waiting.remove(same)
            ends[same] = min(filter(None, (ends[same], _end(record))), default=None)
    if there and new:
        ends |= {each: _end(each) for each in new}
        _chain(ends)
        for each in new:
            each.superseded_at, each.retracted = ends[each] or (None, False)
    closed = {each: end for each in there if (end := ends[each]) is not None and end != _end(each)}
    plan.labels += new
    plan.ends |= closed
    plan.outcome.added += len(new)
    plan.outcome.changed += len(closed)
    plan.outcome.unchanged += len(given) - len(new)


def _chain(ends: dict[Label | Record, tuple[datetime, bool] | None]) -> None:
    """End each version no later than the next one begins."""
    order = sorted(ends, key=lambda each: (each.created_at, (ends[each] or (_FAR, False))[0]))
    for version, after in pairwise(order):
        ends[version] = min(ends[version] or (_FAR, False), (after.created_at, False))


def _merge_decisions(plan: _Plan, there: list[Adjudication], given: list[Record]) -> None:
    waiting = list(there)
    new: list[Adjudication | Record] = []
    for record in given:
        same = next((each for each in waiting if _decides(each) == _decides(record)), None)
        if same is None:
            new.append(record)
        else:
            waiting.remove(same)
    if new:
        # A file lists decisions in the order they were made; that order holds if the database has none on this key.
        plan.orders.append(sorted([*there, *new], key=lambda each: each.created_at) if there else new)
    plan.outcome.added += len(new)
    plan.outcome.unchanged += len(given) - len(new)


def _apply(session: Session, plan: _Plan) -> None:
    for label, (superseded_at, retracted) in plan.ends.items():
        label.superseded_at, label.retracted = superseded_at, retracted
    orders = [
        [_row(Adjudication, each) if isinstance(each, Record) else each for each in order] for order in plan.orders
    ]
    for order in orders:
        # Numbers are unique per key, so park them all on negative ones before assigning the new order.
        for decision in order:
            decision.number = -(decision.number or 0)
    # A person has one current label per key: close the old ones before adding the new ones.
    session.flush()
    for order in orders:
        for number, decision in enumerate(order, start=1):
            decision.number = number
    session.flush()
    session.add_all(_row(Label, record) for record in plan.labels)
    session.add_all(decision for order in orders for decision in order)
    session.flush()


def _end(each: Label | Record) -> tuple[datetime, bool] | None:
    return None if each.superseded_at is None else (each.superseded_at, each.retracted)


def _says(each: Label | Record) -> tuple[object, ...]:
    evidence = [(place["file_sha256"], place["offset"]) for place in map(dict, each.evidence)]
    return each.created_at, each.kind, each.description, each.confidence, list(each.tags), evidence


def _decides(each: Adjudication | Record) -> tuple[object, ...]:
    return each.created_at, each.person, each.kind, each.description


def _row(table: type[Row], record: Record) -> Row:
    """A row with what the record has of the table's columns, but for the id, which the database assigns."""
    columns = set(inspect(table).columns.keys()) - {"id"}
    return table(**record.values(columns) | record.target.columns)
