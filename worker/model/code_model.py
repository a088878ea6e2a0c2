"""A loaded code language model with its feed-forward layers laid open."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from keyscope.contract.manifest import ModelFacts
from keyscope.worker.model.families import Family


@dataclass(frozen=True, slots=True)
class FeedForward:
    """One layer's key-value memory."""

    layer: int
    block: nn.Module
    norm: nn.Module
    up: nn.Module
    gate: nn.Module | None
    down: nn.Module

    @property
    def n_keys(self) -> int:
        """Keys of this layer: the width of the down projection's input."""
        return self.values.shape[0]

    @property
    def values(self) -> Tensor:
        """Value vectors, [keys, width]: a view of the down projection, so writing to it edits the model."""
        return _rows_by_input(self.down)

    @property
    def keys(self) -> Tensor:
        """Key vectors, [keys, width]; of a gated layer those of the gate, which decides whether a key fires."""
        return _rows_by_output(self.gate if self.gate is not None else self.up)

    @property
    def ups(self) -> Tensor | None:
        """Rows of the up projection of a gated layer, [keys, width]."""
        return _rows_by_output(self.up) if self.gate is not None else None

    @property
    def biases(self) -> Tensor | None:
        """Bias of each key, [keys], where the layer has one."""
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

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.layers[0].values.device

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the weights, and so of the coefficients."""
        return self.layers[0].values.dtype

    @property
    def default_batch(self) -> int:
        """Windows in one forward pass where nobody asks for another number: small on a CPU, where more gain nothing."""
        return 8 if self.device.type == "cpu" else 32

    @property
    def context_length(self) -> int:
        """Positions the model can attend to."""
        config = self.model.config
        return int(getattr(config, "max_position_embeddings", None) or config.n_positions)

    @cached_property
    def first_keys(self) -> npt.NDArray[np.int64]:
        """Number of each layer's first key when keys are counted through all layers, and how many there are in all."""
        return np.concatenate([[0], np.cumsum(self.facts.keys_per_layer)])

    @cached_property
    def head(self) -> nn.Module:
        """The output embedding, from normed residual to logits."""
        head: nn.Module = self.model.get_output_embeddings()
        return head

    @cached_property
    def unembedding(self) -> Tensor:
        """Rows of the head for tokens the tokenizer knows, [vocabulary, width]; padding rows are cut off."""
        weight = self.head.weight
        assert isinstance(weight, Tensor)
        return weight.detach()[: self.facts.vocabulary]

    @cached_property
    def exact_unembedding(self) -> Tensor:
        """The same in float32 at least, a copy where the model is in half precision."""
        return self.unembedding.to(torch.promote_types(self.unembedding.dtype, torch.float32))

    def run_body(self, token_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Forward without the head: [rows, tokens] → normed residual [rows, tokens, width]. Hooks fire on the way."""
        output = self.model.base_model(input_ids=token_ids, attention_mask=attention_mask, use_cache=False)
        hidden = output.last_hidden_state
        assert isinstance(hidden, Tensor)
        return hidden

    def logits(self, token_ids: Tensor) -> Tensor:
        """[rows, tokens] → [rows, tokens, rows of the head]."""
        logits = self.model(input_ids=token_ids, use_cache=False).logits
        assert isinstance(logits, Tensor)
        return logits

    def wait(self) -> None:
        """Until the device has done all that it was asked, for a clock that is read next."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def project(self, vectors: Tensor, normed: bool) -> Tensor:
        """What vectors added to the residual do to each token's logit, [n, width] → [n, vocabulary].

        Raw: E·v. Normed: L(v) = E(gamma ⊙ center(v)), the exact change at a frozen scale of the final norm; center
        subtracts the mean for a LayerNorm and does nothing for an RMSNorm. Biases stay out, they belong to no key.
        Vectors in half precision are projected in float32, for rounded logits have many a tie on top.
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
