"""Chosen keys along a text: their coefficients at every token."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from keyscope.contract.keys import KeyId
from keyscope.contract.wire import CoefficientsAnswer, KeyCoefficients
from keyscope.worker.live.token_text import TokenText
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.taps import read_coefficients


@dataclass(frozen=True, slots=True)
class CoefficientsTask:
    """An admitted request."""

    token_ids: list[int]
    keys: list[KeyId]


class CoefficientsReader:
    """Reads texts with one model."""

    def __init__(self, model: CodeModel, text: TokenText) -> None:
        self._model = model
        self._text = text

    @torch.inference_mode()
    def run(self, task: CoefficientsTask, _emit: Callable[[CoefficientsAnswer], None]) -> CoefficientsAnswer:
        """Return the coefficients of the keys at every token."""
        wanted: dict[int, list[int]] = {}
        for key in task.keys:
            wanted.setdefault(key.layer, []).append(key.index)
        found: dict[KeyId, list[float]] = {}

        def keep(layer: int, coefficients: Tensor) -> None:
            if layer in wanted:
                columns = coefficients[0][:, wanted[layer]].float().T.tolist()
                found.update(zip((KeyId(layer, index) for index in wanted[layer]), columns, strict=True))

        with read_coefficients(self._model, keep):
            self._model.run_body(torch.tensor([task.token_ids], device=self._model.device))
        return CoefficientsAnswer(
            tokens=[self._text.token(token_id) for token_id in task.token_ids],
            keys=[KeyCoefficients(key=str(key), coefficients=found[key]) for key in task.keys],
        )
