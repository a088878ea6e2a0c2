"""Answering which keys are behind a token of a text."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from contract.wire import ActivationsAnswer, Alternative, KeyActivity, TextToken
from worker.analysis.contributions import read_position, strongest
from worker.live.token_text import TokenText
from worker.model.code_model import CodeModel

_NEXT = 10
"""Next tokens listed."""


@dataclass(frozen=True, slots=True)
class TextTask:
    """What to look at, already found possible."""

    token_ids: list[int]
    token_index: int
    target: int | None
    distractor: int | None
    limit: int
    by_size: bool


class ActivationReader:
    """Looks at texts with one model."""

    def __init__(self, model: CodeModel, text: TokenText) -> None:
        self._model = model
        self._text = text

    def run(self, task: TextTask, _emit: Callable[[ActivationsAnswer], None]) -> ActivationsAnswer:
        """The keys behind a token, and what the model would say next."""
        position = read_position(self._model, task.token_ids, task.token_index)
        logprobs = position.logprobs[: self._model.facts.vocabulary]
        likely = logprobs.topk(min(_NEXT, len(logprobs))).indices.tolist()
        target = likely[0] if task.target is None else task.target
        keys = strongest(self._model, position, target, task.distractor, task.limit, task.by_size)
        return ActivationsAnswer(
            tokens=[self._token(token_id) for token_id in task.token_ids],
            token_index=task.token_index,
            next=[self._alternative(token_id, logprobs) for token_id in likely],
            target=self._alternative(target, logprobs),
            distractor=None if task.distractor is None else self._alternative(task.distractor, logprobs),
            keys=[
                KeyActivity(
                    key=str(each.key),
                    token_index=task.token_index,
                    coefficient=each.coefficient,
                    size=each.size,
                    contribution=each.contribution,
                )
                for each in keys
            ],
        )

    def _token(self, token_id: int) -> TextToken:
        token, token_hex = self._text.spell(token_id)
        return TextToken(token=token, token_hex=token_hex, token_id=token_id)

    def _alternative(self, token_id: int, logprobs: torch.Tensor) -> Alternative:
        token, token_hex = self._text.spell(token_id)
        return Alternative(token=token, token_hex=token_hex, token_id=token_id, logprob=float(logprobs[token_id]))
