"""Small run files for tests: real code, a toy tokenizer, made-up coefficients and the true statistics of those.

`build_run` writes a whole run file through the contract. Everything in it follows from its arguments, and every table
agrees with every other, so tests may compute any number again from `coefficients`.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np

from keyscope.contract import bins
from keyscope.contract.manifest import (
    CorpusFacts,
    LanguageCounts,
    Manifest,
    ModelFacts,
    Provenance,
    RunSettings,
    Verification,
)
from keyscope.contract.runfile import SCHEMA_VERSION, create, write_derived, write_manifest

PYTHON = '''\
import numpy as np


class Ramp:
    """Values rising evenly from zero: 0 → 1, déjà vu, 数."""

    def __init__(self, count, dtype=float):
        self.count = count
        self.values = np.zeros(count, dtype=dtype)

    def fill(self):
        for index in range(self.count):
            if self.count > 1:
                self.values[index] = index / (self.count - 1)
        return self.values
'''
HOSTILE = """\
TITLE = "</script><b>bold</b><img src=x onerror=alert(1)>"


def page(title=TITLE):
    return "<h1>" + title + "</h1>\\t&amp;{{ title }}"
"""
JAVA = """\
package com.example;

import java.util.List;

public class Greeter {
    private final List<String> names;

    public static void main(String[] args) {
        for (String name : args) {
            System.out.println("Hello, " + name);
        }
    }
}
"""
GO = """\
package main

import "fmt"

func total(values []int) int {
\tsum := 0
\tfor _, value := range values {
\t\tsum += value
\t}
\treturn sum
}

