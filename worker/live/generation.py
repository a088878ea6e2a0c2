"""Continues a prompt with and without masks, as the rows of one batch."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from keyscope.contract.keys import Mask
from keyscope.contract.wire import BRANCHES, Alternative, Applied, Branch, DoneEvent, Positions, Span, TokenEvent
from keyscope.worker.live.outcome import outcome
from keyscope.worker.live.sampling import choose, uniform
from keyscope.worker.live.token_text import TokenText
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.errors import LogitsNotFinite, MaskNotApplied
from keyscope.worker.model.taps import MaskReport, mask_coefficients


@dataclass(frozen=True, slots=True)
class Task:
    """An admitted request."""

    prompt_ids: list[int]
    masks: tuple[Mask, ...]
    new_tokens: int
    temperature: float
    seed: int
    top: int
    control: tuple[Mask, ...] | None = None
    """Masks of a third branch, if there is one."""
    positions: Positions = "both"

    @property
    def rows(self) -> dict[Branch, tuple[Mask, ...]]:
        """The branches, each with its masks."""
        rows: dict[Branch, tuple[Mask, ...]] = dict(zip(BRANCHES, ((), self.masks), strict=True))
        return rows if self.control is None else rows | {"control": self.control}

    @property
    def masked_positions(self) -> range | None:
        """Token positions at which the masks act, counted from the first of the prompt; None: at all."""
        n = len(self.prompt_ids)
        match self.positions:
            case Span(first=first, last=last):
                return range(first, last + 1)
            case "prompt":
                return range(n)
            case "generated":
                return range(n, sys.maxsize)
            case _:
                return None


@dataclass(slots=True)
class _Row:
    """One branch as it grows. The end-of-text token counts as a token but not as text."""

    branch: Branch
    silent: frozenset[int]
    """Tokens that are no text: those that stand for missing spans."""
    token_ids: list[int] = field(default_factory=list)
    ended: bool = False

    @property
    def text_ids(self) -> list[int]:
        text = self.token_ids[:-1] if self.ended else self.token_ids
        return [token_id for token_id in text if token_id not in self.silent]


class _Choice(NamedTuple):
    """The chosen token with its log-probability, and the most probable tokens."""

    token_id: int
    logprob: float
    top: list[tuple[int, float]]


class Generator:
    """Generates with one model.

    Attributes:
        text: the model's tokenizer.
    """

    def __init__(self, model: CodeModel) -> None:
        self.text = TokenText(model.tokenizer, model.facts.bos)
        self._model = model
        self._stop = _stop_ids(model)
        self._known = _known_ids(model)
        self._n_known = int(self._known.sum())

    @torch.inference_mode()
    def run(self, task: Task, emit: Callable[[TokenEvent], None]) -> DoneEvent:
        """Generate, emitting each token of any branch as it is chosen; an exception from `emit` ends the generation.

        Every step feeds all rows, so the batch keeps its shape; a branch that has ended stays in it and adds nothing.

        Raises:
            MaskNotApplied: the masks did not act on every forward pass.
            LogitsNotFinite: the factors push activations beyond the range of the model's dtype.
        """
        started = time.perf_counter()
        framing = self._model.facts.framing
        silent = frozenset(framing.sentinels if framing else ())
        rows = tuple(_Row(branch, silent) for branch in task.rows)
        passes = 0
        with mask_coefficients(self._model, list(task.rows.values()), *self._places(task)) as report:
            step, ids = self._start(task.prompt_ids, len(rows))
            while passes < task.new_tokens and not all(row.ended for row in rows):
                logits = step(ids)
                self._take(task, passes, rows, logits, emit)
                passes += 1
                ids = [row.token_ids[-1:] for row in rows]
        applied = _applied(report, passes, len(self._model.layers))
        elapsed = time.perf_counter() - started
        texts = {row.branch: self.text.join(row.text_ids) for row in rows}
        return DoneEvent(
            first_divergence=first_divergence(rows[0].token_ids, rows[1].token_ids),
            applied=applied,
            elapsed_ms=1000 * elapsed,
            text=texts,
            code=outcome(self._prompt(task), texts, {row.branch: row.text_ids for row in rows}),
        )

    def _prompt(self, task: Task) -> str:
        """The prompt's text without the BOS."""
        bos, ids = self._model.facts.bos, task.prompt_ids
        return self.text.join(ids[len(bos) :] if ids[: len(bos)] == bos else ids)

    def _start(self, prompt_ids: list[int], rows: int) -> tuple[Callable[[list[list[int]]], Tensor], list[list[int]]]:
        """A function from the next tokens of every row to the logits after them, and the first tokens.

        Logits are [rows, rows of the head], as float32 on the CPU. An encoder reads the prompt at once.
        """
        model, framing = self._model, self._model.facts.framing
        given: dict[str, Any] = {"use_cache": True}
        if framing is None:
            given |= {"past_key_values": DynamicCache(config=model.model.config), "logits_to_keep": 1}
            name, first = "input_ids", prompt_ids
        else:
            source = model.prompted([prompt_ids] * rows)
            caches = (DynamicCache(config=model.model.get_decoder().config) for _ in range(2))
            given |= {
                "encoder_outputs": BaseModelOutput(last_hidden_state=model.encode(source)),
                "attention_mask": source.attention_mask,
                "past_key_values": EncoderDecoderCache(*caches),
            }
            name, first = "decoder_input_ids", [framing.start]

        def step(ids: list[list[int]]) -> Tensor:
            output = model.model(**{name: torch.tensor(ids, device=model.device)}, **given)
            logits = output.logits[:, -1].float().cpu()
            assert isinstance(logits, Tensor)
            return logits

        return step, [first] * rows

    def _places(self, task: Task) -> tuple[range | None, range | None]:
        """Token positions at which masks act, on keys of the stack that generates and of an encoder beside it."""
        framing = self._model.facts.framing
        if framing is None or task.positions == "both":
            return task.masked_positions, None
        match task.positions:
            case Span(first=first, last=last):
                shift = len(framing.prefix)
                return range(0), range(shift + first, shift + last + 1)
            case "prompt":
                return range(0), None
            case _:
                return None, range(0)

    def _take(
        self, task: Task, step: int, rows: Sequence[_Row], logits: Tensor, emit: Callable[[TokenEvent], None]
    ) -> None:
        draw = uniform(task.seed, step)
        growing = [(row, row_logits) for row, row_logits in zip(rows, logits, strict=True) if not row.ended]
        for row, row_logits in growing:
            if not row_logits.isfinite().all():
                raise LogitsNotFinite(
                    f"the {row.branch} logits are not finite at token {step}: choose factors closer to 1"
                )
        for row, row_logits in growing:
            choice = self._choose(task, row_logits, draw)
            row.token_ids.append(choice.token_id)
            row.ended = choice.token_id in self._stop
            emit(self._event(row.branch, step, choice))

    def _choose(self, task: Task, logits: Tensor, draw: float) -> _Choice:
        """Choose a token that the tokenizer knows; log-probabilities cover the whole head, before temperature."""
        logprobs = torch.log_softmax(logits, dim=0)
        scores = logprobs.masked_fill(~self._known, -torch.inf)
        token_id = choose(scores, task.temperature, draw)
        best = scores.topk(min(task.top, self._n_known))
        top = list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        return _Choice(token_id, float(logprobs[token_id]), top)

    def _event(self, branch: Branch, index: int, choice: _Choice) -> TokenEvent:
        text, hexadecimal = self.text.spell(choice.token_id)
        return TokenEvent(
            branch=branch,
            index=index,
            token=text,
            token_hex=hexadecimal,
            token_id=choice.token_id,
            logprob=choice.logprob,
            top=[self._alternative(token_id, logprob) for token_id, logprob in choice.top],
        )

    def _alternative(self, token_id: int, logprob: float) -> Alternative:
        text, hexadecimal = self.text.spell(token_id)
        return Alternative(token=text, token_hex=hexadecimal, token_id=token_id, logprob=logprob)


