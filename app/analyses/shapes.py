"""What the JSON answers about analyses have in common: the shape of an estimate."""

from pydantic import Field

from keyscope.app.queries.estimate import Estimate
from keyscope.app.web.shapes import Shape


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


def numbers(found: Estimate | None, *names: str) -> dict[str, float | None]:
    """The value and both ends of an estimate under three names; null if there is none."""
    return dict(zip(names, (found.value, found.low, found.high) if found else (None, None, None), strict=True))