func main() {
\tfmt.Println(total([]int{1, 2, 3}))
}
"""
FILES = [
    ("python", "ramp.py", PYTHON),
    ("python", 'web/<img src=x onerror="alert(1)">.py', HOSTILE),
    ("java", "com/example/Greeter.java", JAVA),
    ("go", "cmd/total/main.go", GO),
]
BOS = 0
BANDS = (("80-95", 0.80, 0.95), ("50-80", 0.50, 0.80), ("0-50", 0.0, 0.50))
_TOKEN = re.compile(r" ?[A-Za-z_]{1,6}| ?[0-9]|\n+|[ \t]+(?=[^ \t])|.", re.DOTALL)


@dataclass(frozen=True)
class Shape:
    """How large a synthetic run is."""

    layers: int = 2
    keys: int = 6
    top_k: int = 3
    window: int = 32
    context: int = 8
    width: int = 8
    seed: int = 0
    gated: bool = False
    bos: bool = True


@dataclass(frozen=True)
class Window:
    """One window of the synthetic corpus; `first` is the number of its first token in the whole corpus."""

    window_id: int
    file_id: int
    start: int
    line: int
    column: int
    token_ids: list[int]
    first: int


def tokenize(text: str) -> list[bytes]:
    """Words of up to six letters, single digits and signs; every other character is one token per byte."""
    tokens: list[bytes] = []
    for piece in _TOKEN.findall(text):
        tokens += [piece.encode()] if piece.isascii() else [bytes([byte]) for byte in piece.encode()]
    return tokens


def build_run(path: Path, shape: Shape | None = None) -> Path:
    """Write a run file at `path` (`NAME.duckdb`) and return its path."""
    _Builder(path, shape or Shape()).write()
    return path


class _Builder:
    def __init__(self, path: Path, shape: Shape) -> None:
        self.path, self.shape = path, shape
        self.rows: dict[str, list[tuple]] = {}
        self.random = np.random.default_rng(shape.seed)
        self.languages = list(dict.fromkeys(language for language, _, _ in FILES))
        tokenized = [tokenize(text) for _, _, text in FILES]
        self.vocabulary = [b"<|endoftext|>", *sorted({token for tokens in tokenized for token in tokens})]
        number = {token: token_id for token_id, token in enumerate(self.vocabulary)}
        self.files = [[number[token] for token in tokens] for tokens in tokenized]
        self.windows = list(self._windows(tokenized))
        self.tokens = np.array([token_id for ids in self.files for token_id in ids])
        self.language_of = np.repeat(
            [self.languages.index(language) for language, _, _ in FILES], [len(ids) for ids in self.files]
        )
        self.window_of = np.repeat(np.arange(len(self.windows)), [len(self._ids(window)) for window in self.windows])
        self.coefficients = self._coefficients()
        vectors = (shape.layers, shape.keys, shape.width)
        self.keys, self.values = self.random.normal(size=vectors), self.random.normal(size=vectors)
        self.up = self.random.normal(size=vectors)
        self.head = self.random.normal(size=(len(self.vocabulary), shape.width))
        self.gain = self.random.uniform(0.5, 2.0, size=shape.width)

    def _windows(self, tokenized: list[list[bytes]]):
        first = window_id = 0
        for file_id, tokens in enumerate(tokenized):
            for start in range(0, len(tokens), self.shape.window):
                # A continuation byte begins no character, so lines and columns count characters begun before.
                before = b"".join(tokens[:start]).decode(errors="ignore")
                line, column = before.count("\n") + 1, len(before) - before.rfind("\n") - 1
                ids = self.files[file_id][start : start + self.shape.window]
                yield Window(window_id, file_id, start, line, column, ([BOS] if self.shape.bos else []) + ids, first)
                window_id, first = window_id + 1, first + len(ids)

    def _ids(self, window: Window) -> list[int]:
        return window.token_ids[1:] if self.shape.bos else window.token_ids

    def _coefficients(self) -> np.ndarray:
        """[layers, keys, tokens]: each key likes some tokens and one language; the last key of all is dead."""
        shape = self.shape
        likes = self.random.gamma(0.3, 2.0, size=(shape.layers, shape.keys, len(self.vocabulary)))
        tongue = self.random.uniform(0.2, 1.0, size=(shape.layers, shape.keys, len(self.languages)))
        noise = self.random.normal(0, 0.3, size=(shape.layers, shape.keys, len(self.tokens)))
        drive = likes[..., self.tokens] * tongue[..., self.language_of] + noise - 0.6
        floor = -1.5 * np.abs(noise) * 4 if shape.gated else -0.17 * np.abs(np.tanh(drive))
        coefficients = np.where(drive > 0, drive, floor)
        coefficients[-1, -1] = -0.17 * np.abs(np.tanh(drive[-1, -1])) - 1e-4
        return coefficients.astype(np.float32)

    def write(self) -> None:
        self._write_corpus()
        for layer in range(self.shape.layers):
            for index in range(self.shape.keys):
                self._write_key(layer, index)
        with create(self.path) as connection:
            for table, rows in self.rows.items():
                for start in range(0, len(rows), 500):
                    _insert(connection, table, rows[start : start + 500])
            write_derived(connection)
            write_manifest(connection, self._manifest())

    def _insert(self, table: str, rows: list[tuple]) -> None:
        self.rows.setdefault(table, []).extend(rows)

    def _write_corpus(self) -> None:
        counts = np.bincount(self.tokens, minlength=len(self.vocabulary))
        self._insert("tokens", [(i, token, i == BOS, int(counts[i])) for i, token in enumerate(self.vocabulary)])
        self._insert(
            "files",
            [
                (i, language, "synthetic", path, hashlib.sha256(text.encode()).hexdigest(), len(self.files[i]))
                for i, (language, path, text) in enumerate(FILES)
            ],
        )
        self._insert(
            "windows", [(w.window_id, w.file_id, w.start, w.line, w.column, w.token_ids) for w in self.windows]
        )

    def _write_key(self, layer: int, index: int) -> None:
        coefficients = self.coefficients[layer, index]
        languages, fired = [], np.zeros(len(self.vocabulary), int)
        for number, language in enumerate(self.languages):
            here = np.flatnonzero(self.language_of == number)
            languages.append((layer, index, language, *_moments(coefficients[here])))
            triggers = self._triggers(coefficients, here)
            samples = self._samples(coefficients, here)
            for polarity, positions in triggers.items():
                self._insert(
                    "triggers",
                    [
                        (layer, index, language, polarity, rank, *self._example(coefficients, at))
                        for rank, at in enumerate(positions, start=1)
                    ],
                )
            for band, examples in samples.items():
                self._insert(
                    "samples",
                    [
                        (layer, index, language, band, rank, *self._example(coefficients, at), quantile)
                        for rank, (at, quantile) in enumerate(examples, start=1)
                    ],
                )
            peaks = [at for at, _ in self._peaks(coefficients, here)]
            histogram = (_histogram(coefficients[here]), _histogram(coefficients[peaks]))
            self._insert("histograms", [(layer, index, language, *histogram)])
            stored = [at for positions in triggers.values() for at in positions]
            stored += [at for examples in samples.values() for at, _ in examples]
            for at in stored:
                fired[self.tokens[at]] += coefficients[at] > 0
        self._insert("language_statistics", languages)
        commonest = sorted(np.flatnonzero(fired), key=lambda token_id: (-fired[token_id], token_id))
        self._insert(
            "fires_on",
            [(layer, index, rank, int(i), int(fired[i])) for rank, i in enumerate(commonest[:10], start=1)],
        )
        promoted = self._write_value_tokens(layer, index)
        self._insert("keys", [self._key_row(layer, index, languages, promoted)])

    def _peaks(self, coefficients: np.ndarray, here: np.ndarray) -> list[tuple[int, float]]:
        """The largest coefficient of each window, with the share of windows below it."""
        peaks = [
            int(here[self.window_of[here] == window][coefficients[here[self.window_of[here] == window]].argmax()])
            for window in np.unique(self.window_of[here])
        ]
        peaks.sort(key=lambda at: float(coefficients[at]))
        return [(at, rank / len(peaks)) for rank, at in enumerate(peaks)]

    def _triggers(self, coefficients: np.ndarray, here: np.ndarray) -> dict[str, list[int]]:
        """Positions in the corpus by polarity: the best of each file, the best files first."""
        polarities = {"max": coefficients, "min": -coefficients} if self.shape.gated else {"max": coefficients}
        file_of = np.array([window.file_id for window in self.windows])[self.window_of]
        triggers = {}
        for polarity, signed in polarities.items():
            order = sorted(here.tolist(), key=lambda at: (-float(signed[at]), at))
            best: dict[int, int] = {}
            for at in order:
                best.setdefault(int(file_of[at]), at)
            triggers[polarity] = list(best.values())[: self.shape.top_k]
        return triggers

    def _samples(self, coefficients: np.ndarray, here: np.ndarray) -> dict[str, list[tuple[int, float]]]:
        peaks = self._peaks(coefficients, here)
        bands = {name: [p for p in peaks if low <= p[1] < high][:2] for name, low, high in BANDS}
        silent = [(at, 0.0) for at in here.tolist() if coefficients[at] <= 0][:1]
        return {**bands, "random": peaks[1:2], "silent": silent}

    def _example(self, coefficients: np.ndarray, at: int) -> tuple:
        window = self.windows[self.window_of[at]]
        shift = len(window.token_ids) - len(self._ids(window))
        position = at - window.first + shift
        tokens = [self.vocabulary[token_id] for token_id in self._ids(window)[: position - shift]]
        text = b"".join(tokens).decode(errors="ignore")
        lines = text.count("\n")
        column = len(text) - text.rfind("\n") - 1 if lines else window.column + len(text)
        around = np.full(2 * self.shape.context + 1, np.nan, np.float32)
        for offset in range(-self.shape.context, self.shape.context + 1):
            if shift <= position + offset < len(window.token_ids):
                around[offset + self.shape.context] = coefficients[at + offset]
        scale = float(np.nanmax(np.abs(around))) or 1.0
        context = (around / scale).astype("<f2").tobytes()
        return float(coefficients[at]), window.window_id, position, window.line + lines, column, scale, context

    def _write_value_tokens(self, layer: int, index: int) -> int:
        value, best = self.values[layer, index], 0
        for projection, head in (("normed", self.head * self.gain), ("raw", self.head)):
            logits = head @ value
            logits[BOS] = np.nan
            order = np.argsort(-logits)[: len(logits) - 1]
            best = best or int(order[0])
            for direction, ids in (("promoted", order[:5]), ("suppressed", order[::-1][:5])):
                self._insert(
                    "value_tokens",
                    [
                        (layer, index, projection, direction, rank, int(i), float(logits[i]))
                        for rank, i in enumerate(ids, start=1)
                    ],
                )
        return best

    def _key_row(self, layer: int, index: int, languages: list[tuple], promoted: int) -> tuple:
        coefficients = self.coefficients[layer, index]
        rates = np.array([row[4] for row in languages])
        shares = rates[rates > 0] / rates.sum() if rates.sum() else np.array([])
        entropy = float(-(shares * np.log(shares)).sum()) if len(shares) else None
        triggers = [
            at
            for number in range(len(self.languages))
            for at in self._triggers(coefficients, np.flatnonzero(self.language_of == number))["max"]
        ]
        ids, counts = np.unique(self.tokens[triggers], return_counts=True)
        following = [int(self.tokens[at + 1]) if at + 1 < len(self.tokens) else -1 for at in triggers]
        strongest = max(range(len(triggers)), key=lambda n: coefficients[triggers[n]])
        moments = _moments(coefficients)
        value_norm = float(np.linalg.norm(self.values[layer, index]))
        return (
            layer,
            index,
            *self._weight_statistics(layer, index),
            *moments,
            moments[8] * value_norm,
            bool((coefficients <= 0).all()),
            self.languages[int(rates.argmax())] if rates.any() else None,
            entropy,
            len(ids) / len(triggers),
            int(ids[counts.argmax()]),
            float(counts.max() / len(triggers)),
            following[strongest] == promoted,
            float(np.mean([token_id == promoted for token_id in following])),
        )

    def _weight_statistics(self, layer: int, index: int) -> tuple:
        key, up, value = self.keys[layer, index], self.up[layer, index], self.values[layer, index]
        cosines = self.head @ value / np.linalg.norm(self.head, axis=1) / np.linalg.norm(value)
        logits = self.head @ value
        probabilities = np.exp(logits - logits.max())
        counts = np.bincount(self.tokens, minlength=len(self.vocabulary))
        seen = counts > 0
        _, _, mean, variance, skewness, kurtosis, *_ = _moments(cosines)
        gated = self.shape.gated
        return (
            float(np.linalg.norm(key)),
            float(np.linalg.norm(up)) if gated else None,
            None if gated else 0.0,
            float(np.linalg.norm(value)),
            _cosine(key, value),
            _cosine(up, value) if gated else None,
            _cosine(key, up) if gated else None,
            mean,
            variance,
            skewness,
            kurtosis,
            float(probabilities.max() / probabilities.sum()),
            float(np.corrcoef(logits[seen], np.log(counts[seen]))[0, 1]),
            0.0,
        )

    def _manifest(self) -> Manifest:
        shape = self.shape
        counts = [
            LanguageCounts(
                language=language,
                files=sum(other == language for other, _, _ in FILES),
                windows=sum(FILES[window.file_id][0] == language for window in self.windows),
                tokens=int((self.language_of == number).sum()),
            )
            for number, language in enumerate(self.languages)
        ]
        return Manifest(
            schema_version=SCHEMA_VERSION,
            run_id=self.path.name.removesuffix(".duckdb"),
            model=ModelFacts(
                model_id="toy",
                architecture="llama" if shape.gated else "codegen",
                weights_sha256=hashlib.sha256(f"{shape}".encode()).hexdigest(),
                tokenizer_sha256=hashlib.sha256(b"".join(self.vocabulary)).hexdigest(),
                n_layers=shape.layers,
                keys_per_layer=[shape.keys] * shape.layers,
                width=shape.width,
                vocabulary=len(self.vocabulary),
                activation="silu" if shape.gated else "gelu_new",
                gated=shape.gated,
                parallel=not shape.gated,
                bos=[BOS] if shape.bos else [],
            ),
            corpus=CorpusFacts(
                name="synthetic",
                sources=["tests"],
                sha256=hashlib.sha256("".join(text for _, _, text in FILES).encode()).hexdigest(),
                languages=counts,
                skipped={"minified": 1},
            ),
            settings=RunSettings(
                window=shape.window, stride=shape.window, top_k=shape.top_k, context=shape.context, histogram_every=1
            ),
            provenance=Provenance(
                device="cpu",
                batch=8,
                threads=1,
                workers=1,
                started=datetime(2026, 1, 1, 12, 0, tzinfo=UTC),
                finished=datetime(2026, 1, 1, 12, 1, tzinfo=UTC),
                code_version="0.1.0",
                versions={"torch": "2.13.0"},
            ),
            verification=Verification(
                keys=12, triggers=36, largest_error=3e-6, tolerance=1e-4, passed=True, seconds=0.5
            ),
        )


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[tuple]) -> None:
    """Rows in one statement, for each statement costs milliseconds."""
    row = f"({', '.join('?' * len(rows[0]))})"
    values = [value for each in rows for value in each]
    connection.execute(f"INSERT INTO {table} VALUES {', '.join([row] * len(rows))}", values)


def _moments(values: np.ndarray) -> tuple[int, float, float, float, float | None, float | None, float, float, float]:
    """The columns of `keyscope.contract.runfile.MOMENTS`."""
    values = values.astype(np.float64)
    mean, variance = values.mean(), values.var()
    z = (values - mean) / np.sqrt(variance) if variance else None
    return (
        len(values),
        float((values > 0).mean()),
        float(mean),
        float(variance),
        None if z is None else float((z**3).mean()),
        None if z is None else float((z**4).mean()),
        float(values.min()),
        float(values.max()),
        float(np.abs(values).mean()),
    )


def _histogram(coefficients: np.ndarray) -> list[int]:
    edges = bins.edges()
    positive = np.searchsorted(edges, np.abs(coefficients), side="right") - 1
    places = np.where(coefficients > 0, positive, bins.N_BINS - 1 - positive)
    return np.bincount(places, minlength=bins.N_BINS).tolist()


def _cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
