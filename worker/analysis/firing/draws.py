"""The measures of a layer recomputed over every draw of blocks, by the rules that give the estimates.

A share of keys that pass a threshold is not a ratio of sums over files, so its interval cannot come from resampled
numerators: in each draw the counts are summed anew, every key is judged anew, and the keys that pass are counted.
Numerator and denominator are kept apart, because groups of layers add them up before dividing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.draws import spread_about, widening
from keyscope.worker.analysis.firing import languages
from keyscope.worker.analysis.firing.blocks import Blocks
from keyscope.worker.analysis.firing.counting import LEVELS, of_layer
from keyscope.worker.analysis.firing.detectors import detected, occurrences_of
from keyscope.worker.analysis.firing.own_tokens import OwnTokens, mean_logits
from keyscope.worker.analysis.firing.positions import mutual_information
from keyscope.worker.analysis.firing.settings import FiringSettings

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Which = tuple[str, str, str]
"""Measure, control and part, as in the table by layer."""


class Ends(NamedTuple):
    """An interval as the columns of a row; NaN without one."""

    low: float
    high: float
    files: float
    projects: float


NO_ENDS = Ends(np.nan, np.nan, np.nan, np.nan)
Drawn = Mapping[Which, FloatArray]
"""Numerator and denominator of each measure in every draw: [2, draws] of one layer, [2, layers, draws] of all.

