"""What the JSON answers about analyses have in common: the shape of an estimate, and the twin's beside the run's."""

from collections.abc import Callable
from typing import Any, TypeVar

import duckdb
from pydantic import BaseModel, Field

from keyscope.app.queries.estimate import Estimate
from keyscope.app.queries.twin import twin_of
from keyscope.app.web.shapes import Shape

AnyAnswer = TypeVar("AnyAnswer", bound=BaseModel)
_NAMES = ("layer", "layers", "size", "split", "part", "lens", "control", "measure")
"""Fields by which the items of a list are told apart."""


class EstimateShape(Shape):
    """A number with its 95 % interval over projects."""

    value: float
    low: float | None = Field(
        description="null, as the other end, if there is no interval: too few projects, or no sample"
    )
    high: float | None
    n: int = Field(description="Tokens, keys or whatever else it rests on")
    projects: int | None = Field(
        None, description="Projects it rests on; null if the interval is over files or nothing was sampled"
    )
    few: bool = Field(False, description="It rests on too few projects or files for a verdict")
    twin: float | None = Field(
        None, description="The same of the run's twin, whose blocks are shuffled; null if that was not measured"
    )
    excess: float | None = Field(None, description="The value less that of the twin")


def beside_twin(
    cursor: duckdb.DuckDBPyConnection, answer: Callable[[duckdb.DuckDBPyConnection], AnyAnswer]
) -> AnyAnswer:
    """An answer with the twin's numbers beside all its estimates, as far as the twin has them.

    Args:
        cursor: the run's.
        answer: makes the answer from a cursor, which may be the twin's.
    """
    own = answer(cursor)
    with twin_of(cursor) as twin:
        if twin is not None:
            _put_beside(own, answer(twin[0]))
    return own


def _put_beside(own: Any, twin: Any) -> None:
    """Fill in `twin` and `excess` of every estimate for which the other answer has one in its place."""
    if isinstance(own, EstimateShape):
        own.twin, own.excess = twin.value, own.value - twin.value
    if isinstance(own, BaseModel):
        own, twin = own.__dict__, twin.__dict__
    if isinstance(own, list) and own and isinstance(own[0], BaseModel):
        own, twin = ({_name(each): each for each in items} for items in (own, twin))
    if isinstance(own, dict):
        for name in own.keys() & twin.keys():
            _put_beside(own[name], twin[name])


def _name(item: BaseModel) -> tuple[Any, ...]:
    values = (getattr(item, name, None) for name in _NAMES)
    # `layers` is a group's name, or the layers themselves
    return tuple(value if isinstance(value, str | int) else None for value in values)


def numbers(found: Estimate | None, *names: str) -> dict[str, float | None]:
    """The value and both ends of an estimate under three names; null if there is none."""
    return dict(zip(names, (found.value, found.low, found.high) if found else (None, None, None), strict=True))
