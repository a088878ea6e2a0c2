"""Settings of an edit."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from keyscope.contract.analyses.edit import BASKET
from keyscope.contract.concepts import SHIPPED
from keyscope.contract.keys import Mask, format_basket, parse_basket
from keyscope.worker.analysis.analysis import Seed, Settings

_PARTS = {concept.name: concept.part for concept in SHIPPED}
_HASH = 6


def _numbers(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Share = Annotated[float, Field(gt=0, le=1)]


class EditSettings(Settings):
    """Which keys are masked, and on how many tokens the effect is measured."""

    concept: Annotated[str, AfterValidator(lambda name: _PARTS.get(name, name))]
    """A shipped concept by name; any other by name and the start of its definition's sha256, as in its results."""
    picker: Literal["any_hit", "fdr", "auroc", "auroc_before", "causal", "basket"] = "causal"
    """The ranking whose first keys are masked; basket masks the keys in `basket`."""
    basket: Annotated[str, AfterValidator(lambda text: format_basket(parse_basket(text)))] = ""
    """Keys and factors, such as L5.K312:0,L6.K41:0.5."""
    share: Share | None = None
    """Share of all keys masked at the main dose, which controls and contrasts refer to; without one, the dose that raises
    the concept's loss most beyond general code's, on files of their own."""
    doses: Annotated[tuple[Share, ...], BeforeValidator(_numbers)] = (0.001, 0.005, 0.01, 0.02, 0.05)
    """Shares of all keys masked one after another."""
    factor: float = Field(0.0, ge=-100, le=100, allow_inf_nan=False)
    """Factor on the masked coefficients, where they are scaled instead of replaced; 0 removes the keys."""
    draws: int = Field(20, ge=2, le=1000)
    """Draws of controls that do as much damage; a quarter as many of the other kinds."""
    damage: float = Field(0.05, gt=0, allow_inf_nan=False)
    """Most nats that the dose chosen may add to the loss of general code, if any dose adds so little."""
    resamples: int = Field(5, ge=2, le=100)
    """Draws of places whose coefficients take the place of the masked ones."""
    tokens: int = Field(20_000, ge=1000)
    """Tokens to measure on: half in windows with the concept, half in windows without it."""
    tau: float = Field(2.0, gt=0, allow_inf_nan=False)
    """Standard deviations around its mean on the concept within which range masking changes a coefficient."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _check(self) -> "EditSettings":
        if (self.picker == BASKET) != bool(self.basket):
            raise ValueError("give the picker basket together with a basket of keys, or neither")
        return self

    @property
    def masks(self) -> list[Mask]:
        """The masks of the basket."""
        return parse_basket(self.basket)

    @property
    def tunes(self) -> bool:
        """Whether the main dose is chosen among the doses."""
        return self.picker != BASKET and self.share is None

    @property
    def few_draws(self) -> int:
        """Draws of the controls that do not stand for the verdict."""
        return max(2, self.draws // 4)

    @property
    def shares(self) -> list[float]:
        """All doses, ascending, the main one included."""
        return sorted({*self.doses, *([self.share] if self.share else [])})

    @property
    def part(self) -> str:
        """The name that tells this edit from others: the concept and the start of the settings' sha256."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return f"{self.concept}-{hashlib.sha256(text.encode()).hexdigest()[:_HASH]}"
