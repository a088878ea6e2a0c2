"""From the counts to rows: of every key, and of every layer with its controls."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contract import bins
from contract.analyses.firing import TABLES
from worker.analysis.bootstrap import ratio_interval
from worker.analysis.concepts.chance import benjamini_hochberg
from worker.analysis.firing import languages, positions
from worker.analysis.firing.counting import LEVELS
from worker.analysis.firing.detectors import detected, new_tokens
from worker.analysis.firing.levels import Levels
from worker.analysis.firing.settings import FiringSettings
from worker.analysis.firing.weights import Weights, classes, gaussian_weights, own_logits, read_weights
from worker.analysis.subject import Subject
from worker.rows import Columns, insert

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_KEYS, _LANGUAGES, _POSITIONS, _BUCKETS, _DETECTORS, _LAYERS = TABLES
_EDGES = np.array(bins.edges())


@dataclass(frozen=True)
class Counted:
    """Counts over the whole corpus; keys of all layers together."""

    positions: IntArray
    """[2 levels, keys, 2 * buckets], by bucket and by shifted bucket."""
    in_bucket: IntArray
    """[2 * buckets], tokens."""
    totals: IntArray
    """[languages, levels, keys], tokens on which each key fires."""
    tokens: IntArray
    """[levels, keys, candidates], those of them on each candidate."""
    means: IntArray
    """[languages, 2, keys, bins], files of each half by the bin of the key's mean."""
    rates: FloatArray
    """[languages, 2, keys], rates of firing strongly summed over files, and their squares."""
    files: IntArray
    file_tokens: IntArray
    """[files]"""
    file_fires: IntArray
    """[files, layers], firing keys summed over tokens."""


@dataclass(frozen=True)
class Corpus:
    """What the counts are of."""

    subject: Subject
    levels: Levels
    candidates: list[IntArray]

    @property
    def names(self) -> tuple[str, ...]:
        """The languages."""
        return self.subject.store.language_names

    @cached_property
    def occurrences(self) -> IntArray:
        """Of every token in the corpus, [vocabulary]."""
        return self.subject.store.token_counts(self.subject.model.facts.vocabulary)

    @cached_property
    def files(self) -> IntArray:
        """How many files with any token each language has, [languages]."""
        some = self.subject.store.lengths > 0
        return np.bincount(self.subject.store.languages[some], minlength=len(self.names))

    @cached_property
    def tokens(self) -> IntArray:
        """How many tokens each language has, [languages]."""
        store = self.subject.store
        return np.bincount(store.languages, store.lengths, minlength=len(self.names)).astype(np.int64)


def write_rows(
    connection: duckdb.DuckDBPyConnection, corpus: Corpus, counted: Counted, settings: FiringSettings
) -> None:
    """Write all tables."""
    keys = _Keys(corpus, counted, settings)
    layers = _Layers(connection)
    firsts = corpus.subject.model.first_keys
    for layer in range(len(corpus.subject.model.layers)):
        part = slice(int(firsts[layer]), int(firsts[layer + 1]))
        _write_layer_keys(connection, keys, layer, part)
        _summarise(layers, keys, layer, part)
    _summarise_tokens(layers, keys)
    _summarise_activity(layers, corpus, counted)
    layers.write()
    _write_buckets(connection, corpus, counted, settings)


