"""The twin of a run: where it is, and by what it is known.

A twin is the run of the same model with the matrices of its blocks shuffled, over the same corpus: what chance gives.
"""

from pathlib import Path

from keyscope.contract.analyses.files import FOLDER, analysis_folder
from keyscope.contract.tables import SUFFIX

TWIN = "twin"
"""Name of the file beside a run's analyses, and of the schema of its tables."""
TWIN_KINDS = ("syntax", "firing", "agreement", "concepts")
"""Kinds of analysis that a twin has too; an edit has controls of its own."""


def twin_path(run: Path) -> Path:
    """File of a run's twin."""
    return analysis_folder(run) / f"{TWIN}{SUFFIX}"


def trained_run(path: Path) -> Path:
    """The run that a file belongs to: itself, unless it is a twin."""
    is_twin = path.name == f"{TWIN}{SUFFIX}" and path.parent.suffix == FOLDER
    return path.parent.with_suffix(SUFFIX) if is_twin else path
