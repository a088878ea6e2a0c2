"""How far keys belong to one language: by their firing rates, and by how well a file's mean identifies its language."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from keyscope.worker.analysis.concepts.chance import benjamini_hochberg
from keyscope.worker.analysis.firing.settings import FiringSettings

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def entropy(rates: FloatArray) -> FloatArray:
    """Entropy in nats of rates normalised over languages, [keys, languages] → [keys]; NaN if a key never fires."""
    total = rates.sum(axis=1, keepdims=True)
    shares = np.divide(rates, total, out=np.zeros_like(rates), where=total > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.where(total[:, 0] > 0, -(shares * logs).sum(axis=1), np.nan)


def rates_differ(sums: FloatArray, squares: FloatArray, files: IntArray) -> FloatArray:
    """p-values of the hypothesis that all languages have the same mean rate over files, [keys].

    One-way analysis of variance with files as observations. F times (languages - 1) is compared with the χ²
    distribution, its limit for many files: rates per file are far from normal, so the exact F distribution would not be
    exact either.

    Args:
        sums: [keys, languages], rates summed over files.
        squares: [keys, languages], squared rates summed over files.
        files: [languages], number of files.
    """
    n = files.astype(np.float64)
    means = sums / n
    grand = sums.sum(axis=1, keepdims=True) / n.sum()
    between = (n * (means - grand) ** 2).sum(axis=1)
    spread = (squares - n * means**2).sum(axis=1)
    within = spread / max(n.sum() - len(n), 1)
    # the difference of large sums leaves a tiny rest, of either sign, where the true spread is 0
    some = within > 1e-12 * np.maximum(squares.sum(axis=1), 1e-30)
    statistic = np.divide(between, within, out=np.where(between > 0, np.inf, 0.0), where=some)
    half = torch.full((len(statistic),), (len(n) - 1) / 2, dtype=torch.float64)
    chance: FloatArray = torch.special.gammaincc(half, torch.from_numpy(statistic) / 2).numpy()
    return chance


@dataclass(frozen=True)
class Specific:
    """How the rates of firing strongly differ by language; each [keys]."""

    entropy: FloatArray
    p: FloatArray
    """p-value of equal rates in all languages."""
    q: FloatArray
    """The same as a false discovery rate over all keys."""
    language: IntArray
    """The language a key is specific to, -1 for none."""


def specific_languages(
    rates: FloatArray, sums: FloatArray, squares: FloatArray, files: IntArray, settings: FiringSettings
) -> Specific:
    """Find the keys specific to a language; `rates` are over tokens, `sums` and `squares` over rates of files."""
    entropies = entropy(rates)
    p = rates_differ(sums, squares, files)
    q = np.exp(benjamini_hochberg(np.log(np.maximum(p, 1e-300))))
    language = specific(rates, entropies, q, settings.language_share, settings.language_rate, settings.language_q)
    return Specific(entropies, p, q, language)


def specific(
    rates: FloatArray, entropies: FloatArray, q: FloatArray, share: float, rate: float, significant: float
) -> IntArray:
    """The language each key is specific to, -1 for none (language activation probability entropy, Tang et al. 2024).

    Among keys with a rate above the `rate` quantile of all rates, those of lowest entropy, up to `share` of all keys.
    We add that the rates must differ significantly: the rule alone always finds its share, in noise as well.

    Args:
        rates: [keys, languages].
        entropies: [keys], entropy of the rates.
        q: [keys], false discovery rate of a difference between the rates.
        share: share of all keys to take.
        rate: quantile of all rates that a key has to exceed.
        significant: q up to which rates count as different.
    """
    allowed = (rates.max(axis=1) > np.quantile(rates, rate)) & ~np.isnan(entropies)
    lowest = np.argsort(np.where(allowed, entropies, np.inf), kind="stable")[: round(share * len(rates))]
    chosen = np.zeros(len(rates), dtype=bool)
    chosen[lowest] = True
    return np.where(chosen & allowed & (q <= significant), rates.argmax(axis=1), -1)


@dataclass(frozen=True)
class Identification:
    """How well each key identifies each language; each [keys, languages]."""

    fitted: FloatArray
    """F1 on the files that the threshold was chosen on: by it keys are picked."""
    f1: FloatArray
    """F1 on the others: it is reported."""
    threshold: IntArray
    """Bin from which, or below which, a file is taken to be in the language."""
    above: BoolArray


def identify(files: npt.NDArray[Any]) -> Identification:
    """Choose the threshold of best F1 for every key and language on one part of the files, and score it on the other.

    The best of hundreds of thresholds over thousands of keys looks good on the files it was chosen on by luck alone.

    Args:
        files: [2, keys, languages, bins], files of both parts by the bin of the key's mean over the file.
    """
    train, test = (_f1(half) for half in files)
    flat = train.reshape(*train.shape[:2], -1)
    at = flat.argmax(axis=-1)
    return Identification(
        fitted=flat.max(axis=-1),
        f1=np.take_along_axis(test.reshape(flat.shape), at[..., None], axis=-1)[..., 0],
        threshold=at % train.shape[-1],
        above=at < train.shape[-1],
    )


def best(found: Identification) -> tuple[FloatArray, FloatArray]:
    """The key of best fit for each language: its fit and its F1, [languages] each."""
    key = found.fitted.argmax(axis=0)[None]
    return np.take_along_axis(found.fitted, key, 0)[0], np.take_along_axis(found.f1, key, 0)[0]


def best_language(f1: FloatArray) -> IntArray:
    """The language each key identifies best, [keys]."""
    language: IntArray = f1.argmax(axis=1)
    return language


def dealt_anew(files: IntArray, random: np.random.Generator) -> IntArray:
    """Deal the files' means to languages at random, for each key on its own: what chance would give.

    Sizes of halves and languages stay, so draw one language after another from what is left (hypergeometric): the same
    as permuting the files' labels, without going through the files.
    """
    dealt = np.zeros_like(files)
    for half in range(len(files)):
        sizes = files[half, 0].sum(axis=1)
        for key in range(files.shape[1]):
            left = files[half, key].sum(axis=0)
            for language, size in enumerate(sizes[:-1]):
                drawn = random.multivariate_hypergeometric(left, size, method="marginals")
                dealt[half, key, language] = drawn
                left = left - drawn
            dealt[half, key, -1] = left
    return dealt


def _f1(files: npt.NDArray[Any]) -> FloatArray:
    """F1 of predicting a language from each bin upwards, then below it, [keys, languages, 2, bins]."""
    below = np.zeros(files.shape)
    np.cumsum(files[..., :-1], axis=-1, out=below[..., 1:])
    there = (below[..., -1] + files[..., -1])[..., None]
    f1 = np.empty((*files.shape[:2], 2, files.shape[2]))
    # files in no bin give 0/0: at least one file is then taken to be predicted, none of them rightly
    predicted = below.sum(axis=1, keepdims=True)
    np.divide(2 * (there - below), np.maximum(there.sum(axis=1, keepdims=True) - predicted + there, 1), out=f1[:, :, 0])
    np.divide(2 * below, np.maximum(predicted + there, 1), out=f1[:, :, 1])
    return f1