class _Keys:
    """What is found of every key, keys of all layers together."""

    def __init__(self, corpus: Corpus, counted: Counted, settings: FiringSettings) -> None:
        self.corpus, self.counted, self.settings = corpus, counted, settings
        buckets = len(counted.in_bucket) // 2
        self.information, self.shifted_information = (
            np.stack(
                [positions.mutual_information(level[:, part], counted.in_bucket[part]) for level in counted.positions]
            )
            for part in (slice(buckets), slice(buckets, None))
        )
        self.position_rates = counted.positions[:, :, :buckets] / np.maximum(counted.in_bucket[:buckets], 1)
        self.strong_rates = (counted.totals[:, LEVELS.index("strong")] / np.maximum(corpus.tokens, 1)[:, None]).T
        self.candidates = np.concatenate(corpus.candidates)
        fired = counted.totals.sum(axis=0)
        self.detects: BoolArray = np.stack(
            [
                detected(counted.tokens[level], fired[level], self.candidates, corpus.occurrences, settings)
                for level in range(len(LEVELS))
            ]
        )
        self.totals = fired
        self._of_languages()
        self._of_weights()

    @property
    def several(self) -> bool:
        """Whether there are languages to tell apart."""
        return len(self.corpus.names) > 1

    def _of_languages(self) -> None:
        counted, settings = self.counted, self.settings
        keys = len(self.candidates)
        self.entropy = languages.entropy(self.strong_rates)
        self.p = self.q = np.full(keys, np.nan)
        self.language = np.full(keys, -1)
        if not self.several:
            return
        sums, squares = counted.rates[:, 0].T, counted.rates[:, 1].T
        self.p = languages.rates_differ(sums, squares, self.corpus.files)
        self.q = np.exp(benjamini_hochberg(np.log(np.maximum(self.p, 1e-300))))
        self.language = languages.specific(
            self.strong_rates,
            self.entropy,
            self.q,
            settings.language_share,
            settings.language_rate,
            settings.language_q,
        )

    def _of_weights(self) -> None:
        model, settings = self.corpus.subject.model, self.settings
        self.weights: list[Weights] = []
        self.gaussian_classes: list[npt.NDArray[np.str_]] = []
        kinds, own, other = [], [], []
        for layer, tokens in zip(model.layers, self.corpus.candidates, strict=True):
            weights = read_weights(self.corpus.subject.connection, layer.layer)
            last = layer.layer >= len(model.layers) - settings.entropy_layers
            longest = float(np.quantile(weights.norm_value, settings.entropy_length))
            control = gaussian_weights(model, layer, settings)
            kinds.append(classes(weights, last, longest, settings))
            self.gaussian_classes.append(classes(control, last, longest, settings))
            top = tokens[:, : settings.detected_tokens]
            own.append(own_logits(model, layer, top))
            other.append(own_logits(model, layer, np.roll(top, 1, axis=0)))
            self.weights.append(weights)
        self.classes = np.concatenate(kinds)
        self.own_logits, self.other_logits = np.concatenate(own), np.concatenate(other)

    def identification(self, part: slice) -> languages.Identification:
        """How well keys tell languages."""
        return languages.identify(self._means(part))

    def chance_f1(self, part: slice, layer: int) -> FloatArray:
        """The same with each key's file means dealt to the files at random, [keys, languages]."""
        random = np.random.default_rng([self.settings.seed, layer])
        return languages.identify(languages.dealt_anew(self._means(part), random)).f1

    def _means(self, part: slice) -> IntArray:
        return self.counted.means[:, :, part].astype(np.int64).transpose(1, 2, 0, 3)

    def first_level(self, part: slice) -> IntArray:
        """The first level at which each key detects tokens, -1 where there is none, [keys]."""
        some: BoolArray = np.any(self.detects[:, part], axis=2)
        return np.where(np.any(some, axis=0), some.argmax(axis=0), -1)


def _write_layer_keys(connection: duckdb.DuckDBPyConnection, keys: _Keys, layer: int, part: slice) -> None:
    n = part.stop - part.start
    name: Columns = {"layer": np.full(n, layer), "index": np.arange(n)}
    levels, settings = keys.corpus.levels, keys.settings
    level = keys.first_level(part)
    tokens = keys.detects[np.maximum(level, 0), np.arange(part.start, part.stop)].sum(axis=1)
    positional: BoolArray = np.any(keys.information[:, part] > settings.position_information, axis=0)
    clearer = keys.information[:, part].argmax(axis=0)
    shapes = positions.shapes(keys.position_rates[clearer, np.arange(part.start, part.stop)])
    columns: Columns = name | {
        "strong_level": levels.strong[layer],
        "strong_rate": keys.totals[LEVELS.index("strong"), part] / keys.corpus.tokens.sum(),
        "position_information": keys.information[0, part],
        "position_information_strong": keys.information[1, part],
        "position_shape": _texts(shapes, positional),
        "strong_language_entropy": keys.entropy[part],
        "language_p": keys.p[part],
        "language_q": keys.q[part],
        "specific_language": _named(keys.corpus.names, keys.language[part]),
        "own_logit": keys.own_logits[part],
        "detected_tokens": tokens,
        "detector_level": _named(LEVELS, level),
        "weight_class": _texts(keys.classes[part], keys.classes[part] != ""),
    }
    found = keys.identification(part) if keys.several else None
    if found is not None:
        best = languages.best_language(found.f1)
        columns["language_f1"] = found.f1[np.arange(n), best]
        columns["identified_language"] = _named(keys.corpus.names, best)
    insert(connection, _KEYS, columns)
    by_language = [name | _of_language(keys, part, number, found) for number in range(len(keys.corpus.names))]
    insert(connection, _LANGUAGES, *by_language, order=_LANGUAGES.sorted_by)
    by_level = [name | _of_level(keys, part, number) for number in range(len(keys.position_rates))]
    insert(connection, _POSITIONS, *by_level, order=_POSITIONS.sorted_by)
    _write_detectors(connection, keys, layer, part)


