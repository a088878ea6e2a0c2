"""Which keys contribute to the model's prediction after a token of a text."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from keyscope.contract.wire import ActivationsAnswer, ActivationsOptions, Alternative, KeyActivity, Span, TextNode
from keyscope.worker.analysis.contributions import read_position, strongest
from keyscope.worker.live.token_text import TokenText
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.syntax.trees import node_spans

_NEXT = 10
"""How many candidates for the next token to list."""


@dataclass(frozen=True, slots=True)
class TextTask:
    """An admitted request: the token ids of the text and the tokens to read, from `first` to `last`."""

    asked: ActivationsOptions
    token_ids: list[int]
    first: int
    last: int


class ActivationReader:
    """Reads texts with one model."""

    def __init__(self, model: CodeModel, text: TokenText) -> None:
        self._model = model
        self._text = text

    def run(self, task: TextTask, _emit: Callable[[ActivationsAnswer], None]) -> ActivationsAnswer:
        """Return the keys behind the tokens, and the model's candidates for the next token."""
        asked = task.asked
        position = read_position(self._model, task.token_ids, task.last, task.first, asked.layer)
        logprobs = position.logprobs[: self._model.facts.vocabulary]
        likely = logprobs.topk(min(_NEXT, len(logprobs))).indices.tolist()
        target = likely[0] if asked.target is None else asked.target
        by_size = asked.order == "size"
        keys = strongest(self._model, position, target, asked.distractor, asked.limit, by_size, asked.by_layer)

        def alternative(token_id: int) -> Alternative:
            return self._text.alternative(token_id, float(logprobs[token_id]))

        return ActivationsAnswer(
            tokens=[self._text.token(token_id) for token_id in task.token_ids],
            token_index=task.last,
            span=None if asked.span is None else Span(first=task.first, last=task.last),
            layer=asked.layer,
            next=[alternative(token_id) for token_id in likely],
            target=alternative(target),
            distractor=None if asked.distractor is None else alternative(asked.distractor),
            keys=[
                KeyActivity(
                    key=str(each.key),
                    token_index=task.first + each.place,
                    coefficient=each.coefficient,
                    size=each.size,
                    contribution=each.contribution,
                )
                for each in keys
            ],
            nodes=self._nodes(task),
        )

    def _nodes(self, task: TextTask) -> list[TextNode]:
        """The named nodes that contain a token; of nodes with the same tokens only the innermost."""
        starts = self._text.starts(task.token_ids, task.asked.text)
        if task.asked.language is None or starts is None:
            return []
        nodes: dict[tuple[int, int], TextNode] = {}
        for node in node_spans(task.asked.text.encode(), task.asked.language):
            if node.end > node.first:
                first, last = (bisect_right(starts, byte) - 1 for byte in (node.first, node.end - 1))
                # nodes come outermost first, so the innermost overwrites those with the same tokens
                nodes[first, last] = TextNode(type=node.type, first=first, last=last, depth=node.depth)
        return list(nodes.values())
