"""A loaded code language model and its feed-forward layers."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import BosPolicy, ModelFacts
from keyscope.worker.model.errors import NoEndOfText
from keyscope.worker.model.families import Family


@dataclass(frozen=True, slots=True)
class FeedForward:
    """The key-value memory of one layer."""

    layer: int
    block: nn.Module
    norm: nn.Module
    up: nn.Module
    gate: nn.Module | None
    down: nn.Module

    @property
    def n_keys(self) -> int:
        """Number of keys: the width of the down projection's input."""
        return self.values.shape[0]

    @property
    def values(self) -> Tensor:
        """Value vectors, [keys, width]: a view of the down projection, so writing to it edits the model."""
        return _rows_by_input(self.down)

    @property
    def keys(self) -> Tensor:
        """Key vectors, [keys, width]; in a gated layer the gate's rows, which decide whether a key fires."""
        return _rows_by_output(self.gate if self.gate is not None else self.up)

    @property
    def ups(self) -> Tensor | None:
        """Rows of the up projection of a gated layer, [keys, width]."""
        return _rows_by_output(self.up) if self.gate is not None else None

    @property
    def biases(self) -> Tensor | None:
        """Bias of each key, [keys], if the layer has biases."""
        bias = getattr(self.gate if self.gate is not None else self.up, "bias", None)
        return bias if isinstance(bias, Tensor) else None


@dataclass(frozen=True)
class CodeModel:
    """A causal language model in eval mode on one device, with its tokenizer and its feed-forward layers."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    layers: tuple[FeedForward, ...]
    final_norm: nn.Module
    family: Family
    facts: ModelFacts

    def reading(self, bos: BosPolicy) -> "CodeModel":
        """The same model with the tokens in front of a text that a run asks for.

        Raises:
            NoEndOfText: the tokenizer has no end-of-text token.
        """
        if bos == "auto":
            return self
        eos = self.tokenizer.eos_token_id
        if bos == "eos" and not isinstance(eos, int):
            raise NoEndOfText(
                f"the tokenizer of {self.facts.model_id} has no end-of-text token: use --bos auto or --bos none"
            )
        return replace(self, facts=self.facts.model_copy(update={"bos": [eos] if bos == "eos" else []}))

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.layers[0].values.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights, and so of the coefficients."""
        return self.layers[0].values.dtype

    @property
    def default_batch(self) -> int:
        """Windows in one forward pass where nobody asks for another number: small on a CPU, where more gain nothing."""
        return 8 if self.device.type == "cpu" else 32

    @property
    def context_length(self) -> int:
        """Most positions the model can attend to."""
        config = self.model.config
        return int(getattr(config, "max_position_embeddings", None) or config.n_positions)

    @cached_property
    def first_keys(self) -> npt.NDArray[np.int64]:
        """Number of each layer's first key, counted through all layers, and last the number of all keys."""
        return np.concatenate([[0], np.cumsum(self.facts.keys_per_layer)])

    def key_at(self, number: int) -> KeyId:
        """The key with that number, counted through all layers."""
        layer = int(np.searchsorted(self.first_keys, number, side="right")) - 1
        return KeyId(layer, number - int(self.first_keys[layer]))

    @cached_property
    def head(self) -> nn.Module:
        """The output embedding: normed residual to logits."""
        head: nn.Module = self.model.get_output_embeddings()
        return head

    @cached_property
    def unembedding(self) -> Tensor:
        """Rows of the head for the tokenizer's tokens, [vocabulary, width], without padding rows."""
        weight = self.head.weight
        assert isinstance(weight, Tensor)
        return weight.detach()[: self.facts.vocabulary]

    @cached_property
    def exact_unembedding(self) -> Tensor:
        """`unembedding` in at least float32: a copy if the model is in half precision."""
        return self.unembedding.to(torch.promote_types(self.unembedding.dtype, torch.float32))

    def run_body(self, token_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Run the model without its head: [rows, tokens] → normed residual [rows, tokens, width]. Hooks fire."""
        output = self.model.base_model(input_ids=token_ids, attention_mask=attention_mask, use_cache=False)
        hidden = output.last_hidden_state
        assert isinstance(hidden, Tensor)
        return hidden

    def logits(self, token_ids: Tensor) -> Tensor:
        """Run the model: [rows, tokens] → [rows, tokens, rows of the head]."""
        logits = self.model(input_ids=token_ids, use_cache=False).logits
        assert isinstance(logits, Tensor)
        return logits

    def wait(self) -> None:
        """Wait for the device to finish, so a clock read next measures the work and not its launch."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def project(self, vectors: Tensor, normed: bool) -> Tensor:
        """The change of each token's logit by vectors added to the residual, [n, width] → [n, vocabulary].

        Raw: E·v. Normed: L(v) = E(gamma ⊙ center(v)), the exact change if the scale of the final norm is frozen; center
        subtracts the mean for a LayerNorm and does nothing for an RMSNorm. Biases are left out: they belong to no key.
        Half-precision vectors are projected in float32, because rounded logits often tie at the top.
        """
        vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        if normed:
            gain = self.final_norm.weight
            assert isinstance(gain, Tensor)
            if isinstance(self.final_norm, nn.LayerNorm):
                vectors = vectors - vectors.mean(dim=-1, keepdim=True)
            vectors = vectors * gain.detach().to(vectors.dtype)
        return vectors @ self.exact_unembedding.to(vectors.dtype).T


def _rows_by_input(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.detach() if isinstance(module, Conv1D) else weight.detach().T


def _rows_by_output(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.detach().T if isinstance(module, Conv1D) else weight.detach()
