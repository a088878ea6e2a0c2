"""Small run files for tests: real code, a toy tokenizer, synthetic coefficients and their true statistics.

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
from keyscope.contract.code_parts import parts
from keyscope.contract.manifest import (
    CorpusFacts,
    LanguageCounts,
    Manifest,
    ModelFacts,
    Provenance,
    RunSettings,
    Verification,
)
from keyscope.contract.runfile import FILES as FILES_TABLE
from keyscope.contract.runfile import (
    FIRES_ON,
    HISTOGRAMS,
    KEYS,
    LANGUAGE_STATISTICS,
    SAMPLES,
    SCHEMA_VERSION,
    TOKENS,
    TRIGGERS,
    VALUE_TOKENS,
    WINDOWS,
    create,
    write_derived,
    write_manifest,
)
from keyscope.contract.tables import Table
from keyscope.contract.token_text import decode

Row = dict[str, object]

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
BANDS = tuple((f"{low}-{low + 10}", low / 100, low / 100 + 0.1) for low in range(90, -10, -10))
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
    """Words of up to six letters, single digits and punctuation marks; other characters become one token per byte."""
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
        self.rows: dict[str, list[Row]] = {}
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
                # a continuation byte begins no character: lines and columns count the characters begun before it
                before = b"".join(tokens[:start]).decode(errors="ignore")
                line, column = before.count("\n") + 1, len(before) - before.rfind("\n") - 1
                ids = self.files[file_id][start : start + self.shape.window]
                yield Window(window_id, file_id, start, line, column, ([BOS] if self.shape.bos else []) + ids, first)
                window_id, first = window_id + 1, first + len(ids)

    def _ids(self, window: Window) -> list[int]:
        return window.token_ids[1:] if self.shape.bos else window.token_ids

    def _coefficients(self) -> np.ndarray:
        """[layers, keys, tokens]: each key prefers some tokens and one language; the very last key is dead."""
        shape = self.shape
        likes = self.random.gamma(0.3, 2.0, size=(shape.layers, shape.keys, len(self.vocabulary)))
        preference = self.random.uniform(0.2, 1.0, size=(shape.layers, shape.keys, len(self.languages)))
        noise = self.random.normal(0, 0.3, size=(shape.layers, shape.keys, len(self.tokens)))
        drive = likes[..., self.tokens] * preference[..., self.language_of] + noise - 0.6
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
            for name, rows in self.rows.items():
                for start in range(0, len(rows), 500):
                    _insert(connection, name, rows[start : start + 500])
            write_derived(connection)
            write_manifest(connection, self._manifest())

    def _insert(self, table: Table, *rows: Row) -> None:
        self.rows.setdefault(table.name, []).extend(rows)

    def _write_corpus(self) -> None:
        counts = np.bincount(self.tokens, minlength=len(self.vocabulary))
        for token_id, token in enumerate(self.vocabulary):
            self._insert(
                TOKENS,
                {"token_id": token_id, "bytes": token, "special": token_id == BOS, "count": int(counts[token_id])},
            )
        for file_id, (language, path, text) in enumerate(FILES):
            row = {"file_id": file_id, "language": language, "source": "synthetic", "path": path}
            digest = hashlib.sha256(text.encode()).hexdigest()
            self._insert(FILES_TABLE, {**row, "sha256": digest, "n_tokens": len(self.files[file_id])})
        for window in self.windows:
            texts = decode([b"" if token == BOS else self.vocabulary[token] for token in window.token_ids])
            read = parts(texts, FILES[window.file_id][0], begins_file=window.start == 0)
            row = {name: getattr(window, name) for name in WINDOWS.names if name not in ("decoded", "parts")}
            self._insert(WINDOWS, {**row, "parts": read})

    def _write_key(self, layer: int, index: int) -> None:
        coefficients = self.coefficients[layer, index]
        key = {"layer": layer, "index": index}
        languages, fired = [], np.zeros(len(self.vocabulary), int)
        for number, language in enumerate(self.languages):
            here = np.flatnonzero(self.language_of == number)
            place = {**key, "language": language}
            languages.append({**place, **_moments(coefficients[here])})
            triggers = self._triggers(coefficients, here)
            samples = self._samples(coefficients, here)
            for polarity, positions in triggers.items():
                for rank, at in enumerate(positions, start=1):
                    example = self._example(coefficients, at)
                    # the first of a list stands for the next two as well, so pages have a group to show
                    further = [self._place(coefficients, other) for other in positions[1:3]] if rank == 1 else []
                    group = {"files": 1 + len(further), "places": further}
                    self._insert(TRIGGERS, {**place, "polarity": polarity, "rank": rank, **example, **group})
            for band, examples in samples.items():
                for rank, (at, quantile) in enumerate(examples, start=1):
                    example = self._example(coefficients, at)
                    self._insert(SAMPLES, {**place, "band": band, "rank": rank, **example, "quantile": quantile})
            peaks = [at for at, _ in self._peaks(coefficients, here)]
            histogram = {"tokens": _histogram(coefficients[here]), "windows": _histogram(coefficients[peaks])}
            self._insert(HISTOGRAMS, {**place, **histogram})
            stored = [at for positions in triggers.values() for at in positions]
            stored += [at for examples in samples.values() for at, _ in examples]
            for at in stored:
                fired[self.tokens[at]] += coefficients[at] > 0
        self._insert(LANGUAGE_STATISTICS, *languages)
        commonest = sorted(np.flatnonzero(fired), key=lambda token_id: (-fired[token_id], token_id))
        for rank, token_id in enumerate(commonest[:10], start=1):
            counted = {"rank": rank, "token_id": int(token_id), "count": int(fired[token_id])}
            self._insert(FIRES_ON, {**key, **counted})
        promoted = self._write_value_tokens(layer, index)
        self._insert(KEYS, self._key_row(layer, index, languages, promoted))

    def _peaks(self, coefficients: np.ndarray, here: np.ndarray) -> list[tuple[int, float]]:
        """The place of each window's largest coefficient, with the share of windows below it."""
        peaks = [
            int(here[self.window_of[here] == window][coefficients[here[self.window_of[here] == window]].argmax()])
            for window in np.unique(self.window_of[here])
        ]
        peaks.sort(key=lambda at: float(coefficients[at]))
        return [(at, rank / len(peaks)) for rank, at in enumerate(peaks)]

    def _triggers(self, coefficients: np.ndarray, here: np.ndarray) -> dict[str, list[int]]:
        """Positions in the corpus by polarity: the best of each file, best files first."""
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

    def _place(self, coefficients: np.ndarray, at: int) -> Row:
        example = self._example(coefficients, at)
        file_id = self.windows[self.window_of[at]].file_id
        return {"file_id": file_id, "line": example["line"], "column": example["column"]}

    def _example(self, coefficients: np.ndarray, at: int) -> Row:
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
        return {
            "coefficient": float(coefficients[at]),
            "window_id": window.window_id,
            "position": position,
            "line": window.line + lines,
            "column": column,
            "scale": scale,
            "context": context,
        }

    def _write_value_tokens(self, layer: int, index: int) -> int:
        value, best = self.values[layer, index], 0
        for projection, head in (("normed", self.head * self.gain), ("raw", self.head)):
            logits = head @ value
            logits[BOS] = np.nan
            order = np.argsort(-logits)[: len(logits) - 1]
            best = best or int(order[0])
            for direction, ids in (("promoted", order[:5]), ("suppressed", order[::-1][:5])):
                for rank, token_id in enumerate(ids, start=1):
                    row = {"layer": layer, "index": index, "projection": projection, "direction": direction}
                    listed = {"rank": rank, "token_id": int(token_id), "logit": float(logits[token_id])}
                    self._insert(VALUE_TOKENS, {**row, **listed})
        return best

    def _key_row(self, layer: int, index: int, languages: list[Row], promoted: int) -> Row:
        coefficients = self.coefficients[layer, index]
        rates = np.array([row["firing_rate"] for row in languages])
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
        return {
            "layer": layer,
            "index": index,
            **self._weight_statistics(layer, index),
            **moments,
            "contribution": moments["mean_abs"] * value_norm,
            "dead": bool((coefficients <= 0).all()),
            "top_language": self.languages[int(rates.argmax())] if rates.any() else None,
            "language_entropy": entropy,
            "sink_share": 0.75 if (layer, index) == (0, 1) else 0.0,
            "distinct_tokens": len(ids) / len(triggers),
            "top_token_id": int(ids[counts.argmax()]),
            "top_token_share": float(counts.max() / len(triggers)),
            "kv_agreement": following[strongest] == promoted,
            "kv_precision": float(np.mean([token_id == promoted for token_id in following])),
        }

    def _weight_statistics(self, layer: int, index: int) -> Row:
        key, up, value = self.keys[layer, index], self.up[layer, index], self.values[layer, index]
        cosines = self.head @ value / np.linalg.norm(self.head, axis=1) / np.linalg.norm(value)
        logits = self.head @ value
        probabilities = np.exp(logits - logits.max())
        counts = np.bincount(self.tokens, minlength=len(self.vocabulary))
        seen = counts > 0
        moments = _moments(cosines)
        gated = self.shape.gated
        return {
            "norm_key": float(np.linalg.norm(key)),
            "norm_up": float(np.linalg.norm(up)) if gated else None,
            "bias": None if gated else 0.0,
            "norm_value": float(np.linalg.norm(value)),
            "cos_key_value": _cosine(key, value),
            "cos_up_value": _cosine(up, value) if gated else None,
            "cos_gate_up": _cosine(key, up) if gated else None,
            **{f"vocab_{name}": moments[name] for name in ("mean", "variance", "skewness", "kurtosis")},
            "max_probability": float(probabilities.max() / probabilities.sum()),
            "unigram_correlation": float(np.corrcoef(logits[seen], np.log(counts[seen]))[0, 1]),
            "null_share": 0.0,
            **{f"folded_{name}": moments[name] for name in ("variance", "skewness", "kurtosis")},
            "folded_null_share": 0.0,
        }

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


