"""The one ordered merge: partial results of all shards become the rows of the run file, layer by layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from keyscope.contract.code_parts import parts
from keyscope.contract.manifest import RunSettings
from keyscope.contract.runfile import (
    FILES,
    FIRES_ON,
    HISTOGRAMS,
    KEYS,
    LANGUAGE_STATISTICS,
    SAMPLES,
    TOKENS,
    TRIGGERS,
    VALUE_TOKENS,
    WINDOWS,
    write_derived,
)
from keyscope.contract.tables import Table
from keyscope.contract.token_text import decode
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.vocabulary import token_bytes
from keyscope.worker.precompute.collect import polarities
from keyscope.worker.precompute.entries import Entries, rank_in
from keyscope.worker.precompute.groups import Triggers, pool_size
from keyscope.worker.precompute.moments import Moments
from keyscope.worker.precompute.partial import Partial
from keyscope.worker.precompute.plan import Shard
from keyscope.worker.precompute.sampling import BANDS, SLOTS, cut_bands
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.values import ValueReader, ValueTokens
from keyscope.worker.precompute.windows import Cut
from keyscope.worker.progress import Advance
from keyscope.worker.rows import Array, Columns, insert

FIRES_ON_LISTED = 20
"""Fires-on tokens stored per key."""


@dataclass(frozen=True)
class _LanguageRows:
    """The rows of one language and layer, merged over its shards."""

    language: str
    triggers: Mapping[str, Triggers]
    samples: Entries
    bands: npt.NDArray[np.int8]
    quantiles: npt.NDArray[np.float32]


class Publisher:
    """Writes all tables except the manifest from the partial results of a run's shards."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        model: CodeModel,
        store: TokenStore,
        shards: Sequence[tuple[Shard, Path]],
        settings: RunSettings,
    ) -> None:
        """Prepare.

        Args:
            connection: the new run file.
            model: the model as the run reads it.
            store: the corpus as the run reads it.
            shards: all shards in order, each with the folder of its result.
            settings: the run's.
        """
        self._connection = connection
        self._model = model
        self._store = store
        self._settings = settings
        self._cut = Cut.of(settings)
        self._projection = "normed" if settings.preset == "strict" else "raw"
        self._first_keys = model.first_keys
        self._spelled = token_bytes(model.tokenizer)
        self._special = set(model.tokenizer.all_special_ids)
        self._partials: dict[str, list[Partial]] = {}
        for shard, folder in shards:
            self._partials.setdefault(shard.language, []).append(Partial(folder))
        self._languages = sorted(self._partials)
        self._sinks = reduce(np.add, (each.sinks() for partials in self._partials.values() for each in partials))
        self._first_windows = np.concatenate([[0], np.cumsum(self._cut.count(store.lengths))])
        self._won = np.zeros(self._first_windows[-1], dtype=bool)

    def write(self, advance: Advance) -> None:
        """Write everything; progress advances by one per layer."""
        counts = self._store.token_counts(self._model.facts.vocabulary)
        self._write_tokens(counts)
        self._write_files()
        reader = ValueReader(self._model, counts)
        moments = {
            language: reduce(Moments.merge, (partial.moments() for partial in partials))
            for language, partials in self._partials.items()
        }
        for layer in range(len(self._model.layers)):
            self._write_layer(layer, reader, moments)
            advance(1)
        self._write_windows()
        write_derived(self._connection)

    def _write_layer(self, layer: int, reader: ValueReader, moments: dict[str, Moments]) -> None:
        first, last = int(self._first_keys[layer]), int(self._first_keys[layer + 1])
        value_tokens, statistics = reader.read(self._model.layers[layer])
        per_language = {name: _part(moments[name], first, last) for name in self._languages}
        histograms = {name: self._histograms(layer, name) for name in self._languages}
        self._write_histograms(layer, histograms, first, last)
        rows = [self._language_rows(name, histograms[name]["windows"], first, last) for name in self._languages]
        strongest = self._write_examples(layer, rows)
        total = reduce(Moments.merge, per_language.values()).columns()
        columns: Columns = dict(self._key_columns(layer, np.arange(first, last)))
        columns["stack"] = _repeated(self._model.facts.stack, last - first)
        columns |= statistics | total
        columns |= _summaries(statistics, total, per_language)
        columns |= self._trigger_summaries(strongest, value_tokens, first, last)
        with np.errstate(invalid="ignore"):  # 0/0 where no window was looked at: NaN, which insert() turns into NULL
            columns["sink_share"] = np.divide(*self._sinks[:, first:last])
        self._insert(KEYS, columns)
        if value_tokens:
            self._write_value_tokens(layer, value_tokens, first, last)
        self._write_language_statistics(layer, per_language, first, last)

    def _histograms(self, layer: int, language: str) -> dict[str, npt.NDArray[np.int64]]:
        """Counts of `tokens` and `windows` per bin, each [keys, N_BINS], of one layer and language."""
        partials = self._partials[language]
        return {
            kind: reduce(np.add, (part.histogram(kind, layer).astype(np.int64) for part in partials))
            for kind in ("tokens", "windows")
        }

    def _write_histograms(
        self, layer: int, histograms: Mapping[str, Mapping[str, npt.NDArray[np.int64]]], first: int, last: int
    ) -> None:
        parts = []
        for language, counts in histograms.items():
            columns: Columns = dict(self._key_columns(layer, np.arange(first, last)))
            columns["language"] = _repeated(language, last - first)
            parts.append(columns | {kind: _lists(each) for kind, each in counts.items()})
        self._insert(HISTOGRAMS, *parts, ordered=True)

    def _language_rows(self, language: str, windows: npt.NDArray[np.int64], first: int, last: int) -> _LanguageRows:
        """Merge the shards' entries of one language for a layer's keys, and cut its samples into bands."""
        partials = self._partials[language]
        pools = {
            polarity: Entries.join([part.entries(polarity, first, last) for part in partials])
            for polarity in polarities(self._model.facts.gated)
        }
        size = pool_size(self._settings)
        triggers = {
            polarity: Triggers.choose(pool.best(size), self._store, self._settings) for polarity, pool in pools.items()
        }
        samples = Entries.join([part.entries("samples", first, last) for part in partials]).best(SLOTS)
        return _LanguageRows(language, triggers, *cut_bands(samples, triggers["max"].entries, windows, first))

    def _write_examples(self, layer: int, rows: list[_LanguageRows]) -> Entries:
        """Write a layer's triggers, samples and fires-on tokens; return the strongest triggers over all languages."""
        triggers = [(each.language, polarity, found) for each in rows for polarity, found in each.triggers.items()]
        sizes = [len(found.files) for _, _, found in triggers]
        columns = self._example_columns(layer, Entries.join([found.entries for _, _, found in triggers]))
        columns["language"] = _labels([name for name, _, _ in triggers], sizes)
        columns["polarity"] = _labels([polarity for _, polarity, _ in triggers], sizes)
        columns["rank"] = np.concatenate([rank_in(found.entries.key) for _, _, found in triggers]) + 1
        columns["files"] = np.concatenate([found.files for _, _, found in triggers])
        further = [np.concatenate([getattr(found, name) for _, _, found in triggers]) for name in ("file", "position")]
        columns["places"] = self._places(*further)
        self._insert(TRIGGERS, columns, ordered=True)

        samples = Entries.join([each.samples for each in rows])
        bands = np.concatenate([each.bands for each in rows])
        columns = self._example_columns(layer, samples)
        columns["language"] = _labels([each.language for each in rows], [len(each.bands) for each in rows])
        columns["band"] = np.array(BANDS)[bands]
        columns["rank"] = np.concatenate([rank_in(each.samples.key, each.bands) for each in rows]) + 1
        columns["quantile"] = np.concatenate([each.quantiles for each in rows])
        self._insert(SAMPLES, columns, ordered=True)

        largest = Entries.join([found.entries for _, polarity, found in triggers if polarity == "max"])
        self._write_fires_on(layer, Entries.join([largest, samples]))
        return largest.best(self._settings.top_k)

    def _places(self, file: npt.NDArray[np.int64], position: npt.NDArray[np.int64]) -> pa.Array:
        """Places given by file and position, both [n, places], a file of -1 for none, as a list in each row."""
        there = file >= 0
        at = self._store.offsets[file[there]] + position[there]
        columns = {
            "file_id": pa.array(file[there], pa.uint32()),
            "line": pa.array(self._store.lines[at], pa.uint32()),
            "column": pa.array(self._store.columns[at], pa.uint32()),
        }
        offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
        places = pa.StructArray.from_arrays(list(columns.values()), list(columns))
        return pa.ListArray.from_arrays(pa.array(offsets), places)

    def _example_columns(self, layer: int, entries: Entries) -> Columns:
        position = entries.position.astype(np.int64)
        windows = self._first_windows[entries.file] + self._cut.number(position)
        self._won[windows] = True
        at = self._store.offsets[entries.file] + entries.position
        return {
            **self._key_columns(layer, entries.key),
            "coefficient": entries.value,
            "window_id": windows,
            "position": len(self._model.facts.bos) + position - self._cut.start(position),
            "line": self._store.lines[at],
            "column": self._store.columns[at],
            "scale": entries.scale,
            "context": _blobs(entries.contexts.astype("<f2")),
        }

    def _write_fires_on(self, layer: int, entries: Entries) -> None:
        """Count the tokens on which a key fires in its stored triggers and samples; a place stored twice counts once."""
        fires = entries.value > 0
        places = self._store.offsets[entries.file[fires]] + entries.position[fires]
        pairs = np.unique(np.stack([entries.key[fires], places]), axis=1)
        tokens = self._store.token_ids[pairs[1]]
        counted, counts = np.unique(np.stack([pairs[0], tokens]), axis=1, return_counts=True)
        order = np.lexsort((counted[1], -counts, counted[0]))
        key, token, count = counted[0][order], counted[1][order], counts[order]
        rank = rank_in(key)
        kept = rank < FIRES_ON_LISTED
        columns: Columns = dict(self._key_columns(layer, key[kept]))
        self._insert(FIRES_ON, {**columns, "rank": rank[kept] + 1, "token_id": token[kept], "count": count[kept]})

    def _trigger_summaries(self, strongest: Entries, values: list[ValueTokens], first: int, last: int) -> Columns:
        """Columns about the trigger tokens of each key and the tokens after them; NaN or NULL without triggers."""
        keys = last - first
        key = strongest.key - first
        at = self._store.offsets[strongest.file] + strongest.position
        n = np.bincount(key, minlength=keys)
        tokens, counts = np.unique(np.stack([key, self._store.token_ids[at]]), axis=1, return_counts=True)
        # most common first, ties by token id, so equal runs agree
        order = np.lexsort((tokens[1], -counts, tokens[0]))
        commonest = order[rank_in(tokens[0][order]) == 0]
        top_token = np.full(keys, -1, dtype=np.int64)
        top_count = np.zeros(keys)
        top_token[tokens[0][commonest]] = tokens[1][commonest]
        top_count[tokens[0][commonest]] = counts[commonest]

        has_next = self._has_next(strongest.file, strongest.position)
        with np.errstate(invalid="ignore"):  # 0/0 for keys without triggers: NaN, which insert() turns into NULL
            columns: Columns = {
                "distinct_tokens": np.bincount(tokens[0], minlength=keys) / n,
                "top_token_id": pa.array(top_token, mask=n == 0),
                "top_token_share": top_count / n,
            }
            if not values:  # of an encoder, whose values promote no token
                return columns
            promoted = next(
                each for each in values if (each.projection, each.direction) == (self._projection, "promoted")
            )
            # the store is one array: the token after a file's last one would be the next file's first
            following = self._store.token_ids[np.where(has_next, at + 1, at)]
            agrees = has_next & (following == promoted.token_ids[key, 0])
            top_agrees = np.zeros(keys, dtype=bool)
            best = rank_in(strongest.key) == 0
            top_agrees[key[best]] = agrees[best]
            return columns | {
                "kv_agreement": pa.array(top_agrees, mask=n == 0),
                "kv_precision": np.bincount(key, weights=agrees, minlength=keys) / n,
            }

    def _has_next(self, file: npt.NDArray[np.int32], position: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Whether the token that the model predicts at each place is the next of the file."""
        found: npt.NDArray[np.bool_] = position + 1 < self._store.lengths[file]
        if self._store.sharing is None or self._store.sharing.task == "encode":
            return found
        # behind the last token of a span the decoder predicts a sentinel
        following = self._store.offsets[file] + np.where(found, position + 1, position)
        same = self._cut.number(position.astype(np.int64)) == self._cut.number(position.astype(np.int64) + 1)
        shown: npt.NDArray[np.bool_] = found & same & ~self._store.boilerplate[following]
        return shown

    def _write_value_tokens(self, layer: int, values: list[ValueTokens], first: int, last: int) -> None:
        listed = values[0].token_ids.shape[1]
        n = last - first
        columns: Columns = dict(
            self._key_columns(layer, np.tile(np.repeat(np.arange(first, last), listed), len(values)))
        )
        columns["projection"] = _labels([each.projection for each in values], [n * listed] * len(values))
        columns["direction"] = _labels([each.direction for each in values], [n * listed] * len(values))
        columns["rank"] = np.tile(np.arange(1, listed + 1), n * len(values))
        columns["token_id"] = np.concatenate([each.token_ids.ravel() for each in values])
        columns["logit"] = np.concatenate([each.logits.ravel() for each in values])
        self._insert(VALUE_TOKENS, columns, ordered=True)

    def _write_language_statistics(self, layer: int, moments: dict[str, Moments], first: int, last: int) -> None:
        parts = []
        for language, each in moments.items():
            columns: Columns = dict(self._key_columns(layer, np.arange(first, last)))
            parts.append(columns | {"language": _repeated(language, last - first)} | each.columns())
        self._insert(LANGUAGE_STATISTICS, *parts, ordered=True)

    def _write_tokens(self, counts: npt.NDArray[np.int64]) -> None:
        ids = np.arange(len(counts))
        columns: Columns = {
            "token_id": ids,
            "bytes": pa.array(self._spelled[: len(counts)], pa.binary()),
            "special": np.isin(ids, list(self._special)),
            "count": counts,
        }
        self._insert(TOKENS, columns)

    def _write_files(self) -> None:
        listing = self._store.files()
        columns: Columns = {name: listing[name] for name in FILES.names if name in listing.column_names}
        self._insert(FILES, {**columns, "file_id": np.arange(listing.num_rows)})

    def _write_windows(self) -> None:
        """Write each window with a stored example once; its id is its number among all windows of the corpus."""
        prefix = np.array(self._model.facts.bos, dtype=np.int32)
        languages = self._store.files()["language"].to_pylist()
        won = np.flatnonzero(self._won)
        for start in range(0, len(won), 8192):
            ids = won[start : start + 8192]
            file = np.searchsorted(self._first_windows, ids, side="right") - 1
            begin = (ids - self._first_windows[file]) * self._cut.stride
            stop = np.minimum(begin + self._cut.size, self._store.lengths[file])
            at = self._store.offsets[file]
            places = list(zip((at + begin).tolist(), (at + stop).tolist(), strict=True))
            spans = [np.concatenate([prefix, self._store.token_ids[low:high]]) for low, high in places]
            sharing = self._store.sharing
            decoded = [None if sharing is None else sharing.decoded(low, high - low) for low, high in places]
            columns: Columns = {
                "window_id": ids,
                "file_id": file,
                "start": begin,
                "line": self._store.lines[at + begin],
                "column": self._store.columns[at + begin],
                "token_ids": pa.array(spans, pa.list_(pa.int32())),
                "decoded": pa.array(decoded, pa.list_(pa.bool_())),
                "parts": pa.array(
                    [
                        parts(self._texts(span), languages[of], begins_file=first == 0)
                        for span, of, first in zip(spans, file.tolist(), begin.tolist(), strict=True)
                    ],
                    pa.binary(),
                ),
            }
            self._insert(WINDOWS, columns)

    def _texts(self, span: npt.NDArray[np.int32]) -> list[str]:
        """The text of each token of a window; control tokens, which are no part of the file, have none."""
        return decode([b"" if token in self._special else self._spelled[token] for token in span.tolist()])

    def _key_columns(self, layer: int, keys: npt.NDArray[np.int64]) -> Columns:
        return {"layer": np.full(len(keys), layer), "index": keys - self._first_keys[layer]}

    def _insert(self, table: Table, *parts: Columns, ordered: bool = False) -> None:
        """Append rows as they are, or sorted in the table's order."""
        insert(self._connection, table, *parts, order=table.sorted_by if ordered else ())


def _summaries(weights: Mapping[str, Array], total: Mapping[str, Array], languages: Mapping[str, Moments]) -> Columns:
    """Columns computed from moments and lengths; languages count alike, however many tokens they have."""
    rates = np.stack([each.firing / np.maximum(each.n, 1) for each in languages.values()])
    shares = rates / np.maximum(rates.sum(axis=0), 1e-30)
    dead = rates.sum(axis=0) == 0
    entropy = -(shares * np.log(np.maximum(shares, 1e-30))).sum(axis=0)  # 0 log 0 is 0
    top = np.array(list(languages))[rates.argmax(axis=0)]
    return {
        "contribution": total["mean_abs"] * weights["norm_value"],
        "dead": dead,
        "top_language": pa.array(top, pa.string(), mask=dead),
        "language_entropy": np.where(dead, np.nan, entropy),
    }


def _part(moments: Moments, first: int, last: int) -> Moments:
    return Moments(**{name: array[first:last] for name, array in vars(moments).items()})


def _repeated(text: str, n: int) -> pa.Array:
    return _labels([text], [n])


def _labels(texts: list[str], counts: list[int]) -> pa.Array:
    codes = np.repeat(np.arange(len(texts), dtype=np.int32), counts)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(texts, pa.string()))


def _lists(counts: npt.NDArray[np.int64]) -> pa.Array:
    offsets = np.arange(0, counts.size + 1, counts.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(counts.ravel()))


def _blobs(rows: Array) -> pa.Array:
    contiguous = np.ascontiguousarray(rows)
    width = contiguous.shape[1] * contiguous.itemsize
    return pa.Array.from_buffers(pa.binary(width), len(rows), [None, pa.py_buffer(contiguous)])
