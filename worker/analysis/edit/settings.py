"""What decides the rows of an edit."""

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
    """Which keys are masked, and how much is measured."""

    concept: Annotated[str, AfterValidator(lambda name: _PARTS.get(name, name))]
    """A shipped concept by its name; any by its name and the start of its definition's sha256, as its results bear it."""
    picker: Literal["any_hit", "fdr", "auroc", "causal", "basket"] = "causal"
    """The ranking of the concept's keys whose first ones are masked; basket masks the basket."""
    basket: Annotated[str, AfterValidator(lambda text: format_basket(parse_basket(text)))] = ""
    """Keys and factors, such as L5.K312:0,L6.K41:0.5."""
    share: Share = 0.01
    """Share of all keys that is masked at the main dose, against which everything is held."""
    doses: Annotated[tuple[Share, ...], BeforeValidator(_numbers)] = (0.001, 0.005, 0.01, 0.02, 0.05)
    """Shares of all keys that are masked one after another."""
    factor: float = Field(0.0, ge=-100, le=100, allow_inf_nan=False)
    """What their coefficients are multiplied by."""
    draws: int = Field(20, ge=2, le=1000)
    """Draws of each kind of control."""
    tokens: int = Field(30_000, ge=1000)
    """Tokens that are measured on: half of them in windows with the concept, half in windows without it."""
    tau: float = Field(2.0, gt=0, allow_inf_nan=False)
    """Standard deviations around its mean on the concept within which range masking scales a coefficient."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _check(self) -> "EditSettings":
        if (self.picker == BASKET) != bool(self.basket):
            raise ValueError("the picker basket and a basket of keys come together")
        return self

    @property
    def masks(self) -> list[Mask]:
        """The basket."""
        return parse_basket(self.basket)

    @property
    def shares(self) -> list[float]:
        """All doses in ascending order, the main one among them."""
        return sorted({*self.doses, self.share})

    @property
    def part(self) -> str:
        """What tells this edit from others: the concept with the start of the settings' sha256."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return f"{self.concept}-{hashlib.sha256(text.encode()).hexdigest()[:_HASH]}"
