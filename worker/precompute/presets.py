"""The procedures a run can follow: ours, and those of the papers it is compared with.

`paper2023` is the procedure of "Looking into Black Box Code Language Models": every five consecutive lines of a file are
a window of their own, cut at 200 tokens; a key is read before its activation function, negative values count as 0; a
window, not a file, competes for a place among the triggers. `geva2021` is that of "Transformer Feed-Forward Layers Are
Key-Value Memories": every prefix competes, so a file may hold many triggers, and a trigger's text ends at its token.
White space stays as it is in both.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.manifest import Preset
from keyscope.worker.model.code_model import CodeModel


class PresetUnfit(KeyscopeError):
    """A preset that says nothing about models of this kind."""

    code = "preset_unfit"
    status = 422


@dataclass(frozen=True, slots=True)
class Procedure:
    """What a preset changes."""

    lines: int | None = None
    """Lines of a window that starts at every line of a file; None cuts files by tokens, without overlap."""
    window: int = 256
    """Tokens of a window, where nothing else is asked for; longer pieces of a file are cut there."""
    fewest_tokens: int = 0
    """Files with fewer tokens are left out."""
    near_duplicates: bool = False
    """Keep files that are nearly equal to others."""
    before_activation: bool = False
    """Read max(0, pre-activation) in place of the coefficient."""
    every_token: bool = False
    """Each token competes for a place among the triggers, not each file's best."""

    def pieces(self, text: str) -> Iterator[tuple[int, str]]:
        """What is tokenised and run on its own: the line it starts at, from 1, and its text."""
        if self.lines is None:
            yield 1, text
            return
        # str.splitlines also ends lines at form feeds and other characters, where nothing else counts a line
        lines = re.findall(r"[^\n]*\n|[^\n]+", text)
        for first in range(max(1, len(lines) - self.lines + 1)):
            yield first + 1, "".join(lines[first : first + self.lines])


STRICT = Procedure()
PROCEDURES: dict[Preset, Procedure] = {
    "strict": STRICT,
    "paper2023": Procedure(lines=5, window=200, fewest_tokens=100, near_duplicates=True, before_activation=True),
    "geva2021": Procedure(every_token=True),
}


def check_preset(model: CodeModel, preset: Preset) -> None:
    """Refuse what a procedure does not define.

    Raises:
        PresetUnfit: the preset reads before the activation function, and the model's layers are gated.
    """
    if PROCEDURES[preset].before_activation and model.facts.gated:
        raise PresetUnfit(
            f"{preset} reads keys before their activation function, and {model.facts.model_id} has gated layers, whose "
            "coefficient is a product: use --preset strict"
        )
