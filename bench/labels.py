"""Many people labelling at once over HTTP: labels per second, waiting times, and lost labels.

The server is a separate process. Each person labels key after key as fast as answers arrive, and returns to keys already
labelled. Afterwards every acknowledged label must be in the export exactly once, in a history without gaps; in the second
round on each database the server is killed half-way and restarted.
"""

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from keyscope.app.database.engine import upgrade
from keyscope.contract.keys import KeyId
from tests.labelers import RUN, Load, label_server
from tests.made.runs import Shape, build_run
from tests.postgres import postgresql

LAYERS, KEYS = 4, 32


def main(
    labels: Annotated[int, typer.Option(help="Labels per person")] = 200,
    sqlite_people: Annotated[int, typer.Option(help="People on SQLite")] = 10,
    postgresql_people: Annotated[int, typer.Option(help="People on PostgreSQL")] = 50,
) -> None:
    """Print the figures; exit with an error if a label was lost."""
    keys = [KeyId(layer, index) for layer in range(LAYERS) for index in range(KEYS)]
    faults = []
    with tempfile.TemporaryDirectory() as name:
        build_run(Path(name) / f"{RUN}.duckdb", Shape(layers=LAYERS, keys=KEYS))
        for kind, people in (("SQLite", sqlite_people), ("PostgreSQL", postgresql_people)):
            for killed in (False, True):
                load = Load(people, labels, keys)
                with _database(kind, Path(name)) as url, label_server(Path(name), url) as server:
                    load.run(server, people * labels // 2 if killed else None)
                    found = load.faults(server.export())
                _tell(kind, load, killed, found)
                faults += found
    sys.exit(1 if faults else 0)


def _tell(kind: str, load: Load, killed: bool, faults: list[str]) -> None:
    title = f"{kind}, {load.labelers} people × {load.labels} labels{', killed half-way' if killed else ''}"
    waits = statistics.quantiles(load.latencies, n=100)
    empty = statistics.median(load.empty)
    typer.echo(
        f"{title:58} {len(load.acknowledged) / load.seconds:6.0f} labels/s   p50 {1000 * waits[49]:5.0f} ms   "
        f"p99 {1000 * waits[98]:5.0f} ms   {waits[49] / empty:.1f} × an empty request   "
        f"{len(load.acknowledged):,} acknowledged, {'; '.join(faults) or 'all exported once, no gaps'}"
    )


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[str]:
    """Address of an empty labels database configured to survive power loss."""
    if kind == "SQLite":
        with tempfile.TemporaryDirectory(dir=folder) as name:
            yield f"sqlite:///{name}/labels.sqlite"
        return
    with postgresql(durable=True) as server:
        server.create("labels")
        upgrade(server.url("labels"))
        yield server.url("labels")


if __name__ == "__main__":
    typer.run(main)
