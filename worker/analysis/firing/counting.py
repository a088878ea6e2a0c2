"""The pass over the corpus: firing by window position, by candidate token and by file, counted on the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.contract import bins
from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.firing.levels import Levels
from keyscope.worker.analysis.firing.positions import bucket_of
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.together import LayerRead, Reader, ReadLayer
from keyscope.worker.analysis.walk import Places
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.precompute.moments import bin_of
from keyscope.worker.precompute.windows import Batch, window_noise

IntArray = npt.NDArray[np.int64]
LEVELS = ("fires", "strong", "peak")


@dataclass(frozen=True)
class _Tokens:
    """The tokens of a batch, on the device."""

    features: Tensor
    """[n, 2 * buckets], one-hot: the bucket of the position, then that of the position shifted within its window.

    The shift is cyclic among the tokens that count, and random for each window. It breaks the link of firing to position and keeps everything else,
    runs of firing tokens included: what is positional after it is so by chance.
    """
    ids: Tensor
    """[n], each token's index among the distinct tokens of the batch."""
    columns: Tensor
    """[vocabulary + 1], that index for every token id; the number of distinct tokens for absent ids and for -1."""
    files: Tensor
    """[files being read, n], 1 for the tokens of each file."""


@dataclass(frozen=True)
class _Files:
    """The files that are being read, and their sums so far."""

    numbers: IntArray
    sums: list[Tensor]
    """Per layer [files, keys], of coefficients."""
    strongly: list[Tensor]
    """Per layer [files, keys], tokens on which each key fires strongly."""
    fires: Tensor
    """[files, layers], firing keys summed over tokens."""

    @classmethod
    def none(cls, model: CodeModel, files: Sequence[int]) -> "_Files":
        """Nothing read yet."""
        sums = [torch.zeros(len(files), each.n_keys, device=model.device) for each in model.layers]
        fires = torch.zeros(len(files), len(model.layers), dtype=torch.int64, device=model.device)
        return cls(np.array(files, dtype=np.int64), sums, [torch.zeros_like(each) for each in sums], fires)


