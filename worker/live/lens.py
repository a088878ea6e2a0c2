"""The logit lens: what the model would predict after each token of a text if it ended after each layer."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from keyscope.contract.wire import LensAnswer, LensCell
from keyscope.worker.analysis.lens import LayerPass, in_chunks, read_layers
from keyscope.worker.live.token_text import TokenText
from keyscope.worker.model.code_model import CodeModel


@dataclass(frozen=True, slots=True)
class LensTask:
    """An admitted request."""

    token_ids: list[int]
    first: int
    """Index of the first token to read."""
    top: int


class LensReader:
    """Reads texts with one model."""

    def __init__(self, model: CodeModel, text: TokenText) -> None:
        self._model = model
        self._text = text

    @torch.inference_mode()
    def run(self, task: LensTask, _emit: Callable[[LensAnswer], None]) -> LensAnswer:
        """Return every layer's prediction after every token from `task.first` on."""
        model = self._model
        residuals: list[Tensor] = []

        def keep(layer: LayerPass) -> None:
            residuals.append(model.after(layer.after, task.first).clone())

        with read_layers(model, keep):
            model.run_after(task.token_ids, task.first, len(task.token_ids) - 1)
        predicted = torch.cat([self._logprobs(chunk).argmax(dim=1) for chunk in in_chunks(model, residuals[-1])])
        return LensAnswer(
            tokens=[self._text.token(token_id) for token_id in task.token_ids],
            first=task.first,
            cells=[self._cells(residual, predicted, task.top) for residual in residuals],
        )

    def _cells(self, residual: Tensor, predicted: Tensor, top: int) -> list[LensCell]:
        cells: list[LensCell] = []
        for vectors, tokens in zip(in_chunks(self._model, residual), in_chunks(self._model, predicted), strict=True):
            logprobs = self._logprobs(vectors)
            there = logprobs.gather(1, tokens[:, None])
            best = logprobs.topk(min(top, logprobs.shape[1]), dim=1)
            columns = (
                best.indices.tolist(),
                best.values.tolist(),
                (1 + (logprobs > there).sum(dim=1)).tolist(),
                there[:, 0].tolist(),
            )
            for ids, values, rank, own in zip(*columns, strict=True):
                listed = [self._text.alternative(*each) for each in zip(ids, values, strict=True)]
                cells.append(LensCell(top=listed, rank=rank, logprob=own))
        return cells

    def _logprobs(self, residual: Tensor) -> Tensor:
        """Log-probabilities [tokens, vocabulary], normalised over the whole head as in generations."""
        logits = self._model.head(self._model.final_norm(residual)).float()
        logprobs: Tensor = logits.log_softmax(dim=-1)[:, : self._model.facts.vocabulary]
        return logprobs