The denominator of a measure in HIGHEST is the fit, which decides among layers."""
POSITIONAL = ("positional", "positional_strong")
DETECTORS = ("detectors", "detectors_strong", "detectors_peak")
_NAMES, _DRAWN, _TOKENS = "names", "drawn", "detected"


def draw_layer(
    blocks: Blocks, layer: int, candidates: IntArray, own: OwnTokens, names: Sequence[str], settings: FiringSettings
) -> Arrays:
    """Recompute every measure of a layer that needs no other layer, and the tokens it detects in each draw.

    Args:
        blocks: the counts.
        layer: the layer.
        candidates: its candidate tokens, [keys, candidates].
        own: the tokens its keys fire on most.
        names: names of the languages.
        settings: the thresholds.
    """
    detecting, tokens = _detecting(blocks, layer, candidates, own, settings)
    of_keys = _dead(blocks, layer) | _positional(blocks, layer, settings)
    if blocks.tell_languages:
        of_keys |= _telling(blocks, layer, names, settings)
    return {**_arrays(of_keys | detecting), _TOKENS: tokens}


def draw_languages(blocks: Blocks, sizes: Sequence[int], names: Sequence[str], settings: FiringSettings) -> Arrays:
    """Recompute the shares of keys specific to a language, which are chosen among the keys of all layers.

    One draw at a time: the rule takes a quantile and a false discovery rate over all keys, and the rates of all keys in
    all draws at once would not fit in memory.
    """
    layers = range(len(sizes))
    strong, rates = (
        np.concatenate([blocks.counted(of_layer(name, layer)) for layer in layers], axis=-1).astype(np.float64)
        for name in ("totals", "rates")
    )
    strong = strong[:, LEVELS.index("strong")]
    tokens, files = blocks.draw_languages(blocks.tokens), blocks.draw_languages(blocks.files)
    found = np.empty((1 + len(names), 2, len(sizes), len(blocks.times)))
    for draw in range(len(blocks.times)):
        of_draw = slice(draw, draw + 1)
        by_language = (blocks.draw_languages(strong, of_draw)[0] / np.maximum(tokens[draw], 1)[:, None]).T
        sums, squares = blocks.draw_languages(rates, of_draw)[0].transpose(1, 2, 0)
        specific = languages.specific_languages(by_language, sums, squares, files[draw].astype(np.int64), settings)
        for layer, of_keys in enumerate(np.split(specific.language, np.cumsum(sizes)[:-1])):
            counts = np.bincount(of_keys[of_keys >= 0], minlength=len(names))
            found[:, 0, layer, draw] = [counts.sum(), *counts]
            found[:, 1, layer, draw] = len(of_keys)
    return _arrays({("language", "", part): each for part, each in zip(("", *names), found, strict=True)})


def read_draws(arrays: Arrays) -> Drawn:
    """Read the draws that a step kept."""
    return {
        (str(measure), str(control), str(part)): drawn
        for (measure, control, part), drawn in zip(arrays[_NAMES], arrays[_DRAWN], strict=True)
    }


def draw_tokens(by_layer: Sequence[Arrays], draws: int, vocabulary: int) -> Drawn:
    """How many tokens each layer detects, and how many of these no layer below detects, in every draw.

    A token is new relative to the layers below in the same draw, so all layers are gone through in order.
    """
    seen = np.zeros(draws * vocabulary, dtype=bool)
    tokens, new = np.zeros((2, len(by_layer), draws))
    for layer, arrays in enumerate(by_layer):
        found = arrays[_TOKENS]
        tokens[layer] = np.bincount(found // vocabulary, minlength=draws)
        new[layer] = np.bincount(found[~seen[found]] // vocabulary, minlength=draws)
        seen[found] = True
    return {("tokens", "", ""): _of(1, tokens), ("new_tokens", "", ""): np.stack([new, tokens])}


@dataclass(frozen=True)
class Draws:
    """Every measure over the draws of a corpus, and what was drawn from."""

    drawn: Drawn
    tokens: IntArray
    """[blocks], tokens of each block."""
    files: int
    projects: int | None
    """None if files were drawn."""

    def of(self, measure: str, control: str, part: str) -> FloatArray | None:
        """Numerator and denominator of a measure, [2, layers, draws]; None if it was not drawn."""
        return self.drawn.get((measure, control, part))

    def ends(self, measure: str, estimate: float, drawn: FloatArray | None) -> Ends:
        """The interval of a measure from its draws, [draws], cut to the range it can take; NaN without draws."""
        if drawn is None:
            return NO_ENDS
        projects = np.nan if self.projects is None else self.projects
        # laid around the estimate, an interval may reach beyond what a share can be
        highest = np.inf if measure == "tokens" else 1
        found = spread_about(estimate, drawn, widening(self.tokens), projects).within(0, highest)
        return Ends(float(found.low), float(found.high), self.files, projects)


def _of(denominator: int, numerators: FloatArray) -> FloatArray:
    return np.stack([numerators, np.full_like(numerators, denominator)])


def _arrays(drawn: Drawn) -> Arrays:
    return {_NAMES: np.array(list(drawn)), _DRAWN: np.stack(list(drawn.values()))}


def _dead(blocks: Blocks, layer: int) -> dict[Which, FloatArray]:
    fires = blocks.counted(of_layer("totals", layer))[:, LEVELS.index("fires")] > 0
    return {("dead", "", ""): _of(fires.shape[1], (blocks.draw(fires) == 0).sum(axis=1).astype(np.float64))}


def _positional(blocks: Blocks, layer: int, settings: FiringSettings) -> dict[Which, FloatArray]:
    counts, in_bucket = blocks.counted(of_layer("positions", layer)), blocks.draw(blocks.counted("in_bucket"))
    keys, buckets = counts.shape[2], counts.shape[3] // 2
    found = {(name, control, ""): np.zeros(len(in_bucket)) for name in POSITIONAL for control in ("", "shifted")}
    for part in blocks.parts(keys, counts.shape[1] * counts.shape[3]):
        drawn = blocks.draw(counts[:, :, part])
        for control, of in (("", slice(buckets)), ("shifted", slice(buckets, None))):
            information = mutual_information(drawn[..., of], in_bucket[:, None, None, of])
            positional = (information > settings.position_information).sum(axis=2)
            for name, n in zip(POSITIONAL, positional.T, strict=True):
                found[name, control, ""] += n
    return {which: _of(keys, counts_of) for which, counts_of in found.items()}


def _detecting(
    blocks: Blocks, layer: int, candidates: IntArray, own: OwnTokens, settings: FiringSettings
) -> tuple[dict[Which, FloatArray], IntArray]:
    """Shares of detectors and of keys that suppress their tokens; and detected tokens, as draw * vocabulary + token.

    The control `dealt` pairs each key with the tokens of the key before it: as common, but not its own.
    """
    counts, totals = blocks.counted(of_layer("tokens", layer)), blocks.counted(of_layer("totals", layer))
    keys, most, draws = len(candidates), settings.detected_tokens, len(blocks.times)
    vocabulary = blocks.occurrences.shape[1]
    detecting = np.zeros((len(DETECTORS), draws))
    lowering = {control: np.zeros((2, 2, draws)) for control in ("", "dealt")}
    tokens = []
    for part in blocks.parts(keys, max(counts[0, :, 0].size, own.logits.shape[1])):
        there = blocks.draw(occurrences_of(candidates[part], blocks.occurrences))
        detects = detected(blocks.draw(counts[:, :, part]), blocks.draw(totals[:, :, part]), there[:, None], settings)
        detecting += detects.any(axis=-1).sum(axis=2).T
        at_any_level: BoolArray = np.any(detects, axis=1)
        draw, key, place = np.nonzero(at_any_level)
        tokens.append(np.unique(draw * vocabulary + candidates[part][key, place]))
        detectors: BoolArray = np.any(at_any_level, axis=-1)
        for control, logits, shift in (("", own.logits, 0), ("dealt", own.others, 1)):
            of_keys = np.arange(part.start, part.stop) - shift
            mean = mean_logits(blocks.draw(own.counts[:, of_keys]), logits[part], most)
            for number, among in enumerate((~np.isnan(mean), ~np.isnan(mean) & detectors)):
                lowering[control][number] += [(among & (mean < 0)).sum(axis=1), among.sum(axis=1)]
    found: dict[Which, FloatArray] = {
        (name, "", ""): _of(keys, counts_of) for name, counts_of in zip(DETECTORS, detecting, strict=True)
    }
    for control, numbers in lowering.items():
        for name, lower_of_all in zip(("suppressing", "suppressing_detectors"), numbers, strict=True):
            found[name, control, ""] = lower_of_all
    return found, np.unique(np.concatenate(tokens))


def _telling(blocks: Blocks, layer: int, names: Sequence[str], settings: FiringSettings) -> dict[Which, FloatArray]:
    counts = blocks.counted(of_layer("means", layer))
    # a bin without any file gives the same threshold as its neighbour, so dropping it changes nothing but the cost
    counts = counts[..., counts.any(axis=(0, 1, 2))]
    keys, draws = counts.shape[2], len(blocks.times)
    telling, best = np.zeros(draws), np.zeros((2, draws, len(names)))
    for part in blocks.parts(keys, 4 * len(names) * counts.shape[3]):
        drawn = blocks.draw_languages(counts[:, :, part])
        files = drawn.transpose(2, 0, 3, 1, 4).reshape(2, -1, len(names), counts.shape[3])
        found = languages.identify(files)
        both = np.stack([found.fitted, found.f1]).reshape(2, draws, -1, len(names))
        telling += (both[1].max(axis=2) >= settings.identifying_f1).sum(axis=1)
        best = _fittest(np.concatenate([best[:, :, None], both], axis=2), 2)
    highest = {"": _fittest(best, 2), **{name: best[..., number] for number, name in enumerate(names)}}
    return {
        ("language_id", "", ""): _of(keys, telling),
        **{("best_f1", "", part): np.stack([fit * f1, fit]) for part, (fit, f1) in highest.items()},
    }


def _fittest(both: FloatArray, axis: int) -> FloatArray:
    """Fit and F1 of what fits best along an axis."""
    chosen = np.expand_dims(both[0].argmax(axis=axis - 1), (0, axis))
    return np.take_along_axis(both, chosen, axis).squeeze(axis)
