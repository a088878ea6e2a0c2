"""Settings of an analysis of concepts."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, computed_field, model_validator

from keyscope.contract.concepts import SHIPPED, Concept, define
from keyscope.worker.analysis.analysis import Seed, Settings

_SHIPPED = {concept.name: concept for concept in SHIPPED}


def _names(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _defined(value: Any) -> Any:
    """Accept a definition as JSON text, from a command line, or as its fields."""
    if isinstance(value, str):
        return Concept.model_validate_json(value)
    return value if value is None or isinstance(value, Concept) else define(value)


class ConceptSettings(Settings):
    """Which concepts to look for, and how their keys are found."""

    names: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    """Names of shipped concepts; all of them if none is named and there is no definition."""
    concept: str = ""
    """Name of the defined concept as it appears in results; follows from the definition if left out."""
    definition: Annotated[Concept | None, BeforeValidator(_defined)] = None
    """A concept of your own, computed alone."""
    quantile: float = Field(0.99, gt=0, lt=1)
    """A key fires strongly above this quantile of its own coefficients, and above 0."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """False discovery rate up to which keys count as significant."""
    causal_windows: int = Field(32, ge=0)
    """Windows per concept to run back for the causal scores."""
    masked_windows: int = Field(8, ge=0)
    """Of these, windows in which the first keys are also masked, one at a time."""
    masked_keys: int = Field(16, ge=0)
    """Keys with the highest causal scores to mask; half as many that write most are masked as well."""
    keep: int = Field(2000, ge=1)
    """Keys kept per picker."""
    seed: Seed = 0

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        """Fill in the concept's name from its definition, and refuse another name."""
        if not isinstance(values, Mapping) or not values.get("definition"):
            return values
        definition = _defined(values["definition"])
        if values.get("concept") not in (None, "", definition.name, definition.part):
            raise ValueError(f"the definition is of {definition.part}, not of {values['concept']}: leave out the name")
        return {**values, "definition": definition, "concept": definition.part}

    @model_validator(mode="after")
    def _check(self) -> "ConceptSettings":
        if self.concept and self.definition is None:
            raise ValueError(f"{self.concept} needs its definition; ask for shipped concepts with names=")
        unknown = [name for name in self.names if name not in _SHIPPED]
        if unknown:
            raise ValueError(f"{unknown[0]} is not shipped: choose from {', '.join(_SHIPPED)}")
        if self.names and self.definition is not None:
            raise ValueError("give names of shipped concepts or one definition, not both")
        return self

    @computed_field  # type: ignore[prop-decorator]
    @property
    def definitions(self) -> tuple[str, ...]:
        """The concepts with the start of their definitions' sha256, so a changed definition is a changed setting."""
        return tuple(concept.part for concept in self.concepts)

    @property
    def concepts(self) -> tuple[Concept, ...]:
        if self.definition is not None:
            return (self.definition,)
        return tuple(_SHIPPED[name] for name in self.names or _SHIPPED)
