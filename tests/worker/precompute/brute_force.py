"""All coefficients of a corpus from plain transformers, and the triggers by a plain sort."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby, pairwise
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

DOWN = {
    "codegen": lambda model, layer: model.transformer.h[layer].mlp.fc_out,
    "gpt2": lambda model, layer: model.transformer.h[layer].mlp.c_proj,
    "gpt_neox": lambda model, layer: model.gpt_neox.layers[layer].mlp.dense_4h_to_h,
    "llama": lambda model, layer: model.model.layers[layer].mlp.down_proj,
}


@dataclass(frozen=True)
class Places:
    """Every token of a language's files: `coefficients` are [tokens, layers * keys], the others [tokens]."""

    coefficients: npt.NDArray[np.float32]
    paths: list[str]
    positions: npt.NDArray[np.int64]
    token_ids: npt.NDArray[np.int64]
    windows: npt.NDArray[np.int64]

    @cached_property
    def files(self) -> list[tuple[int, int]]:
        """Row range of each file, end exclusive."""
        counted = [len(list(rows)) for _path, rows in groupby(self.paths)]
        return list(pairwise(accumulate(counted, initial=0)))

    @cached_property
    def best(self) -> dict[int, npt.NDArray[np.int64]]:
        """Row of each file's largest (1) and smallest (-1) coefficient, the first of equal ones, [files, layers * keys]."""
        parts = [(first, self.coefficients[first:last]) for first, last in self.files]
        return {
            1: np.stack([first + part.argmax(axis=0) for first, part in parts]),
            -1: np.stack([first + part.argmin(axis=0) for first, part in parts]),
        }

    @cached_property
    def rows(self) -> dict[tuple[str, int], int]:
        """The row of each path and position."""
        return {place: row for row, place in enumerate(zip(self.paths, self.positions.tolist(), strict=True))}


def read_everything(
    folder: Path,
    corpus: Path,
    suffix: str,
    window: int,
    burn_in: int = 0,
    headers: int = 0,
    prefix: list[int] | None = None,
) -> Places:
    """Run each window of each file alone through the plain model and keep every coefficient that counts.

    Args:
        folder: the model's.
        corpus: folder of the files.
        suffix: of the files read.
        window: tokens per window.
        burn_in: first tokens of a window that do not count, except at a file's start.
        headers: lines at the top of each file that do not count.
        prefix: tokens in front of every window, otherwise those that the tokenizer adds.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain, whole = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    prefix = whole[: len(whole) - len(plain)] if prefix is None else prefix
    caught: dict[int, torch.Tensor] = {}
    for layer in range(model.config.num_hidden_layers):
        module = DOWN[model.config.model_type](model, layer)
        module.register_forward_pre_hook(lambda _module, args, layer=layer: caught.__setitem__(layer, args[0][0]))
    rows, paths, positions, tokens, windows = [], [], [], [], []
    for file in sorted(corpus.rglob(f"*{suffix}"), key=lambda file: file.relative_to(corpus).as_posix()):
        text = file.read_text("utf-8")
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = encoded["input_ids"]
        header = len("".join(text.splitlines(keepends=True)[:headers]))
        for start in range(0, len(ids), window - burn_in):
            part = ids[start : start + window]
            counts = [
                at
                for at in range(burn_in if start else 0, len(part))
                if encoded["offset_mapping"][start + at][1] > header
            ]
            if not counts:
                continue
            with torch.no_grad():
                model.base_model(torch.tensor([prefix + part]))  # without the head, which no coefficient needs
            found = torch.cat([caught[layer] for layer in sorted(caught)], dim=1)[len(prefix) :].numpy()
            rows.append(found[counts])
            paths += [file.relative_to(corpus).as_posix()] * len(counts)
            positions += [start + at for at in counts]
            windows += [len(rows)] * len(counts)
            tokens += [part[at] for at in counts]
    return Places(np.concatenate(rows), paths, np.array(positions), np.array(tokens), np.array(windows))


def expected_triggers(places: Places, column: int, k: int, sign: int) -> list[tuple[float, str, int]]:
    """(coefficient, path, position) of the best place of each of the k best files, by a plain sort."""
    best = places.best[sign][:, column]
    signed = places.coefficients[best, column] * sign
    ranked = sorted(
        (-value, places.paths[row], int(places.positions[row]))
        for value, row in zip(signed.tolist(), best.tolist(), strict=True)
    )
    return [(-coefficient * sign, path, position) for coefficient, path, position in ranked[:k]]


def expected_groups(
    places: Places, column: int, k: int, sign: int, tokens: int = 10, pool: int = 4
) -> list[tuple[float, str, int, int, list[tuple[str, int]]]]:
    """The k best groups of the best places of files, by a plain sort: best coefficient, path, position, files, more places.

    Places are of one group if the last tokens of their windows, up to ten, are equal.
    """
    groups: dict[tuple[int, ...], list[tuple[float, str, int]]] = {}
    for coefficient, path, position in expected_triggers(places, column, pool * k, sign):
        row = places.rows[path, position]
        inside = [
            at for at in range(row - tokens + 1, row + 1) if at >= 0 and places.windows[at] == places.windows[row]
        ]
        groups.setdefault(tuple(places.token_ids[inside].tolist()), []).append((coefficient, path, position))
    return [
        (*members[0], len(members), [place for _coefficient, *place in members[1:4]]) for members in groups.values()
    ][:k]


def stored_triggers(run: Path) -> dict[tuple[int, int, str, str], list[tuple[float, str, int]]]:
    """(coefficient, path, position in the file) of the triggers of every key, language and polarity, by rank."""
    with duckdb.connect(str(run), read_only=True) as connection:
        (prefix,) = connection.execute(
            "SELECT len(json_extract(document, '$.model.bos')::INTEGER[]) FROM manifest"
        ).fetchone()
        rows = connection.execute(
            'SELECT layer, "index", triggers.language, polarity, coefficient, path, start + position - ? FROM triggers '
            'JOIN windows USING (window_id) JOIN files USING (file_id) ORDER BY layer, "index", triggers.language, polarity, rank',
            [prefix],
        ).fetchall()
    found = defaultdict(list)
    for layer, index, language, polarity, coefficient, path, position in rows:
        found[layer, index, language, polarity].append((coefficient, path, position))
    return dict(found)


def assert_same_triggers(
    found: list[tuple[float, str, int]], expected: list[tuple[float, str, int]], scale: float, what: object
) -> None:
    """Check that coefficients are equal within tolerance at each rank, and places too except in near ties."""
    assert len(found) == len(expected), what
    values = {(path, position): coefficient for coefficient, path, position in expected}
    for (coefficient, path, position), (wanted, *place) in zip(found, expected, strict=True):
        allowed = 1e-5 * scale + 1e-4 * abs(wanted)
        assert abs(coefficient - wanted) <= allowed, (what, coefficient, wanted)
        if [path, position] != place and (path, position) in values:
            assert abs(values[path, position] - wanted) <= allowed, (what, path, position, place)