def _insert(connection: duckdb.DuckDBPyConnection, name: str, rows: list[Row]) -> None:
    """Insert rows in one statement, because each statement costs milliseconds; columns not given are NULL."""
    columns = ", ".join(f'"{column}"' for column in rows[0])
    row = f"({', '.join('?' * len(rows[0]))})"
    values = [value for each in rows for value in each.values()]
    connection.execute(f"INSERT INTO {name} ({columns}) VALUES {', '.join([row] * len(rows))}", values)


def _moments(values: np.ndarray) -> dict[str, float | None]:
    """The columns of `keyscope.contract.runfile.MOMENTS`."""
    values = values.astype(np.float64)
    mean, variance = values.mean(), values.var()
    z = (values - mean) / np.sqrt(variance) if variance else None
    return {
        "n": len(values),
        "firing_rate": float((values > 0).mean()),
        "mean": float(mean),
        "variance": float(variance),
        "skewness": None if z is None else float((z**3).mean()),
        "kurtosis": None if z is None else float((z**4).mean()),
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        "mean_abs": float(np.abs(values).mean()),
    }


def _histogram(coefficients: np.ndarray) -> list[int]:
    edges = bins.edges()
    positive = np.searchsorted(edges, np.abs(coefficients), side="right") - 1
    places = np.where(coefficients > 0, positive, bins.N_BINS - 1 - positive)
    return np.bincount(places, minlength=bins.N_BINS).tolist()


def _cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
