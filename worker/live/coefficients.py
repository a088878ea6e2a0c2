"""Chosen keys along a text: their coefficients at every token."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from keyscope.contract.keys import KeyId
from keyscope.contract.wire import CoefficientsAnswer, KeyCoefficients
from keyscope.worker.live.token_text import TokenText
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.framing import encoded
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
        found: dict[KeyId, list[float]] = {}
        for stack in dict.fromkeys(key.stack for key in task.keys):
            found |= self._read(task.token_ids, [key for key in task.keys if key.stack == stack])
        return CoefficientsAnswer(
            tokens=[self._text.token(token_id) for token_id in task.token_ids],
            keys=[KeyCoefficients(key=str(key), coefficients=found[key]) for key in task.keys],
        )

    def _read(self, token_ids: list[int], keys: list[KeyId]) -> dict[KeyId, list[float]]:
        """The coefficients of keys of one stack."""
        model = self._model.of(keys[0].stack)
        wanted: dict[int, list[KeyId]] = {}
        for key in keys:
            wanted.setdefault(key.layer, []).append(key)
        found: dict[KeyId, list[float]] = {}

        def keep(layer: int, coefficients: Tensor) -> None:
            if here := wanted.get(layer):
                of_tokens = coefficients[0, first:last] if model.facts.stack == "E" else model.after(coefficients, 0)
                columns = of_tokens[:, [key.index for key in here]].float().T.tolist()
                found.update(zip(here, columns, strict=True))

        framing = model.facts.framing
        first, last = (
            (0, len(token_ids)) if framing is None else (len(framing.prefix), len(framing.prefix) + len(token_ids))
        )
        with read_coefficients(model, keep):
            if framing is not None and model.facts.stack == "E":
                model.run_body(torch.tensor([encoded(framing, token_ids)], device=model.device))
            else:
                model.run_after(token_ids, 0, len(token_ids) - 1)
        return found