class StepCounts(Reader):
    """Counts over the files of one step, all in one language."""

    def __init__(
        self, subject: Subject, levels: Levels, candidates: Sequence[IntArray], buckets: int, seed: int
    ) -> None:
        """Start at zero; `candidates` has token ids per layer, [keys, candidates], -1 for none."""
        model = subject.model
        self._subject, self._seed = subject, seed
        self._test = subject.units.test
        self._levels = levels.on(model)
        self._buckets = bucket_of(subject.manifest.settings.window, buckets)
        self._width = int(self._buckets.max()) + 1
        self._candidates = [torch.from_numpy(each).to(model.device) for each in candidates]
        self._positions = [_zeros(model, len(LEVELS[:2]), each.n_keys, 2 * self._width) for each in model.layers]
        self._in_bucket = torch.zeros(2 * self._width, dtype=torch.int64, device=model.device)
        self._totals = [_zeros(model, len(LEVELS), each.n_keys) for each in model.layers]
        self._tokens = [_zeros(model, len(LEVELS), *each.shape) for each in self._candidates]
        self._means = [_zeros(model, 2, each.n_keys, bins.N_BINS) for each in model.layers]
        self._rates = [_zeros(model, 2, each.n_keys).double() for each in model.layers]
        self._files: list[tuple[int, int, list[int]]] = []
        self._reading = _Files.none(model, ())

    def begin(self, files: Sequence[int]) -> None:
        self._reading = _Files.none(self._subject.model, files)

    def batch(self, batch: Batch, at: Places) -> ReadLayer:
        reading, tokens = self._reading, self._describe(batch, at)
        self._in_bucket += tokens.features.sum(dim=0).long()

        def read(found: LayerRead) -> None:
            layer, coefficients = found.layer, found.counted
            over = self._levels.over(layer, coefficients)
            for counts, level in zip(self._positions[layer], over, strict=False):
                # float32 adds up zeros and ones exactly to 2**24, far beyond any batch
                counts += (level.T @ tokens.features).long()
            self._count_tokens(layer, over, tokens)
            reading.sums[layer] += tokens.files @ coefficients
            reading.strongly[layer] += tokens.files @ over[1]
            reading.fires[:, layer] += (tokens.files @ over[0].sum(dim=1)).long()

        return read

    def end(self) -> None:
        reading, lengths = self._reading, self._subject.store.counted[self._reading.numbers]
        some = np.flatnonzero(lengths)
        for layer in range(len(self._subject.model.layers)):
            sums, strongly = reading.sums[layer][some], reading.strongly[layer][some]
            self._close(layer, reading.numbers[some], lengths[some], sums, strongly)
        self._files += zip(reading.numbers.tolist(), lengths.tolist(), reading.fires.tolist(), strict=True)

    def arrays(self) -> Arrays:
        """The counts, those by key separately for each layer, so a layer's draws need not read the others."""
        found: dict[str, npt.NDArray[Any]] = {}
        for layer, positions in enumerate(self._positions):
            found |= {
                of_layer("positions", layer): _narrow(positions.cpu().numpy()),
                of_layer("totals", layer): _narrow(self._totals[layer].cpu().numpy()),
                of_layer("tokens", layer): _narrow(self._tokens[layer].cpu().numpy()),
                of_layer("means", layer): _narrow(self._means[layer].cpu().numpy()),
                of_layer("rates", layer): self._rates[layer].cpu().numpy(),
            }
        return found | {
            "in_bucket": self._in_bucket.cpu().numpy(),
            "files": np.array([file for file, _, _ in self._files], dtype=np.int64),
            "file_tokens": np.array([tokens for _, tokens, _ in self._files], dtype=np.int64),
            "file_fires": np.array([fires for _, _, fires in self._files], dtype=np.int64),
        }

    def _describe(self, batch: Batch, at: Places) -> _Tokens:
        store, device = self._subject.store, self._subject.model.device
        noise = window_noise(store, batch.windows, self._seed)
        buckets = self._buckets[at.positions]
        shifted = self._buckets[at.positions[at.shifted(noise)]]
        features = torch.zeros(len(at), 2 * self._width)
        features[torch.arange(len(at)), torch.from_numpy(buckets)] = 1
        features[torch.arange(len(at)), torch.from_numpy(shifted + self._width)] = 1
        different, ids = np.unique(store.token_ids[at.numbers], return_inverse=True)
        columns = np.full(self._subject.model.facts.vocabulary + 1, len(different))
        columns[different] = np.arange(len(different))
        of_file = torch.from_numpy(self._reading.numbers[:, None] == at.files[None]).float()
        return _Tokens(
            features.to(device),
            torch.from_numpy(ids.reshape(-1)).to(device),
            torch.from_numpy(columns).to(device),
            of_file.to(device),
        )

    def _count_tokens(self, layer: int, over: Tensor, tokens: _Tokens) -> None:
        """Count firing by candidate token: sum by distinct token of the batch, then let each key look up its own.

        A table of [keys, vocabulary] would not fit, and comparing every token with every candidate would cost
        [n, keys, candidates].
        """
        columns = tokens.columns[self._candidates[layer]]
        for number, level in enumerate(over):
            by_token = torch.zeros(int(tokens.ids.max()) + 2, level.shape[1], device=level.device)
            by_token.index_add_(0, tokens.ids, level)
            self._totals[layer][number] += by_token.sum(dim=0).long()
            self._tokens[layer][number] += by_token.T.gather(1, columns).long()

    def _close(self, layer: int, files: IntArray, lengths: IntArray, sums: Tensor, strongly: Tensor) -> None:
        """Add finished files: their mean coefficient by bin, and their rate of firing strongly."""
        n = torch.from_numpy(lengths).to(sums)[:, None]
        rates = (strongly / n).double()
        self._rates[layer] += torch.stack([rates.sum(dim=0), rates.square().sum(dim=0)])
        # two parts of the projects: thresholds are chosen on one, and tested on the other
        halves = torch.from_numpy(self._test[files].astype(np.int64)).to(sums.device)
        keys = torch.arange(sums.shape[1], device=sums.device)
        places = (halves[:, None] * len(keys) + keys) * bins.N_BINS + bin_of(sums / n)
        self._means[layer].view(-1).index_add_(0, places.flatten(), torch.ones_like(places).flatten())


def of_layer(name: str, layer: int) -> str:
    """The name under which one layer's counts are kept."""
    return f"{name}-{layer:03}"


def _narrow(counts: IntArray) -> npt.NDArray[Any]:
    """The counts in the smallest type that holds them: they are kept on disk for every block."""
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))


def _zeros(model: CodeModel, *shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64, device=model.device)