def _of_language(keys: _Keys, part: slice, number: int, found: languages.Identification | None) -> Columns:
    columns: Columns = {
        "language": pa.array([keys.corpus.names[number]] * (part.stop - part.start)),
        "strong_rate": keys.strong_rates[part, number],
    }
    if found is not None:
        columns["f1"] = found.f1[:, number]
        columns["threshold"] = _finite(_EDGES[found.threshold[:, number]])
        columns["above"] = found.above[:, number]
    return columns


def _of_level(keys: _Keys, part: slice, number: int) -> Columns:
    rates = keys.position_rates[number, part].astype(np.float32)
    return {"level": pa.array([LEVELS[number]] * len(rates)), "rates": pa.array(list(rates))}


def _write_detectors(connection: duckdb.DuckDBPyConnection, keys: _Keys, layer: int, part: slice) -> None:
    level, key, place = np.nonzero(keys.detects[:, part])
    if not len(key):
        return
    numbers = key + part.start
    token = keys.candidates[numbers, place]
    fired = keys.counted.tokens[level, numbers, place]
    columns: Columns = {
        "layer": np.full(len(key), layer),
        "index": key,
        "level": _named(LEVELS, level),
        "token_id": token,
        "occurrences": keys.corpus.occurrences[token],
        "fired": fired,
        "share": fired / keys.totals[level, numbers],
    }
    insert(connection, _DETECTORS, columns, order=_DETECTORS.sorted_by)


class _Layers:
    """Rows of the table by layer, collected."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._rows: list[dict[str, object]] = []

    def add(self, measure: str, layer: int, estimate: float, n: int, control: str = "", **more: object) -> None:
        """Add a number; one that is not there is left out."""
        if not np.isnan(estimate):
            row = {"measure": measure, "control": control, "part": "", "layer": layer, "estimate": estimate, "n": n}
            self._rows.append({"low": None, "high": None, **row, **more})

    def share(self, measure: str, layer: int, found: BoolArray, control: str = "") -> None:
        """Add a share of keys."""
        self.add(measure, layer, float(found.mean()) if len(found) else np.nan, len(found), control)

    def write(self) -> None:
        """Write them in the table's order."""
        columns = {name: pa.array([row[name] for row in self._rows]) for name in _LAYERS.names}
        for name in ("low", "high"):
            columns[name] = columns[name].cast(pa.float64())
        insert(self._connection, _LAYERS, dict(columns), order=_LAYERS.sorted_by)


def _summarise(layers: _Layers, keys: _Keys, layer: int, part: slice) -> None:
    settings, weights = keys.settings, keys.weights[layer]
    layers.share("dead", layer, weights.dead)
    for number, name in enumerate(("positional", "positional_strong")):
        layers.share(name, layer, keys.information[number, part] > settings.position_information)
        layers.share(name, layer, keys.shifted_information[number, part] > settings.position_information, "shifted")
    detects: BoolArray = np.any(keys.detects[:, part], axis=2)
    for name, found in zip(("detectors", "detectors_strong", "detectors_peak"), detects, strict=True):
        layers.share(name, layer, found)
    _summarise_suppression(layers, keys, layer, part, np.any(detects, axis=0))
    for name in ("prediction", "suppression", "entropy"):
        layers.share(name, layer, keys.classes[part] == name)
        layers.share(name, layer, keys.gaussian_classes[layer] == name, "gaussian")
    for name, cosines in (("cos_key_value", weights.cos_key_value), ("cos_up_value", weights.cos_up_value)):
        layers.add(name, layer, float(cosines.mean()), len(cosines))
    if keys.several:
        _summarise_languages(layers, keys, layer, part)


