"""The next token of a text under several sets of masks, read in few forward passes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from keyscope.contract.keys import Mask
from keyscope.contract.wire import NextAnswer, NextBranch
from keyscope.worker.live.token_text import TokenText
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.errors import LogitsNotFinite
from keyscope.worker.model.framing import opening
from keyscope.worker.model.taps import mask_coefficients

_ROWS = 8
"""Sets of masks in one forward pass, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class NextTask:
    """An admitted request."""

    token_ids: list[int]
    sets: tuple[tuple[Mask, ...], ...]
    tokens: tuple[int, ...]
    top: int


class NextReader:
    """Reads the next token of texts with one model."""

    def __init__(self, model: CodeModel, text: TokenText) -> None:
        self._model = model
        self._text = text

    @torch.inference_mode()
    def run(self, task: NextTask, _emit: Callable[[NextAnswer], None]) -> NextAnswer:
        """Return the next token under each set of masks.

        Raises:
            MaskNotApplied: the masks did not act.
            LogitsNotFinite: the factors push activations beyond the range of the model's dtype.
        """
        parts = [task.sets[first : first + _ROWS] for first in range(0, len(task.sets), _ROWS)]
        return NextAnswer(branches=[self._branch(task, row) for part in parts for row in self._logprobs(task, part)])

    def _logprobs(self, task: NextTask, sets: Sequence[Sequence[Mask]]) -> Tensor:
        """Log-probabilities after the text, [sets, vocabulary]; normalised over the whole head as in generations."""
        with mask_coefficients(self._model, sets):
            logits = self._logits(task.token_ids, len(sets)).float().cpu()
        if not logits.isfinite().all():
            raise LogitsNotFinite("the logits are not finite: choose factors closer to 1")
        return logits.log_softmax(dim=-1)[:, : self._model.facts.vocabulary]

    def _logits(self, token_ids: list[int], rows: int) -> Tensor:
        """Logits after a text, the same in every row."""
        model, framing = self._model, self._model.facts.framing
        if framing is None:
            ids = torch.tensor([token_ids] * rows, device=model.device)
            output = model.model(input_ids=ids, use_cache=False, logits_to_keep=1)
            logits: Tensor = output.logits[:, -1]
            return logits
        written = torch.tensor([opening(framing)] * rows, device=model.device)
        return model.head(model.run_body(written, source=model.prompted([token_ids] * rows))[:, -1])

    def _branch(self, task: NextTask, logprobs: Tensor) -> NextBranch:
        best = logprobs.topk(min(task.top, len(logprobs)))
        return NextBranch(
            top=[
                self._text.alternative(*each) for each in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            ],
            tokens=[self._text.alternative(token, float(logprobs[token])) for token in task.tokens],
        )
