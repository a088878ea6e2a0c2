"""The procedures a run can follow: our own and those of two papers.

`paper2023` follows "Looking into Black Box Code Language Models": every five consecutive lines of a file are a window,
cut at 200 tokens; keys are read before the activation function, with negative values set to 0; windows, not files,
compete for places among the triggers. `geva2021` follows "Transformer Feed-Forward Layers Are Key-Value Memories":
every prefix competes, so one file can have many triggers, and a trigger's text ends at its token. Both keep white
space as it is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.manifest import BURN_IN, ModelFacts, Preset


class PresetUnfit(KeyscopeError, status=422):
    """The preset does not apply to models of this kind."""


@dataclass(frozen=True, slots=True)
class Procedure:
    """What a preset changes."""

    lines: int | None = None
    """Lines per window, one starting at every line of a file; None cuts files by tokens, without overlap."""
    window: int = 256
    """Default window in tokens; longer pieces of a file are cut there."""
    longest_file: int | None = None
    """Files are cut after this many tokens."""
    fewest_tokens: int = 0
    """Files with fewer tokens are skipped."""
    near_duplicates: bool = False
    """Keep near duplicates."""
    before_activation: bool = False
    """Read max(0, pre-activation) instead of the coefficient."""
    every_token: bool = False
    """Every token competes for a place among the triggers, not only the best of each file."""
    plain: bool = False
    """Every token counts and every trigger is listed: no boilerplate, burn-in or groups."""

    def pieces(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield the pieces that are tokenised and run separately: first line, from 1, and text."""
        if self.lines is None:
            yield 1, text
            return
        # str.splitlines also breaks at form feeds and other characters that no editor counts as line ends
        lines = re.findall(r"[^\n]*\n|[^\n]+", text)
        for first in range(max(1, len(lines) - self.lines + 1)):
            yield first + 1, "".join(lines[first : first + self.lines])


STRICT = Procedure()
PROCEDURES: dict[Preset, Procedure] = {
    "strict": STRICT,
    "paper2023": Procedure(
        lines=5, window=200, fewest_tokens=100, near_duplicates=True, before_activation=True, plain=True
    ),
    "geva2021": Procedure(every_token=True, plain=True),
}


def default_burn_in(procedure: Procedure, window: int) -> int:
    """The burn-in of a run that asks for none: `BURN_IN`, less in short windows."""
    return 0 if procedure.plain else min(BURN_IN, window // 4)


def check_preset(model: ModelFacts, preset: Preset) -> None:
    """Check that a preset applies to a model.

    Raises:
        PresetUnfit: the preset reads keys before the activation function, but the model's layers are gated.
    """
    if PROCEDURES[preset].before_activation and model.gated:
        raise PresetUnfit(
            f"{preset} reads keys before their activation function, but {model.model_id} has gated layers, whose "
            "coefficient is a product: use --preset strict"
        )
