"""What was compared with plain transformers for each family: the results that `make docs-models` stored beside this file."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

PROVED = Path(__file__).with_name("proved.json")


class Comparison(BaseModel):
    """One configuration or real model in one dtype."""

    model_config = ConfigDict(extra="forbid")

    architecture: str = Field(description="`model_type` of the configuration")
    model: str = Field(description="A real model's name, or that of a tiny configuration with random weights")
    real: bool = Field(description="Whether the weights are those of a trained model")
    dtype: str
    errors: dict[str, float | None] = Field(
        description="Largest difference of each thing Keyscope does, relative to the largest number compared; null where the "
        "architecture defines none"
    )


class Proved(BaseModel):
    """All comparisons, and what they were made with."""

    model_config = ConfigDict(extra="forbid")

    libraries: dict[str, str]
    comparisons: list[Comparison]

    @property
    def aspects(self) -> list[str]:
        """The things compared, in order."""
        return list(self.comparisons[0].errors)


def read_proved() -> Proved:
    """Read the stored results."""
    return Proved.model_validate_json(PROVED.read_text("utf-8"))


def bound(errors: list[float | None]) -> str:
    """The largest of some errors, rounded up to a power of ten: `0`, `1e-6`, or `undefined` if there is none."""
    found = [error for error in errors if error is not None]
    if not found:
        return "undefined"
    largest = max(found)
    return "0" if largest == 0 else f"1e{_decade(largest)}"


def _decade(number: float) -> int:
    exponent = int(f"{number:e}".partition("e")[2])
    return exponent if number <= 10.0**exponent else exponent + 1
