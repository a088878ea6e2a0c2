"""Run files with their analyses as each schema version wrote them, `runN-analysesM.tar.xz`; `make` adds the current one."""

import re
import tarfile
from pathlib import Path

_FOLDER = Path(__file__).parent
_NAME = re.compile(r"run(\d+)-analyses(\d+)\.tar\.xz")
OLD_RUNS = {
    (int(found[1]), int(found[2])): path for path in sorted(_FOLDER.iterdir()) if (found := _NAME.fullmatch(path.name))
}
"""The archives by schema version of the run and of its analyses."""


def archive(run: int, analyses: int) -> Path:
    """Where the archive of these schema versions is or goes."""
    return _FOLDER / f"run{run}-analyses{analyses}.tar.xz"


def unpack(path: Path, folder: Path) -> Path:
    """Unpack an archive and return its run file."""
    with tarfile.open(path) as files:
        files.extractall(folder, filter="data")
    return folder / "old.duckdb"
