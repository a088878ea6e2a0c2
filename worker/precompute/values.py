"""The tokens each key's value promotes and suppresses, and statistics of the weights alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from keyscope.contract.runfile import WEIGHT_STATISTICS
from keyscope.worker.model.code_model import CodeModel, FeedForward
from keyscope.worker.model.norms import seen_through

LISTED = 20
"""Promoted, and as many suppressed, tokens stored per key and projection."""
_CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class ValueTokens:
    """Tokens with the highest or lowest logits for each key of a layer; `token_ids` and `logits` are [keys, LISTED]."""

    projection: str
    direction: str
    token_ids: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]


class ValueReader:
    """Projects values into the vocabulary."""

    def __init__(self, model: CodeModel, token_counts: npt.NDArray[np.int64]) -> None:
        """Prepare what all layers share; `token_counts` [vocabulary] are the corpus's."""
        self._model = model
        unembedding = model.exact_unembedding
        self._row_norms = unembedding.norm(dim=1)
        # + 1: a token that never occurs has a logarithm too
        self._centred_frequency = _standardised(torch.from_numpy(np.log(token_counts + 1.0)).float()).to(model.device)
        self._null_space = _weakest_directions(unembedding)
        self._folded = Folded.of(model)

    @torch.no_grad()
    def read(self, layer: FeedForward) -> tuple[list[ValueTokens], dict[str, npt.NDArray[np.float32]]]:
        """Promoted and suppressed tokens of a layer's keys, and the columns of `WEIGHT_STATISTICS`, each [keys].

        In float32 even for half-precision models: their logits have so few digits that top tokens would often tie. No
        tokens and no statistics over the vocabulary of an encoder: what it writes adds to no logit.
        """
        if self._model.facts.stack == "E":
            return [], {name: each.float().cpu().numpy() for name, each in _geometry(layer).items()}
        values = layer.writes.float()
        found: dict[tuple[str, str], list[tuple[Tensor, Tensor]]] = {}
        columns: dict[str, list[Tensor]] = {}
        for chunk in chunks(values, self._model.facts.vocabulary):
            for projection in ("normed", "raw"):
                logits = self._model.project(chunk, normed=projection == "normed")
                for direction in ("promoted", "suppressed"):
                    found.setdefault((projection, direction), []).append(_listed(logits, direction))
                measured = (
                    self._folded.statistics(chunk, logits)
                    if projection == "normed"
                    else self._vocabulary_statistics(chunk, logits)
                )
                for name, column in measured.items():
                    columns.setdefault(name, []).append(column)
        tokens = [
            ValueTokens(projection, direction, _joined(parts, 0), _joined(parts, 1).astype(np.float32))
            for (projection, direction), parts in found.items()
        ]
        statistics = _geometry(layer) | {name: torch.cat(parts) for name, parts in columns.items()}
        return tokens, {
            column.name: statistics[column.name].float().cpu().numpy()
            for column in WEIGHT_STATISTICS
            if column.name in statistics
        }

    def _vocabulary_statistics(self, values: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Moments over the vocabulary and the other statistics of E·v."""
        lengths = values.norm(dim=1).clamp_min(1e-30)  # a value of zeros gets cosines of 0, not NaN
        return cosine_moments(logits, lengths, self._row_norms) | {
            # in logarithms: exp of a raw logit overflows float32 above 88
            "max_probability": (logits.amax(dim=1) - logits.logsumexp(dim=1)).exp(),
            "unigram_correlation": _standardised(logits) @ self._centred_frequency / logits.shape[1],
            "null_share": (values @ self._null_space).norm(dim=1) / lengths,
        }


@dataclass(frozen=True)
class Folded:
    """The basis in which values act on predictions, which is the one the literature measures weights in.

    The final norm takes off a vector's mean, if it is a LayerNorm, and multiplies by its gain; a number added to all
    logits changes no prediction. So the gain is folded into E, whose rows are centred if the norm centres and whose mean
    over the vocabulary is taken off; values are centred if the norm centres. In raw E the moments depend on what
    predictions do not.
    """

    unembedding: Tensor
    """[vocabulary, width]"""
    row_norms: Tensor
    null_space: Tensor
    """[width, 1 % of width], the directions that change predictions least, without the one that the norm takes off."""
    centring: bool

    @classmethod
    def of(cls, model: CodeModel) -> "Folded":
        """Fold the final norm of a model into its output embedding."""
        rows = seen_through(model.final_norm, model.exact_unembedding)
        centring = isinstance(model.final_norm, nn.LayerNorm)
        rows = rows - rows.mean(dim=0)
        return cls(rows, rows.norm(dim=1).clamp_min(1e-30), _weakest_directions(rows, skipped=int(centring)), centring)

    @torch.no_grad()
    def statistics(self, values: Tensor, logits: Tensor | None = None) -> dict[str, Tensor]:
        """The columns of `WEIGHT_STATISTICS` in this basis, each [keys].

        Args:
            values: [keys, width].
            logits: what `CodeModel.project` makes of them, normed, [keys, vocabulary], where that is known already: with
                its mean over the vocabulary taken off it is the product with the centred rows.
        """
        passed = values - values.mean(dim=1, keepdim=True) if self.centring else values
        lengths = passed.norm(dim=1).clamp_min(1e-30)
        turned = passed @ self.unembedding.T if logits is None else logits - logits.mean(dim=1, keepdim=True)
        found = cosine_moments(turned, lengths, self.row_norms)
        return {f"folded_{name}": found[f"vocab_{name}"] for name in ("variance", "skewness", "kurtosis")} | {
            "folded_null_share": (passed @ self.null_space).norm(dim=1) / lengths
        }


def cosine_moments(logits: Tensor, lengths: Tensor, row_norms: Tensor) -> dict[str, Tensor]:
    """Moments over the vocabulary of cos(E, v) (Gurnee et al. 2024, section 4), each [keys].

    Args:
        logits: E·v, [keys, vocabulary].
        lengths: lengths of the values, [keys].
        row_norms: lengths of the rows of E, [vocabulary].
    """
    cosines = logits / (lengths[:, None] * row_norms)
    mean = cosines.mean(dim=1)
    # around the mean: E[c²] - E[c]² cancels in float32 when the mean is large compared with the spread
    distance = cosines - mean[:, None]
    square = distance * distance
    variance = square.mean(dim=1)
    deviation = variance.sqrt().clamp_min(1e-30)
    return {
        "vocab_mean": mean,
        "vocab_variance": variance,
        "vocab_skewness": (square * distance).mean(dim=1) / deviation**3,
        "vocab_kurtosis": (square * square).mean(dim=1) / deviation**4,
    }


def _geometry(layer: FeedForward) -> dict[str, Tensor]:
    """Lengths, biases and cosines of a layer's key and value vectors, each [keys]."""
    keys, values = layer.keys.float(), layer.values.float()
    columns = {
        "norm_key": keys.norm(dim=1),
        "norm_value": values.norm(dim=1),
        "cos_key_value": torch.cosine_similarity(keys, values, dim=1),
    }
    if layer.biases is not None:
        columns["bias"] = layer.biases
    if layer.ups is not None:
        ups = layer.ups.float()
        columns["norm_up"] = ups.norm(dim=1)
        columns["cos_up_value"] = torch.cosine_similarity(ups, values, dim=1)
        columns["cos_gate_up"] = torch.cosine_similarity(keys, ups, dim=1)
    return columns


def _weakest_directions(unembedding: Tensor, skipped: int = 0) -> Tensor:
    """The right singular vectors of E with the smallest singular values, [width, 1 % of width] (Stolfo et al. 2024).

    Computed as eigenvectors of EᵀE, [width, width], which is far smaller than E. Squaring the singular values halves
    their digits, so float64: in float32 the smallest, which are wanted, would be noise. `eigh` sorts ascending; the first
    `skipped` are left out.
    """
    exact = unembedding.double()
    vectors: Tensor = torch.linalg.eigh(exact.T @ exact).eigenvectors
    return vectors[:, skipped : skipped + max(1, round(unembedding.shape[1] / 100))].float()


def _listed(logits: Tensor, direction: str) -> tuple[Tensor, Tensor]:
    listed = logits.topk(min(LISTED, logits.shape[1]), dim=1, largest=direction == "promoted")
    return listed.indices.cpu(), listed.values.cpu()


def _joined(parts: list[tuple[Tensor, Tensor]], which: int) -> npt.NDArray[Any]:
    joined: npt.NDArray[Any] = torch.cat([part[which] for part in parts]).numpy()
    return joined


def _standardised(numbers: Tensor) -> Tensor:
    centred = numbers - numbers.mean(dim=-1, keepdim=True)
    return centred / centred.square().mean(dim=-1, keepdim=True).sqrt().clamp_min(1e-30)


def chunks(values: Tensor, vocabulary: int) -> Iterator[Tensor]:
    """Values [keys, width] in parts whose logits fit into little memory."""
    yield from values.split(max(1, _CHUNK_BYTES // (4 * vocabulary)))
