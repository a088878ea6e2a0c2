"""What follows for every key from the counts and from the weights."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.firing import languages, positions
from keyscope.worker.analysis.firing.corpus import Corpus, Counted
from keyscope.worker.analysis.firing.counting import LEVELS
from keyscope.worker.analysis.firing.detectors import detected, occurrences_of
from keyscope.worker.analysis.firing.settings import FiringSettings
from keyscope.worker.analysis.firing.weights import BASES, Weights, classes, gaussian_weights, own_logits, read_weights
from keyscope.worker.precompute.values import Folded

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Keys:
    """The measures of every key, keys numbered through all layers."""

    def __init__(self, corpus: Corpus, counted: Counted, settings: FiringSettings) -> None:
        self.corpus, self.counted, self.settings = corpus, counted, settings
        buckets = len(counted.in_bucket) // 2
        self.information, self.shifted_information = (
            positions.mutual_information(counted.positions[..., part], counted.in_bucket[part])
            for part in (slice(buckets), slice(buckets, None))
        )
        self.position_rates = counted.positions[:, :, :buckets] / np.maximum(counted.in_bucket[:buckets], 1)
        self.strong_rates = (counted.totals[:, LEVELS.index("strong")] / np.maximum(corpus.tokens, 1)[:, None]).T
        self.candidates = np.concatenate(corpus.candidates)
        fired = counted.totals.sum(axis=0)
        there = occurrences_of(self.candidates, corpus.occurrences)
        self.detects: BoolArray = detected(counted.tokens, fired, there, settings)
        self.totals = fired
        self._of_languages()
        self._of_weights()

    def parts(self) -> list[slice]:
        """The slice of each layer's keys."""
        return [slice(first, last) for first, last in pairwise(self.corpus.subject.model.first_keys.tolist())]

    @property
    def several(self) -> bool:
        """Whether there are several languages to tell apart."""
        return len(self.corpus.names) > 1

    def _of_languages(self) -> None:
        if self.several:
            sums, squares = self.counted.rates[:, 0].T, self.counted.rates[:, 1].T
            self.specific = languages.specific_languages(
                self.strong_rates, sums, squares, self.corpus.files, self.settings
            )
        else:
            none = np.full(len(self.candidates), np.nan)
            self.specific = languages.Specific(languages.entropy(self.strong_rates), none, none, np.full(len(none), -1))

    def _of_weights(self) -> None:
        model, settings = self.corpus.subject.model, self.settings
        self.weights: list[Weights] = []
        self.gaussian_classes: list[dict[str, npt.NDArray[np.str_]]] = []
        """By basis, of each layer."""
        kinds: dict[str, list[npt.NDArray[np.str_]]] = {basis: [] for basis in BASES}
        own, other = [], []
        folded = Folded.of(model)
        for layer, tokens in zip(model.layers, self.corpus.candidates, strict=True):
            weights = read_weights(self.corpus.subject.connection, folded, layer)
            last = layer.layer >= len(model.layers) - settings.entropy_layers
            longest = float(np.quantile(weights.norm_value, settings.entropy_length))
            control = gaussian_weights(model, folded, layer, settings)
            judged = [
                {basis: classes(getattr(each, basis), each.norm_value, last, longest, settings) for basis in BASES}
                for each in (weights, control)
            ]
            for basis, found in judged[0].items():
                kinds[basis].append(found)
            self.gaussian_classes.append(judged[1])
            top = tokens[:, : settings.detected_tokens]
            own.append(own_logits(model, layer, top))
            other.append(own_logits(model, layer, np.roll(top, 1, axis=0)))
            self.weights.append(weights)
        self.classes = {basis: np.concatenate(found) for basis, found in kinds.items()}
        self.own_logits, self.other_logits = np.concatenate(own), np.concatenate(other)

    def identification(self, part: slice) -> languages.Identification:
        """How well keys identify languages."""
        return languages.identify(self._means(part))

    def by_chance(self, part: slice, layer: int) -> languages.Identification:
        """The same by chance: each key's file means dealt to the files at random."""
        random = np.random.default_rng([self.settings.seed, layer])
        return languages.identify(languages.dealt_anew(self._means(part), random))

    def _means(self, part: slice) -> IntArray:
        return self.counted.means[:, :, part].astype(np.int64).transpose(1, 2, 0, 3)

    def first_level(self, part: slice) -> IntArray:
        """The lowest level at which each key detects tokens, [keys]; -1 if there is none."""
        some: BoolArray = np.any(self.detects[:, part], axis=2)
        return np.where(np.any(some, axis=0), some.argmax(axis=0), -1)
