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


def ends(name: str = "", kind: str = "DOUBLE") -> tuple[Column, Column]:
    """The columns of an interval's ends, `low` and `high`, or `NAME_low` and `NAME_high`."""
    prefix = f"{name}_" if name else ""
    return (
        Column(f"{prefix}low", kind, "Lower end of its 95 % interval, over projects"),
        Column(f"{prefix}high", kind, "Upper end of that interval"),
    )


def few(projects: int | None, files: int) -> bool:
    """Whether an estimate rests on too little for a verdict; `files` is 0 where nothing was sampled from files."""
    return 0 < files < FEWEST_FILES if projects is None else projects < FEWEST_PROJECTS
