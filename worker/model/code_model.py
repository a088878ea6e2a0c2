"""A loaded code language model and its feed-forward layers."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from keyscope.contract.keys import KeyId, Stack
from keyscope.contract.manifest import BosPolicy, ModelFacts, Question, Task
from keyscope.worker.model.errors import NoEndOfText, TaskUnfit, UndefinedHere
from keyscope.worker.model.families import Family
from keyscope.worker.model.framing import Source, blank, opening, padded, prompted
from keyscope.worker.model.norms import passed

_CONTEXT_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_UNSTATED_LENGTH = 2_048
"""For BLOOM, whose attention has no limit: the length it was trained at."""
_QUESTIONS: dict[Question, str] = {
    "contributions": "contributions of keys to logits are not defined in",
    "neighbours": "who writes what a key reads is not defined in",
    "agreement": "agreement with and without a feed-forward layer is not defined in",
    "edit": "what an edit does to predictions is not measured in",
    "next token": "the next token is not defined in",
    "shortening": "what a key does on a shortened text is not defined in",
}


@dataclass(frozen=True, slots=True)
class FeedForward:
    """The key-value memory of one layer."""

    layer: int
    block: nn.Module
    norm: nn.Module | None
    """Its output is what the keys read; None: they read the residual itself."""
    up: nn.Module
    gate: nn.Module | None
    """The same module as `up` if it computes both, the gate first."""
    down: nn.Module
    post_norm: nn.Module | None = None
    """A norm between the down projection and the residual."""
    multiplier: float = 1.0
    """What the output is multiplied by before it is added to the residual."""

    @property
    def n_keys(self) -> int:
        """Number of keys: the width of the down projection's input."""
        return self.values.shape[0]

    @property
    def values(self) -> Tensor:
        """Value vectors, [keys, width]: a view of the down projection, so writing to it edits the model."""
        return _rows_by_input(self.down)

    @property
    def writes(self) -> Tensor:
        """What a coefficient of 1 adds to the residual, [keys, width].

        The values, unless the block multiplies them or passes them through a norm, whose scale is left out.
        """
        writes = self.values
        if self.post_norm is not None:
            writes = passed(self.post_norm, writes.to(torch.promote_types(writes.dtype, torch.float32)))
        return writes if self.multiplier == 1 else writes * self.multiplier

    @property
    def keys(self) -> Tensor:
        """Key vectors, [keys, width]; in a gated layer the gate's rows, which decide whether a key fires."""
        return self._halves(_rows_by_output(self._first))[0]

    @property
    def ups(self) -> Tensor | None:
        """Rows of the up projection of a gated layer, [keys, width]."""
        return self._halves(_rows_by_output(self.up))[-1] if self.gate is not None else None

    @property
    def biases(self) -> Tensor | None:
        """Bias of each key, [keys], if the layer has biases."""
        bias = getattr(self._first, "bias", None)
        return self._halves(bias)[0] if isinstance(bias, Tensor) else None

    @property
    def up_biases(self) -> Tensor | None:
        """Bias of each key's up projection in a gated layer, [keys], if it has biases."""
        bias = getattr(self.up, "bias", None)
        return self._halves(bias)[-1] if self.gate is not None and isinstance(bias, Tensor) else None

    @property
    def written_by(self) -> nn.Module:
        """The module whose output, times `multiplier`, is added to the residual."""
        return self.down if self.post_norm is None else self.post_norm

    @property
    def _first(self) -> nn.Module:
        return self.up if self.gate is None else self.gate

    def _halves(self, of_keys: Tensor) -> tuple[Tensor, ...]:
        """Gate and up of one projection that computes both, else the tensor alone."""
        return of_keys.split(self.n_keys) if self.gate is self.up else (of_keys,)


@dataclass(frozen=True, slots=True)
class OtherStack:
    """The stack of an encoder–decoder that is not being read."""

    layers: tuple[FeedForward, ...]
    final_norm: nn.Module
    family: Family


