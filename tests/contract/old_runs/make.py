"""Store a small run with all its analyses as the current schema versions write them: `python -m tests.contract.old_runs.make`.

Run it after raising a `SCHEMA_VERSION`. An archive is never overwritten: its age is what makes it useful.
"""

import sys
import tarfile
import tempfile
from pathlib import Path

from keyscope.contract.analyses import kinds
from keyscope.contract.runfile import SCHEMA_VERSION
from tests.contract.old_runs import archive
from tests.made.agreement import write_agreement
from tests.made.concepts import write_concepts
from tests.made.edits import write_edit
from tests.made.firing import write_firing
from tests.made.runs import Shape, build_run
from tests.made.syntax import write_syntax

SHAPE = Shape(layers=2, keys=4)


def main() -> None:
    path = archive(SCHEMA_VERSION, kinds.SCHEMA_VERSION)
    if path.exists():
        sys.exit(f"{path} already exists and is never overwritten")
    with tempfile.TemporaryDirectory() as folder:
        run = build_run(Path(folder) / "old.duckdb", SHAPE)
        write_agreement(run, SHAPE.layers)
        write_concepts(run, SHAPE.layers, SHAPE.keys)
        write_edit(run)
        write_firing(run)
        write_syntax(run)
        with tarfile.open(path, "w:xz", preset=9) as files:
            for each in sorted(Path(folder).rglob("*.duckdb")):
                files.add(each, each.relative_to(folder))
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