def _summarise_suppression(layers: _Layers, keys: _Keys, layer: int, part: slice, detectors: BoolArray) -> None:
    own, other = keys.own_logits[part], keys.other_logits[part]
    for control, logits in (("", own), ("dealt", other)):
        there = ~np.isnan(logits)
        layers.share("suppressing", layer, logits[there] < 0, control)
        layers.share("suppressing_detectors", layer, logits[there & detectors] < 0, control)


def _summarise_languages(layers: _Layers, keys: _Keys, layer: int, part: slice) -> None:
    specific, names = keys.language[part], keys.corpus.names
    layers.share("language", layer, specific >= 0)
    for number, name in enumerate(names):
        layers.add("language", layer, float((specific == number).mean()), len(specific), part=name)
    for control, f1 in (("", keys.identification(part).f1), ("drawn", keys.chance_f1(part, layer))):
        layers.share("language_id", layer, f1.max(axis=1) >= keys.settings.identifying_f1, control)
        layers.add("best_f1", layer, float(f1.max()), len(f1), control)
        for number, name in enumerate(names):
            layers.add("best_f1", layer, float(f1[:, number].max()), len(f1), control, part=name)


def _summarise_tokens(layers: _Layers, keys: _Keys) -> None:
    firsts = keys.corpus.subject.model.first_keys
    detects: BoolArray = np.any(keys.detects, axis=0)
    tokens = []
    for first, last in pairwise(firsts.tolist()):
        tokens.append(np.unique(keys.candidates[first:last][detects[first:last]]))
    for layer, (found, new) in enumerate(zip(tokens, new_tokens(tokens), strict=True)):
        layers.add("tokens", layer, len(found), int(firsts[layer + 1] - firsts[layer]))
        layers.add("new_tokens", layer, len(new) / len(found) if len(found) else np.nan, len(found))


def _summarise_activity(layers: _Layers, corpus: Corpus, counted: Counted) -> None:
    sizes = np.array(corpus.subject.manifest.model.keys_per_layer)
    of_file = corpus.subject.store.languages[counted.files]
    chosen = [("", np.ones(len(of_file), dtype=bool))]
    if len(corpus.names) > 1:
        chosen += [(name, of_file == number) for number, name in enumerate(corpus.names)]
    for name, files in chosen:
        tokens = counted.file_tokens[files]
        found = ratio_interval(counted.file_fires[files] / sizes, tokens)
        for layer in range(len(sizes)):
            estimate, low, high = (float(end[layer]) for end in found)
            layers.add("active", layer, estimate, int(tokens.sum()), part=name, low=low, high=high)


def _write_buckets(
    connection: duckdb.DuckDBPyConnection, corpus: Corpus, counted: Counted, settings: FiringSettings
) -> None:
    of_position = positions.bucket_of(corpus.subject.manifest.settings.window, settings.position_buckets)
    buckets = np.arange(of_position.max() + 1)
    insert(
        connection,
        _BUCKETS,
        {
            "bucket": buckets,
            "first": np.searchsorted(of_position, buckets),
            "last": np.searchsorted(of_position, buckets, side="right") - 1,
            "tokens": counted.in_bucket[: len(buckets)],
        },
    )


def _named(names: tuple[str, ...], numbers: npt.NDArray[np.integer]) -> pa.Array:
    """Names by number, null for −1."""
    return pa.DictionaryArray.from_arrays(
        pa.array(numbers.astype(np.int32), mask=numbers < 0), pa.array(list(names), pa.string())
    )


def _texts(texts: npt.NDArray[np.str_], there: BoolArray) -> pa.Array:
    return pa.array(texts.tolist(), pa.string(), mask=~there)


def _finite(numbers: FloatArray) -> FloatArray:
    return np.where(np.isfinite(numbers), numbers, np.nan)
