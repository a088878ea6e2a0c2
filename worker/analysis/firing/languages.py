"""How far keys belong to one language: their rates, and how well one key's mean over a file tells the language."""

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
    """Entropy in nats of the rates' shares over languages, [keys, languages] → [keys]; NaN where a key never fires."""
    total = rates.sum(axis=1, keepdims=True)
    shares = np.divide(rates, total, out=np.zeros_like(rates), where=total > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.where(total[:, 0] > 0, -(shares * logs).sum(axis=1), np.nan)


def rates_differ(sums: FloatArray, squares: FloatArray, files: IntArray) -> FloatArray:
    """p-values of languages having the same mean rate over files, by the spread between files of one language.

    One-way analysis of variance with files as observations; its statistic times (languages − 1) is held against the χ²
    distribution, which it has where there are many files.

    Args:
        sums: [keys, languages], rates summed over files.
        squares: [keys, languages], their squares summed.
        files: [languages], how many there are.
    """
    n = files.astype(np.float64)
    means = sums / n
    grand = sums.sum(axis=1, keepdims=True) / n.sum()
    between = (n * (means - grand) ** 2).sum(axis=1)
    spread = (squares - n * means**2).sum(axis=1)
    within = spread / max(n.sum() - len(n), 1)
    # what rounding leaves of a spread that is none is no spread
    some = within > 1e-12 * np.maximum(squares.sum(axis=1), 1e-30)
    statistic = np.divide(between, within, out=np.where(between > 0, np.inf, 0.0), where=some)
    half = torch.full((len(statistic),), (len(n) - 1) / 2, dtype=torch.float64)
    chance: FloatArray = torch.special.gammaincc(half, torch.from_numpy(statistic) / 2).numpy()
    return chance


@dataclass(frozen=True)
class Specific:
    """How rates of firing strongly by language differ, each [keys]."""

    entropy: FloatArray
    p: FloatArray
    """Chance of rates as far apart in files of one kind."""
    q: FloatArray
    """The same as false discovery rate over all keys."""
    language: IntArray
    """The language that a key is specific to, -1 for none."""


def specific_languages(
    rates: FloatArray, sums: FloatArray, squares: FloatArray, files: IntArray, settings: FiringSettings
) -> Specific:
    """Which of all keys are specific to a language; `rates` over tokens, `sums` and `squares` of rates over files."""
    entropies = entropy(rates)
    p = rates_differ(sums, squares, files)
    q = np.exp(benjamini_hochberg(np.log(np.maximum(p, 1e-300))))
    language = specific(rates, entropies, q, settings.language_share, settings.language_rate, settings.language_q)
    return Specific(entropies, p, q, language)


def specific(
    rates: FloatArray, entropies: FloatArray, q: FloatArray, share: float, rate: float, significant: float
) -> IntArray:
    """The language that each key is specific to, -1 for none (language activation probability entropy, Tang et al. 2024).

    Of keys with a rate over the `rate` quantile of all rates, the `share` of all keys with the lowest entropy; and their
    rates have to differ significantly.

    Args:
        rates: [keys, languages].
        entropies: [keys], of the rates.
        q: [keys], false discovery rates of the rates' difference.
        share: of keys that are taken.
        rate: quantile.
        significant: q up to which rates differ.
    """
    allowed = (rates.max(axis=1) > np.quantile(rates, rate)) & ~np.isnan(entropies)
    lowest = np.argsort(np.where(allowed, entropies, np.inf), kind="stable")[: round(share * len(rates))]
    chosen = np.zeros(len(rates), dtype=bool)
    chosen[lowest] = True
    return np.where(chosen & allowed & (q <= significant), rates.argmax(axis=1), -1)


@dataclass(frozen=True)
class Identification:
    """How well each key tells each language, [keys, languages]."""

    f1: FloatArray
    threshold: IntArray
    """Bin from which, or below which, the language is said."""
    above: BoolArray


def identify(files: npt.NDArray[Any]) -> Identification:
    """Choose for every key and language the threshold with the best F1 on one half of the files, and try it on the other.

    Args:
        files: [2, keys, languages, bins], files of both halves by the bin of the key's mean over the file.
    """
    train, test = (_f1(half) for half in files)
    flat = train.reshape(*train.shape[:2], -1)
    best = flat.argmax(axis=-1)
    return Identification(
        f1=np.take_along_axis(test.reshape(flat.shape), best[..., None], axis=-1)[..., 0],
        threshold=best % train.shape[-1],
        above=best < train.shape[-1],
    )


def best_language(f1: FloatArray) -> IntArray:
    """The language each key tells best, [keys]."""
    best: IntArray = f1.argmax(axis=1)
    return best


def dealt_anew(files: IntArray, random: np.random.Generator) -> IntArray:
    """The same files with languages dealt to them at random, for each key by itself: what chance would have given."""
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
    """F1 of saying a language from each bin upwards, then below it, [keys, languages, bins] → [keys, languages, 2, bins]."""
    total = files.sum(axis=1, keepdims=True)
    above = [np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1] for counts in (files, total)]
    below = [counts.sum(axis=-1, keepdims=True) - found for counts, found in zip((files, total), above, strict=True)]
    right = np.stack([above[0], below[0]], axis=2).astype(np.float64)
    said = np.stack([above[1].repeat(files.shape[1], 1), below[1].repeat(files.shape[1], 1)], axis=2)
    there = files.sum(axis=-1)[:, :, None, None]
    f1: FloatArray = np.divide(2 * right, said + there, out=np.zeros_like(right), where=said + there > 0)
    return f1
