"""What an interval is over, and how little is too little for a verdict."""

from keyscope.contract.tables import Column

FEWEST_PROJECTS = 10
FEWEST_FILES = 20
"""Fewest projects, or files where an interval is over files, that a verdict may rest on."""
PROJECTS = Column(
    "projects",
    "UINTEGER",
    "Projects they are in, which the interval is over; empty if it is over files: there are too few projects",
)
LOW = "Lower end of its 95 % interval, over projects"


def few(projects: int | None, files: int) -> bool:
    """Whether an estimate rests on too little for a verdict; `files` is 0 where nothing was sampled from files."""
    return 0 < files < FEWEST_FILES if projects is None else projects < FEWEST_PROJECTS
