"""Keys judged by weights alone: their class by the cosines of values with the vocabulary, their effect on tokens."""

from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.analysis.firing.settings import FiringSettings
from keyscope.worker.model.code_model import CodeModel, FeedForward
from keyscope.worker.model.norms import passed
from keyscope.worker.precompute.values import Folded, chunks, cosine_moments

FloatArray = npt.NDArray[np.float64]
_CHUNK_BYTES = 64 << 20
BASES = ("folded", "raw")
"""Fields of `Weights` with moments to classify keys by."""
_MOMENTS = ("variance", "skewness", "kurtosis")
_COLUMNS = ("norm_value", *(f"vocab_{name}" for name in _MOMENTS), "cos_key_value", "cos_up_value", "dead")
_WEIGHTS = f'SELECT {", ".join(_COLUMNS)} FROM keys WHERE layer = ? ORDER BY "index"'  # noqa: S608 - our own names


@dataclass(frozen=True)
class Moments:
    """Moments over the vocabulary of cosines of a layer's values with the output embedding, each [keys]."""

    variance: FloatArray
    skewness: FloatArray
    kurtosis: FloatArray


@dataclass(frozen=True)
class Weights:
    """Statistics of a layer's weights, each [keys]; NaN for missing ones."""

    norm_value: FloatArray
    raw: Moments
    folded: Moments
    """With the final norm folded in, which is what the thresholds of the literature are for."""
    cos_key_value: FloatArray
    cos_up_value: FloatArray
    dead: npt.NDArray[np.bool_]


def read_weights(connection: duckdb.DuckDBPyConnection, folded: Folded, layer: FeedForward) -> Weights:
    """Read the statistics of a layer from the run file; the folded moments, which older files lack, from the weights."""
    found = connection.cursor().execute(_WEIGHTS, [layer.layer]).fetchnumpy()
    numbers = {name: np.ma.filled(found[name].astype(np.float64), np.nan) for name in _COLUMNS[:-1]}
    return Weights(
        norm_value=numbers["norm_value"],
        raw=Moments(*(numbers[f"vocab_{name}"] for name in _MOMENTS)),
        folded=_folded_moments(folded, layer.writes.float()),
        cos_key_value=numbers["cos_key_value"],
        cos_up_value=numbers["cos_up_value"],
        dead=np.asarray(found["dead"], bool),
    )


def _folded_moments(folded: Folded, values: Tensor) -> Moments:
    found = [folded.statistics(chunk) for chunk in chunks(values, len(folded.row_norms))]
    return Moments(*(torch.cat([each[f"folded_{name}"] for each in found]).double().cpu().numpy() for name in _MOMENTS))


def classes(
    moments: Moments, lengths: FloatArray, last_layers: bool, longest: float, settings: FiringSettings
) -> npt.NDArray[np.str_]:
    """Classify keys as prediction, suppression, entropy or nothing, [keys] (Gurnee et al. 2024, section 5).

    Args:
        moments: of the keys, in the basis to classify in.
        lengths: lengths of the values, [keys].
        last_layers: whether the layer is among those that can have entropy keys.
        longest: length above which a value is long.
        settings: the thresholds.
    """
    narrow = moments.kurtosis > settings.class_kurtosis
    flat = (moments.variance <= settings.entropy_variance) & (moments.kurtosis <= settings.entropy_kurtosis)
    return np.select(
        [
            narrow & (moments.skewness > 0),
            narrow & (moments.skewness < 0),
            flat & (lengths > longest) & last_layers,
        ],
        ["prediction", "suppression", "entropy"],
        default="",
    )


@torch.no_grad()
def gaussian_weights(model: CodeModel, folded: Folded, layer: FeedForward, settings: FiringSettings) -> Weights:
    """Statistics of random values with the layer's mean and variance in each dimension: the control for `classes`.

    The vocabulary is not isotropic, so even random vectors have a kurtosis; this shows how often that alone makes a
    class.
    """
    values = layer.writes.float()
    generator = torch.Generator().manual_seed(settings.seed + layer.layer)
    n = min(settings.gaussian_values, len(values))
    noise = torch.randn(n, values.shape[1], generator=generator).to(values.device)
    drawn = values.mean(dim=0) + noise * values.std(dim=0)
    row_norms = model.exact_unembedding.norm(dim=1)
    moments: dict[str, list[Tensor]] = {}
    for chunk in chunks(drawn, len(row_norms)):
        found = cosine_moments(model.project(chunk, normed=False), chunk.norm(dim=1), row_norms)
        for name, column in found.items():
            moments.setdefault(name, []).append(column)
    columns = {name: torch.cat(moments[name]).double().cpu().numpy() for name in moments}
    nothing = np.full(n, np.nan)
    return Weights(
        norm_value=drawn.norm(dim=1).double().cpu().numpy(),
        raw=Moments(*(columns[f"vocab_{name}"] for name in _MOMENTS)),
        folded=_folded_moments(folded, drawn),
        cos_key_value=nothing,
        cos_up_value=nothing,
        dead=np.zeros(n, dtype=bool),
    )


def own_logits(model: CodeModel, layer: FeedForward, tokens: npt.NDArray[np.int64]) -> FloatArray:
    """`token_logits` averaged over each key's tokens, [keys]; NaN for a key without any."""
    logits = token_logits(model, layer, tokens)
    there = ~np.isnan(logits)
    mean = np.full(len(logits), np.nan)
    np.divide(np.where(there, logits, 0).sum(axis=1), there.sum(axis=1), out=mean, where=there.any(axis=1))
    return mean


@torch.no_grad()
def token_logits(model: CodeModel, layer: FeedForward, tokens: npt.NDArray[np.int64]) -> FloatArray:
    """L(v) at each key's tokens less its mean over all tokens, [keys, tokens]; NaN for no token.

    Only differences of logits matter to the softmax: a value that raises all tokens alike promotes none. The logits of
    the few tokens wanted are computed as dot products, since [keys, vocabulary] would not fit.

    Args:
        model: the model.
        layer: the layer.
        tokens: [keys, tokens], token ids, -1 for none.
    """
    values = passed(model.final_norm, layer.writes.float())
    rows = model.exact_unembedding
    chosen = torch.from_numpy(tokens).to(values.device)
    there = chosen >= 0
    per_token = torch.empty(chosen.shape, device=values.device)
    size = max(1, _CHUNK_BYTES // (4 * values.shape[1] * max(1, chosen.shape[1])))
    for start in range(0, len(values), size):
        part = slice(start, start + size)
        per_token[part] = torch.einsum("kw,ktw->kt", values[part], rows[chosen[part].clamp_min(0)])
    centred = torch.where(there, per_token - (values @ rows.mean(dim=0))[:, None], torch.nan)
    logits: FloatArray = centred.double().cpu().numpy()
    return logits