@dataclass(frozen=True)
class CodeModel:
    """A language model in eval mode on one device, with its tokenizer and its feed-forward layers.

    Of an encoder–decoder these are the layers of one stack: `of` gives the same model with those of the other.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    layers: tuple[FeedForward, ...]
    final_norm: nn.Module
    """An identity in models without one."""
    family: Family
    facts: ModelFacts
    other: OtherStack | None = None

    def of(self, stack: Stack) -> "CodeModel":
        """The same encoder–decoder with the layers of one of its stacks."""
        if self.other is None or self.facts.framing is None or stack == self.facts.stack:
            return self
        facts = {
            "stack": stack,
            "n_layers": len(self.other.layers),
            "keys_per_layer": self.facts.other_keys_per_layer,
            "other_keys_per_layer": self.facts.keys_per_layer,
            "bos": self.facts.framing.prefix if stack == "E" else [],
            "undefined": self.other.family.undefined,
        }
        return replace(
            self,
            layers=self.other.layers,
            final_norm=self.other.final_norm,
            family=self.other.family,
            facts=self.facts.model_copy(update=facts),
            other=OtherStack(self.layers, self.final_norm, self.family),
        )

    def reading(self, bos: BosPolicy, task: Task | None = None) -> "CodeModel":
        """The same model with the layers and the tokens in front of a text that a run asks for.

        Raises:
            NoEndOfText: the tokenizer has no end-of-text token.
            TaskUnfit: the model is no encoder–decoder and has a task, or is one and has other tokens in front.
        """
        if self.facts.framing is not None:
            return self._for_task(bos, task)
        if task is not None:
            raise TaskUnfit(
                f"--task {task} is for encoder–decoders, and {self.facts.model_id} has one stack: leave it out"
            )
        if bos == "auto":
            return self
        eos = self.tokenizer.eos_token_id
        if bos == "eos" and not isinstance(eos, int):
            raise NoEndOfText(
                f"the tokenizer of {self.facts.model_id} has no end-of-text token: use --bos auto or --bos none"
            )
        return replace(self, facts=self.facts.model_copy(update={"bos": [eos] if bos == "eos" else []}))

    def _for_task(self, bos: BosPolicy, task: Task | None) -> "CodeModel":
        assert self.facts.framing is not None
        if bos != "auto":
            raise TaskUnfit(
                f"--bos {bos} is for models that read from left to right; the stacks of {self.facts.model_id} have "
                "beginnings of their own: leave it out"
            )
        if task == "denoise" and not self.facts.framing.sentinels:
            raise TaskUnfit(
                f"the tokenizer of {self.facts.model_id} has no <extra_id_0>, which stands for a missing span: use --task continue"
            )
        return self.of("D" if task in ("denoise", "continue") else "E")

    @property
    def every_layer(self) -> tuple[FeedForward, ...]:
        """The layers, and behind them those of an encoder–decoder's other stack."""
        return self.layers if self.other is None else self.layers + self.other.layers

    def number(self, key: KeyId) -> int:
        """Where in `every_layer` a key of either stack is."""
        return key.layer if key.stack == self.facts.stack else len(self.layers) + key.layer

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.layers[0].values.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights; T5's values, and so its coefficients, stay in float32 when the rest is in float16."""
        return self.layers[0].keys.dtype

    @property
    def default_batch(self) -> int:
        """Windows in one forward pass where nobody asks for another number: small on a CPU, where more gain nothing."""
        return 8 if self.device.type == "cpu" else 32

    @property
    def context_length(self) -> int:
        """Most positions the model can attend to."""
        config = self.model.config
        stated = (getattr(config, name, None) for name in _CONTEXT_LENGTHS)
        return next((int(length) for length in stated if length), _UNSTATED_LENGTH)

    @cached_property
    def first_keys(self) -> npt.NDArray[np.int64]:
        """Number of each layer's first key, counted through all layers, and last the number of all keys."""
        return np.concatenate([[0], np.cumsum(self.facts.keys_per_layer)])

    def key_at(self, number: int) -> KeyId:
        """The key with that number, counted through all layers."""
        layer = int(np.searchsorted(self.first_keys, number, side="right")) - 1
        return self.facts.key(layer, number - int(self.first_keys[layer]))

    def head(self, normed: Tensor) -> Tensor:
        """Normed residual to logits, [..., width] → [..., rows of the head]."""
        logits: Tensor = self._embeddings(normed if self._projection is None else self._projection(normed))
        if self.family.divisor != 1:
            logits = logits / self.family.divisor
        cap = self.family.softcap
        return logits if cap is None else torch.tanh(logits / cap) * cap

    @property
    def head_rows(self) -> int:
        """Rows of the head: the tokenizer's tokens and, in many models, padding."""
        weight = self._embeddings.weight
        assert isinstance(weight, Tensor)
        return len(weight)

    @cached_property
    def _embeddings(self) -> nn.Module:
        embeddings: nn.Module = self.model.get_output_embeddings()
        return embeddings

    @cached_property
    def _projection(self) -> nn.Module | None:
        path = self.family.projection
        projection: nn.Module | None = operator.attrgetter(path)(self.model) if path else None
        return projection

    @cached_property
    def unembedding(self) -> Tensor:
        """What each of the tokenizer's tokens reads of the normed residual, [vocabulary, width], in the model's dtype.

        Rows of the head without its padding, times what lies between final norm and logits, a softcap aside.
        """
        weight = self._embeddings.weight
        assert isinstance(weight, Tensor)
        rows = weight.detach()[: self.facts.vocabulary]
        if self._projection is not None:
            narrow = self._projection.weight
            assert isinstance(narrow, Tensor)
            rows = rows @ narrow.detach()
        return rows if self.family.divisor == 1 else rows / self.family.divisor

    @cached_property
    def exact_unembedding(self) -> Tensor:
        """`unembedding` in at least float32: a copy if the model is in half precision."""
        return self.unembedding.to(torch.promote_types(self.unembedding.dtype, torch.float32))

    def run_body(self, token_ids: Tensor, attention_mask: Tensor | None = None, source: Source | None = None) -> Tensor:
        """Run the model without its head: [rows, tokens] → normed residual [rows, tokens, width]. Hooks fire.

        Args:
            token_ids: what the layers read.
            attention_mask: which of them are no padding; needed where later tokens act on earlier ones.
            source: what the encoder beside a decoder reads; otherwise a text of which everything is missing.
        """
        if self.facts.framing is not None:
            return self._run_stack(token_ids, attention_mask, source)
        if self._projection is None:
            output = self.model.base_model(input_ids=token_ids, attention_mask=attention_mask, use_cache=False)
            hidden = output.last_hidden_state
            assert isinstance(hidden, Tensor)
            return hidden
        normed: list[Tensor] = []
        hook = self._projection.register_forward_pre_hook(lambda _module, inputs: normed.append(inputs[0]))
        try:
            self.model.base_model(input_ids=token_ids, attention_mask=attention_mask, use_cache=False)
        finally:
            hook.remove()
        return normed[0]

    def _run_stack(self, token_ids: Tensor, attention_mask: Tensor | None, source: Source | None) -> Tensor:
        if self.facts.stack == "E":
            return self.encode(
                Source(token_ids, torch.ones_like(token_ids) if attention_mask is None else attention_mask)
            )
        source = source or self._blank(len(token_ids))
        output = self.model.get_decoder()(
            input_ids=token_ids,
            attention_mask=attention_mask,
            encoder_hidden_states=self.encode(source),
            encoder_attention_mask=source.attention_mask,
            use_cache=False,
        )
        hidden = output.last_hidden_state
        assert isinstance(hidden, Tensor)
        return hidden

    def encode(self, source: Source) -> Tensor:
        """What the encoder of an encoder–decoder makes of its input, [rows, tokens, width]. Hooks fire."""
        encoder = self.model.get_encoder()
        hidden = encoder(input_ids=source.token_ids, attention_mask=source.attention_mask).last_hidden_state
        assert isinstance(hidden, Tensor)
        return hidden

    def prompted(self, prompts: Sequence[Sequence[int]]) -> Source:
        """Prompts for an encoder–decoder as one batch for its encoder, shorter ones padded on the right."""
        assert self.facts.framing is not None
        framing = self.facts.framing
        return padded([prompted(framing, prompt) for prompt in prompts], framing.padding, self.device)

    def run_after(self, token_ids: Sequence[int], first: int, last: int) -> Tensor:
        """Run the model on a text so that it predicts what follows each of its tokens from `first` to `last`.

        Of an encoder–decoder the text up to each token is a prompt, and the decoder has written nothing yet; to read what
        hooks see, pass it through `after`.
        """
        framing = self.facts.framing
        if framing is None:
            return self.run_body(torch.tensor([token_ids[: last + 1]], device=self.device))
        prompts = [token_ids[: place + 1] for place in range(first, last + 1)]
        written = torch.tensor([opening(framing)] * len(prompts), device=self.device)
        return self.run_body(written, source=self.prompted(prompts))

    def after(self, values: Tensor, first: int) -> Tensor:
        """What belongs to the tokens from `first` on in a pass of `run_after`, [rows, columns, …] → [tokens, …]."""
        return values[0, first:] if self.facts.framing is None else values[:, -1]

    def _blank(self, rows: int) -> Source:
        assert self.facts.framing is not None
        return padded([blank(self.facts.framing)] * rows, self.facts.framing.padding, self.device)

    def logits(self, token_ids: Tensor) -> Tensor:
        """Run the model: [rows, tokens] → [rows, tokens, rows of the head].

        Of an encoder the tokens are those of the decoder that has written nothing yet.
        """
        if self.facts.framing is None:
            logits = self.model(input_ids=token_ids, use_cache=False).logits
        else:
            written = torch.full_like(token_ids[:, :1], self.facts.framing.start)
            source = Source(token_ids, torch.ones_like(token_ids))
            if self.facts.stack == "D":
                written, source = token_ids, self._blank(len(token_ids))
            ids, mask = source
            logits = self.model(input_ids=ids, attention_mask=mask, decoder_input_ids=written, use_cache=False).logits
        assert isinstance(logits, Tensor)
        return logits

    def require(self, question: Question) -> None:
        """Check that the architecture defines the answer to a question.

        Raises:
            UndefinedHere: it does not; the message says why.
        """
        if reason := self.facts.undefined.get(question):
            raise UndefinedHere(f"{_QUESTIONS[question]} {self.facts.model_id}: {reason}")

    def wait(self) -> None:
        """Wait for the device to finish, so a clock read next measures the work and not its launch."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def project(self, vectors: Tensor, normed: bool) -> Tensor:
        """The change of each token's logit by vectors added to the residual, [n, width] → [n, vocabulary].

        Raw: E·v. Normed: L(v) = E(gamma ⊙ center(v)), the exact change, before a softcap, if the scale of the final norm
        is frozen; center subtracts the mean for a LayerNorm and does nothing for an RMSNorm. Biases are left out: they
        belong to no key.
        Half-precision vectors are projected in float32, because rounded logits often tie at the top.
        """
        vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        if normed:
            vectors = passed(self.final_norm, vectors)
        return vectors @ self.exact_unembedding.to(vectors.dtype).T


def _rows_by_input(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.detach() if isinstance(module, Conv1D) else weight.detach().T


def _rows_by_output(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.detach().T if isinstance(module, Conv1D) else weight.detach()
