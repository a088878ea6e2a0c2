"""What the JSON answers about analyses have in common: the shape of an estimate."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from keyscope.app.queries.estimate import Estimate


class Shape(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


class EstimateShape(Shape):
    """A number with its 95 % interval by bootstrap over files."""

    value: float
    low: float | None = Field(
        description="null, as the other end, if there is no interval: too few files, or no sample"
    )
    high: float | None
    n: int = Field(description="Tokens, keys or whatever else it rests on")


def estimates(found: Mapping[str, Estimate]) -> dict[str, EstimateShape]:
    """The shapes of estimates by name."""
    return {name: EstimateShape.model_validate(each) for name, each in found.items()}
