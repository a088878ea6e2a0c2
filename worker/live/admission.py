"""Checks requests before they enter the queue."""

from collections.abc import Iterable

from keyscope.contract.keys import KeyId, Mask
from keyscope.contract.wire import (
    Limits,
    WorkerActivations,
    WorkerCoefficients,
    WorkerGenerate,
    WorkerLens,
    WorkerNeighbours,
    WorkerNext,
)
from keyscope.worker.live.activations import TextTask
from keyscope.worker.live.coefficients import CoefficientsTask
from keyscope.worker.live.errors import (
    EmptyPrompt,
    NoSuchLayer,
    OtherWeights,
    PromptTooLong,
    TooManyMasks,
    TooManyNewTokens,
    UnknownToken,
)
from keyscope.worker.live.generation import Task
from keyscope.worker.live.lens import LensTask
from keyscope.worker.live.neighbours import NeighboursTask
from keyscope.worker.live.next_token import NextTask
from keyscope.worker.live.settings import WorkerSettings
from keyscope.worker.live.token_text import TokenText
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.keys import check_key

MOST_PROMPTS = 64
"""Tokens of a text along which keys of a decoder are read: each is the end of a prompt for the encoder."""


class Admission:
    """Checks requests against one model and its limits."""

    def __init__(self, model: CodeModel, text: TokenText, settings: WorkerSettings) -> None:
        self._facts = model.facts
        self._text = text
        self._context = model.context_length
        self.limits = Limits(
            prompt_tokens=min(settings.prompt_tokens, self._context - 1),
            new_tokens=min(settings.new_tokens, self._context - 1),
            masks=settings.masks,
            queue=settings.queue,
            body_bytes=settings.body_bytes,
        )

    def admit(self, request: WorkerGenerate) -> Task:
        """Check a generation and encode its prompt.

        Raises:
            OtherWeights: the keys belong to another model.
            InvalidMask: a key is masked in two ways.
            UnknownKey: the model lacks a masked key.
            TooManyMasks, TooManyNewTokens, PromptTooLong: a limit is exceeded.
            EmptyPrompt: the prompt has no tokens.
        """
        self._check_weights(request.weights_sha256)
        masks, control = request.basket(), request.control_basket()
        self._check_masks(masks)
        self._check_masks(control or [])
        self._check_new_tokens(request.max_new_tokens)
        return Task(
            prompt_ids=self._encode(request.prompt, request.max_new_tokens),
            masks=tuple(masks),
            new_tokens=request.max_new_tokens,
            temperature=request.temperature,
            seed=request.seed,
            top=request.top_logprobs,
            control=None if control is None else tuple(control),
            positions=request.positions,
        )

    def admit_text(self, request: WorkerActivations) -> TextTask:
        """Check a request for the keys behind a token and encode its text.

        Raises:
            OtherWeights: the request is for another model.
            PromptTooLong: the text is longer than the limit.
            EmptyPrompt: the text has no tokens.
            UnknownToken: the tokenizer lacks a token id, or the text a token index.
            NoSuchLayer: the model lacks the layer.
        """
        self._check_weights(request.weights_sha256)
        ids = self._encode(request.text, 1)
        place = len(ids) - 1 if request.token_index is None else request.token_index
        first, last = (place, place) if request.span is None else (request.span.first, request.span.last)
        if last >= len(ids):
            raise UnknownToken(f"there is no token {last}: the text has tokens 0 to {len(ids) - 1}")
        if request.layer is not None and request.layer >= self._facts.n_layers:
            raise NoSuchLayer(
                f"there is no layer {request.layer}: {self._facts.model_id} has layers 0 to {self._facts.n_layers - 1}"
            )
        self._check_tokens(token for token in (request.target, request.distractor) if token is not None)
        return TextTask(request, ids, first, last)

    def admit_lens(self, request: WorkerLens) -> LensTask:
        """Check a request for the logit lens and encode its text.

        Raises:
            OtherWeights: the request is for another model.
            PromptTooLong: the text is longer than the limit.
            EmptyPrompt: the text has no tokens.
        """
        self._check_weights(request.weights_sha256)
        ids = self._encode(request.text, 1)
        return LensTask(ids, max(0, len(ids) - request.last), request.top)

    def admit_next(self, request: WorkerNext) -> NextTask:
        """Check a request for the next token under sets of masks and encode its text.

        Raises:
            OtherWeights: the keys belong to another model.
            InvalidMask: a key is masked in two ways in a set.
            UnknownKey: the model lacks a masked key.
            TooManyMasks, PromptTooLong: a limit is exceeded.
            EmptyPrompt: the text has no tokens.
            UnknownToken: the tokenizer lacks a token id.
        """
        self._check_weights(request.weights_sha256)
        sets = request.baskets()
        for masks in sets:
            self._check_masks(masks)
        self._check_tokens(request.tokens)
        return NextTask(self._encode(request.text, 1), tuple(map(tuple, sets)), tuple(request.tokens), request.top)

    def _check_tokens(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            if not 0 <= token < self._facts.vocabulary:
                raise UnknownToken(
                    f"there is no token id {token}: {self._facts.model_id} has tokens 0 to {self._facts.vocabulary - 1}"
                )

    def admit_coefficients(self, request: WorkerCoefficients) -> CoefficientsTask:
        """Check a request for keys along a text and encode it.

        Raises:
            OtherWeights: the request is for another model.
            PromptTooLong: the text is longer than the limit.
            EmptyPrompt: the text has no tokens.
            UnknownKey: the model lacks a key.
        """
        self._check_weights(request.weights_sha256)
        keys = [KeyId.parse(key) for key in dict.fromkeys(request.keys)]
        for key in keys:
            check_key(self._facts, key)
        ids = self._encode(request.text, 1)
        if any(key.stack == "D" for key in keys) and len(ids) > MOST_PROMPTS:
            raise PromptTooLong(
                f"the text has {len(ids)} tokens: keys of a decoder are read after each token in a pass of its own, in "
                f"texts of up to {MOST_PROMPTS} tokens: shorten the text"
            )
        return CoefficientsTask(ids, keys)

    def admit_neighbours(self, request: WorkerNeighbours) -> NeighboursTask:
        """Check a request for the neighbours of a key.

        Raises:
            OtherWeights: the request is for another model.
            UnknownKey: the model lacks the key.
        """
        self._check_weights(request.weights_sha256)
        key = KeyId.parse(request.key)
        check_key(self._facts, key)
        return NeighboursTask(key, request.limit)

    def _check_weights(self, sha256: str | None) -> None:
        if sha256 is not None and sha256 != self._facts.weights_sha256:
            raise OtherWeights(
                f"this worker serves {self._facts.model_id} with weights {self._facts.weights_sha256[:12]}, the request "
                f"is for weights {sha256[:12]!r}: start a worker with the run's model"
            )

    def _check_masks(self, masks: list[Mask]) -> None:
        if len(masks) > self.limits.masks:
            raise TooManyMasks(
                f"{len(masks)} keys are masked, this worker accepts at most {self.limits.masks}: mask fewer"
            )
        for mask in masks:
            check_key(self._facts, mask.key)

    def _check_new_tokens(self, asked: int) -> None:
        if asked > self.limits.new_tokens:
            raise TooManyNewTokens(
                f"{asked} new tokens were requested, this worker generates at most {self.limits.new_tokens}: request fewer"
            )

    def _encode(self, prompt: str, new_tokens: int) -> list[int]:
        ids = self._text.encode(prompt)
        if not ids:
            raise EmptyPrompt(f"the prompt {prompt[:40]!r} has no tokens: write something to continue")
        allowed = min(self.limits.prompt_tokens, self._context - new_tokens)
        if len(ids) > allowed:
            raise PromptTooLong(
                f"the prompt has {len(ids)} tokens, this worker accepts at most {allowed} when it adds {new_tokens}: "
                "shorten the prompt or request fewer new tokens"
            )
        return ids