def first_divergence(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Index of the first token that differs or that only one sequence has; None if they are equal."""
    return next((i for i, (left, right) in enumerate(zip_longest(one, other)) if left != right), None)


def _applied(report: MaskReport, passes: int, layers: int) -> Applied:
    """What the masks did; an encoder, whose layers follow the others, makes one pass."""
    if any(seen != (passes if layer < layers else 1) for layer, seen in report.steps.items()):
        raise MaskNotApplied(f"of {passes} forward passes, the masked layers saw {report.steps}")
    return Applied(keys=report.rows[BRANCHES.index("masked")], positions=report.positions)


def _stop_ids(model: CodeModel) -> frozenset[int]:
    """The tokens that end a text: those in the model's generation config, else the tokenizer's."""
    configured = getattr(model.model.generation_config, "eos_token_id", None)
    if configured is None:
        configured = model.tokenizer.eos_token_id
    if configured is None:
        return frozenset()
    return frozenset([configured] if isinstance(configured, int) else configured)


def _known_ids(model: CodeModel) -> Tensor:
    """Which rows of the head belong to a token of the tokenizer, [rows of the head]; the others are padding."""
    known = torch.zeros(model.head_rows, dtype=torch.bool)
    known[[token_id for token_id in model.tokenizer.get_vocab().values() if token_id < len(known)]] = True
    return known
