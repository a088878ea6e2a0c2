"""Search at the paper's size: 327,680 keys with all their tokens, made by SQL and searched as the page and the API do.

Every key has 20 tokens it fires on, 20 it promotes and 20 it suppresses in either projection, drawn with a long tail, and
50 triggers in each of three languages. Each search runs several times: the first one reads from disk what the others find
in memory, after the file is dropped from the system's cache if the system allows that. The same searches without the
derived tables scan all tokens and triggers, which shows what these tables save and cost.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import duckdb
import typer

from keyscope.app.queries.criteria import About, Between, Criterion, Dead, FiresOn, InLayers, Prefers, Writes
from keyscope.app.queries.search import Search, search
from keyscope.app.queries.tokens import Vocabulary, load_vocabulary
from keyscope.contract.key_documents import KEY_DOCUMENTS
from keyscope.contract.runfile import DERIVED, KEYS, create, open_run, write_derived, write_manifest
from tests.contract.test_runfile import MANIFEST

VOCABULARY = 51_200
WINDOWS = 60_000
LINE = 12
"""One token in this many ends its line of code."""
SEARCHES: dict[str, tuple[Criterion, ...]] = {
    "all keys": (),
    "promote the commonest token": (Writes(b"t0", "promoted"),),
    "promote a rare token": (Writes(b"t9000", "promoted"),),
    "fire on the commonest token": (FiresOn(b"t0"),),
    "fire on a rare token": (FiresOn(b"t9000"),),
    "fire on or promote the commonest token": (About(b"t0"),),
    "promote one, suppress one, fire on one": (
        Writes(b"t0", "promoted", 10),
        Writes(b"t1", "suppressed"),
        FiresOn(b"t2"),
    ),
    "a token, a range, layers, a language, alive": (
        FiresOn(b"t1"),
        Between("kurtosis", 0.2, 0.9),
        InLayers(3, 20),
        Prefers("java"),
        Dead(False),
    ),
    "two ranges": (Between("kurtosis", 0.2, 0.4), Between("maximum", 0.5)),
}


def main(
    layers: Annotated[int, typer.Option()] = 32,
    keys: Annotated[int, typer.Option(help="Keys per layer")] = 10_240,
    times: Annotated[int, typer.Option(help="Runs per search")] = 7,
    folder: Annotated[Path | None, typer.Option(help="Working folder; a temporary one by default")] = None,
) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        path, plain = Path(name, "indexed.duckdb"), Path(name, "plain.duckdb")
        taken = _build(path, layers, keys)
        _drop_derived(path, plain)
        size, without = path.stat().st_size, plain.stat().st_size
        typer.echo(
            f"{layers * keys:,} keys; the derived tables take {(size - without) / 1e6:.0f} MB "
            f"and {taken:.0f} s to write"
        )
        typer.echo(f"{'':46}{'found':>8}{'first':>10}{'median':>10}{'CPU':>10}{'CPU without derived':>23}")
        for title, criteria in SEARCHES.items():
            found, walls, cpus = _time(path, criteria, times)
            _, _, slow = _time(plain, criteria, times)
            typer.echo(
                f"{title:46}{found:>8,}{walls[0]:>7.0f} ms{statistics.median(walls[1:]):>7.0f} ms"
                f"{statistics.median(cpus[1:]):>7.0f} ms{statistics.median(slow[1:]):>20.0f} ms"
            )


def _time(path: Path, criteria: tuple[Criterion, ...], times: int) -> tuple[int, list[float], list[float]]:
    """Number of keys found, and wall and CPU milliseconds of each search; the first one is cold."""
    _forget(path)
    walls, cpus = [], []
    with open_run(path) as connection:
        vocabulary = load_vocabulary(connection)
        for _ in range(times + 1):
            wall, cpu = time.perf_counter(), time.process_time()
            found = _ask(connection, vocabulary, criteria)
            walls.append(1000 * (time.perf_counter() - wall))
            cpus.append(1000 * (time.process_time() - cpu))
    return found, walls, cpus


def _ask(connection: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, criteria: tuple[Criterion, ...]) -> int:
    with connection.cursor() as cursor:
        return search(cursor, vocabulary, Search(criteria)).total


def _forget(path: Path) -> None:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _build(path: Path, layers: int, keys: int) -> float:
    """Write the run; return the seconds spent on the derived tables."""
    model = MANIFEST.model.model_copy(update={"n_layers": layers, "keys_per_layer": [keys] * layers})
    with create(path) as connection:
        write_manifest(connection, MANIFEST.model_copy(update={"model": model, "run_id": path.stem}))
        connection.execute(
            f'CREATE TEMP TABLE names AS SELECT n // {keys} AS layer, n % {keys} AS "index", n FROM range({layers * keys}) t(n)'
        )
        columns = ", ".join(_made(column.name, column.type) for column in KEYS.columns[2:])
        connection.execute(f'INSERT INTO keys SELECT layer, "index", {columns} FROM names ORDER BY n')
        for layer in range(layers):
            _write_layer(connection, layer)
        spelled = f"'t' || n || CASE WHEN n % {LINE} = {LINE - 1} THEN chr(10) ELSE '' END"
        connection.execute(f"INSERT INTO tokens SELECT n, ({spelled})::BLOB, false, 1 FROM range({VOCABULARY}) t(n)")
        connection.execute("INSERT INTO files VALUES (0, 'go', 'made', 'made.go', 'none', 1)")
        connection.execute(
            'INSERT INTO windows (window_id, file_id, start, line, "column", token_ids) '
            f"SELECT n, 0, 0, 1, 0, [(n * i) % {VOCABULARY} FOR i IN range(256)] FROM range({WINDOWS}) t(n)"
        )
        began = time.monotonic()
        write_derived(connection)
        return time.monotonic() - began


def _write_layer(connection: duckdb.DuckDBPyConnection, layer: int) -> None:
    connection.execute(f"""
        INSERT INTO value_tokens
        SELECT layer, "index", projection, direction, rank, {_drawn("projection", "direction", "rank")}, 3 + 1 / rank
        FROM names, (VALUES ('normed'), ('raw')) a(projection), (VALUES ('promoted'), ('suppressed')) b(direction),
            range(1, 21) c(rank)
        WHERE layer = {layer} ORDER BY "index", projection, direction, rank""")
    connection.execute(f"""
        INSERT INTO fires_on
        SELECT layer, "index", rank, {_drawn("rank")}, 21 - rank FROM names, range(1, 21) c(rank)
        WHERE layer = {layer} ORDER BY "index", rank""")
    connection.execute(f"""
        INSERT INTO triggers
        SELECT layer, "index", language, 'max', rank, {_uniform("language")} + 50 - rank,
            hash(n, language, rank) % {WINDOWS}, hash(n, rank) % 256, 1, 0, 1, ''::BLOB
        FROM names, (VALUES ('go'), ('java'), ('python')) a(language), range(1, 51) b(rank)
        WHERE layer = {layer} ORDER BY "index", language, rank""")


def _uniform(*of: str) -> str:
    """A number in [0, 1) determined by a key's number and more."""
    return f"(hash(concat_ws('.', n, {', '.join(of)})) / 18446744073709551616.0)"


def _drawn(*of: str) -> str:
    """A token; common ones are in the lists of many keys, rare ones of few."""
    return f"floor({VOCABULARY} * {_uniform(*of)} ** 3)::INTEGER"


def _made(name: str, kind: str) -> str:
    number = _uniform(f"'{name}'")
    return {
        "BOOLEAN": f"{number} < 0.02",
        "VARCHAR": f"['go', 'java', 'python'][1 + floor(3 * {number})::INTEGER]",
        "INTEGER": _drawn(f"'{name}'"),
        "UBIGINT": "1000000",
    }.get(kind, number)


def _drop_derived(path: Path, plain: Path) -> None:
    """Copy a run without its derived tables."""
    with duckdb.connect(str(plain)) as connection:
        connection.execute(f"ATTACH '{path}' AS whole (READ_ONLY)")
        connection.execute("SET threads = 1")  # keeps the order of the rows
        find = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'whole'"
        derived = {KEY_DOCUMENTS.name, *(each.name for each, _ in DERIVED)}
        for (name,) in connection.execute(find).fetchall():
            if name not in derived:
                connection.execute(f"CREATE TABLE {name} AS SELECT * FROM whole.{name}")


if __name__ == "__main__":
    typer.run(main)
