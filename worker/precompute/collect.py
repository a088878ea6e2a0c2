"""Reducing each layer's coefficients during the forward pass; none are kept."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from keyscope.contract.manifest import RunSettings
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.precompute import sampling
from keyscope.worker.precompute.best import NO_OWNER, BestEntries, Candidates
from keyscope.worker.precompute.entries import ContextSpool, Entries
from keyscope.worker.precompute.groups import pool_size
from keyscope.worker.precompute.moments import HistogramAccumulator, MomentsAccumulator
from keyscope.worker.precompute.presets import PROCEDURES
from keyscope.worker.precompute.sinks import SinkCounter
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Batch, BoolArray, counted, token_noise, window_noise

_BLOCK = 16
"""Tokens per block: locating a maximum by its block first is cheaper than an argmax over all tokens."""


def polarities(gated: bool) -> tuple[str, ...]:
    """`max`, and also `min` for gated layers, whose coefficients can be strongly negative."""
    return ("max", "min") if gated else ("max",)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the accumulators need to know about the windows of a batch; tensors on the device."""

    files: Tensor
    starts: Tensor
    numbers: Tensor
    """Number of each window's first token, counted through the corpus."""
    noise: Tensor
    sampled: Tensor
    """Flat indices (row * tokens + token) of the tokens sampled for the histogram."""
    lengths: Tensor
    """Tokens of each window; those after them are padding."""
    mask: "_Mask | None"
    """Which tokens count; None if all do."""
    by_file: Tensor
    """[files, most windows of one], the rows of each file's windows; the last is repeated where a file has fewer."""

    def best_per_file(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The highest score of each file and the first row with it, both [files, keys], from [rows, keys]."""
        best = scores[self.by_file].max(dim=1)
        return best.values, self.by_file.gather(1, best.indices)


@dataclass(frozen=True, slots=True)
class _Mask:
    """Which tokens of some windows count, in the shapes the accumulators need; tensors on the device."""

    counted: Tensor
    """Flat indices (row * tokens + token) of the tokens that count."""
    inside: Tensor
    """[windows, tokens in whole blocks], whether each token counts; padding does not."""
    closed: Tensor
    """[windows, blocks], blocks without a token that counts."""
    partial: tuple[Tensor, Tensor]
    """Rows and blocks, [n] each, in which some tokens count and some do not."""

    @classmethod
    def of(cls, tokens: BoolArray, device: torch.device) -> "_Mask | None":
        """The mask of windows given by which of their tokens count, [windows, tokens in whole blocks]."""
        if tokens.all():
            return None
        each = tokens.reshape(len(tokens), -1, _BLOCK)
        some, every = each.any(axis=2), each.all(axis=2)
        row, block = np.nonzero(some & ~every)
        return cls(
            counted=torch.from_numpy(np.flatnonzero(tokens)).to(device),
            inside=torch.from_numpy(tokens).to(device),
            closed=torch.from_numpy(~some).to(device),
            partial=(torch.from_numpy(row).to(device), torch.from_numpy(block).to(device)),
        )


class Collector:
    """Accumulators of all layers for one shard: `start` a batch, then let the forward's hooks call `consume`."""

    def __init__(
        self,
        model: CodeModel,
        store: TokenStore,
        settings: RunSettings,
        floors: dict[str, list[Tensor]],
        scratch: Path,
        files: int | None = None,
    ) -> None:
        """Start empty.

        Args:
            model: the model whose layers are read.
            store: the corpus.
            settings: the run's.
            floors: per polarity and layer, [keys]: lower scores cannot reach the run's triggers.
            scratch: an empty folder for the contexts.
            files: how many files are read, if known.
        """
        slots = pool_size(settings)
        if files is not None and not PROCEDURES[settings.preset].every_token:
            slots = min(slots, files)  # a file has one entry per list
        self._first_keys = model.first_keys
        self._every_token = PROCEDURES[settings.preset].every_token
        self._store = store
        self._settings = settings
        self._device = model.device
        self._rows: _Rows | None = None
        self._batch: Batch | None = None
        self.sinks = SinkCounter(model)
        self.layers = [
            LayerCollector(
                each.layer,
                each.n_keys,
                settings,
                {name: floors[name][each.layer] for name in floors},
                model.device,
                scratch,
                slots,
            )
            for each in model.layers
        ]

    @property
    def names(self) -> tuple[str, ...]:
        """The polarities collected, then `samples`."""
        return tuple(self.layers[0].lists)

    def count(self, name: str) -> int:
        """Entries of all layers under one of `names`."""
        return sum(layer.lists[name].n_filled for layer in self.layers)

    def entries(self, name: str) -> Iterator[Entries]:
        """The entries under one of `names`, one layer after another."""
        for number, layer in enumerate(self.layers):
            entries = layer.entries(name, int(self._first_keys[number]))
            yield self._placed(entries) if self._every_token and name != "samples" else entries

    def _placed(self, entries: Entries) -> Entries:
        """Turn owners that are token numbers into files and positions."""
        number = entries.file
        file = np.searchsorted(self._store.offsets, number, side="right") - 1
        position = (number - self._store.offsets[file]).astype(np.int32)
        return replace(entries, file=file.astype(np.int32), position=position)

    def start(self, batch: Batch) -> None:
        """Announce the windows of the next forward."""
        longest = batch.windows[0].length
        self._batch = batch
        files = np.array([window.file for window in batch.windows], dtype=np.int32)
        starts = np.array([window.start for window in batch.windows], dtype=np.int32)
        numbers = (self._store.offsets[files] + starts).astype(np.int32)
        # 31 bits: sampling.priorities hashes in int64 without overflow
        noise = (window_noise(self._store, batch.windows, self._settings.seed) >> np.uint64(33)).astype(np.int64)
        every = np.uint64(self._settings.histogram_every)
        self.sinks.start(batch, noise % self._settings.histogram_every == 0)
        inside = np.zeros((len(batch.windows), -(-longest // _BLOCK) * _BLOCK), dtype=bool)
        for row, window in enumerate(batch.windows):
            inside[row, : window.length] = counted(self._store, window)
        drawn = inside & (token_noise(self._store, batch.windows, inside.shape[1], self._settings.seed) % every == 0)

        self._rows = _Rows(
            files=torch.from_numpy(files).to(self._device),
            starts=torch.from_numpy(starts).to(self._device),
            numbers=torch.from_numpy(numbers).to(self._device),
            noise=torch.from_numpy(noise).to(self._device),
            sampled=torch.from_numpy(np.flatnonzero(drawn)).to(self._device),
            lengths=torch.tensor([window.length for window in batch.windows], device=self._device),
            mask=_Mask.of(inside, self._device),
            by_file=torch.from_numpy(_by_file(files)).to(self._device),
        )

    def consume(self, layer: int, coefficients: Tensor) -> None:
        """Reduce one layer's coefficients, [windows, columns, keys]; only those of the windows' tokens count."""
        assert self._rows is not None
        assert self._batch is not None
        self.sinks.coefficients(layer, coefficients)
        # float32 is exact for half precision, and scores of all dtypes then compare and tie alike
        tokens = self._batch.on_windows(coefficients).float().contiguous()
        padding = -tokens.shape[1] % _BLOCK
        self.layers[layer].add(functional.pad(tokens, (0, 0, 0, padding)) if padding else tokens, self._rows)


class LayerCollector:
    """The accumulators of one layer: entries per polarity, samples, moments and histograms."""

    def __init__(
        self,
        layer: int,
        keys: int,
        settings: RunSettings,
        floors: dict[str, Tensor],
        device: torch.device,
        scratch: Path,
        slots: int,
    ) -> None:
        width = 2 * settings.context + 1
        self.keys = keys
        self.best = {name: BestEntries(keys, slots, device, floor) for name, floor in floors.items()}
        self.samples = BestEntries(keys * sampling.N_GROUPS, sampling.SLOTS, device)
        self.lists = {**self.best, "samples": self.samples}
        self.spools = {
            name: ContextSpool(scratch / f"{layer}-{name}.contexts", entries.scores.numel(), width)
            for name, entries in self.lists.items()
        }
        self.moments = MomentsAccumulator(keys, device)
        self.token_histogram = HistogramAccumulator(keys, device)
        self.window_histogram = HistogramAccumulator(keys, device)
        self._every_token = PROCEDURES[settings.preset].every_token
        self._offsets = torch.arange(-settings.context, settings.context + 1, device=device)
        self._key_noise = sampling.key_noise(keys, layer, device)
        self._key_groups = torch.arange(keys, device=device) * sampling.N_GROUPS

    def add(self, coefficients: Tensor, rows: _Rows) -> None:
        """Take in windows, [windows, tokens in whole blocks, keys] float32; in each a token counts."""
        extremes = {"max": _Extremes(coefficients, rows), "min": _Extremes(coefficients, rows, sign=-1)}
        self.moments.widen(-extremes["min"].scores, extremes["max"].scores)
        self.window_histogram.add(extremes["max"].scores)
        self._add_tokens(coefficients, rows)
        for name, best in self.best.items():
            if self._every_token:
                self._add_every_token(name, best, coefficients, extremes[name], rows)
            else:
                self._add_entries(name, best, extremes[name], rows)
        self._add_samples(extremes["max"], rows)

    def entries(self, name: str, first_key: int) -> Entries:
        """The entries collected under `name`, with the layer's keys counted from `first_key`."""
        best = self.lists[name]
        lists, slots = (best.owners != NO_OWNER).nonzero(as_tuple=True)
        contexts, scale = self.spools[name].read((lists * best.owners.shape[1] + slots).cpu().numpy())
        number = lists.cpu().numpy()
        groups = sampling.N_GROUPS if name == "samples" else 1
        return Entries(
            key=first_key + number // groups,
            group=(number % groups).astype(np.int8),
            score=best.scores[lists, slots].cpu().numpy(),
            file=best.owners[lists, slots].cpu().numpy(),
            position=best.positions[lists, slots].cpu().numpy(),
            value=best.values[lists, slots].cpu().numpy(),
            scale=scale,
            contexts=contexts,
        )

    def _add_tokens(self, coefficients: Tensor, rows: _Rows) -> None:
        tokens = coefficients.reshape(-1, self.keys)
        self.moments.add(tokens, None if rows.mask is None else rows.mask.counted)
        self.token_histogram.add(tokens[rows.sampled])

    def _add_entries(self, name: str, best: BestEntries, extremes: "_Extremes", rows: _Rows) -> None:
        # a file has one entry per key, so only its best window is offered: one comparison per file instead of per window
        scores, best_rows = rows.best_per_file(extremes.scores)
        files = rows.files[best_rows[:, 0]]
        file, key = best.wants(scores, files[:, None]).nonzero(as_tuple=True)
        if len(file) == 0:
            return
        row = best_rows[file, key]
        token = extremes.tokens(row, key)
        scores = extremes.scores[row, key]
        values = extremes.sign * scores
        candidates = Candidates(key, scores, rows.files[row], rows.starts[row] + token.int(), values)
        taken, slots = best.offer(candidates)
        contexts = extremes.contexts(row[taken], token[taken], key[taken], self._offsets)
        self.spools[name].write(slots, contexts)

    def _add_every_token(
        self, name: str, best: BestEntries, coefficients: Tensor, extremes: "_Extremes", rows: _Rows
    ) -> None:
        """Offer the best tokens of each key; each token owns its entry, so none replaces another."""
        tokens, slots = coefficients.shape[1], best.scores.shape[1]
        flat = coefficients.flatten(0, 1) if rows.mask is None else coefficients.flatten(0, 1)[rows.mask.counted]
        # stable: of equal scores the earlier token comes first
        scores, order = (extremes.sign * flat).sort(dim=0, descending=True, stable=True)
        scores, order = scores[:slots], order[:slots]
        if rows.mask is not None:
            order = rows.mask.counted[order]
        numbers = rows.numbers[order // tokens] + (order % tokens).int()
        turn, key = best.wants(scores, numbers).nonzero(as_tuple=True)
        if len(turn) == 0:
            return
        place, number, score = order[turn, key], numbers[turn, key], scores[turn, key]
        candidates = Candidates(key, score, number, torch.zeros_like(number), extremes.sign * score)
        taken, slot = best.offer(candidates)
        row, token = place[taken] // tokens, place[taken] % tokens
        self.spools[name].write(slot, extremes.contexts(row, token, key[taken], self._offsets))

    def _add_samples(self, extremes: "_Extremes", rows: _Rows) -> None:
        # samples are the windows with the highest hash priority, not a reservoir: a hash depends on neither order nor
        # batches, so equal runs keep equal samples and those of shards merge by taking the best again
        priority = sampling.priorities(rows.noise, self._key_noise)
        best, best_rows = rows.best_per_file(priority)
        anywhere = (self._key_groups + sampling.RANDOM).expand_as(best)
        fires = torch.where(extremes.scores > 0, sampling.firing_lists(rows.noise)[:, None], sampling.SILENT)
        every_row = torch.arange(len(priority), device=priority.device)[:, None].expand_as(priority)
        lists = torch.cat([anywhere, self._key_groups + fires])
        scores, from_rows = torch.cat([best, priority]), torch.cat([best_rows, every_row])
        place, key = self.samples.wants(scores, rows.files[from_rows], lists).nonzero(as_tuple=True)
        if len(place) == 0:
            return
        row = from_rows[place, key]
        token = extremes.tokens(row, key)
        candidates = Candidates(
            lists[place, key],
            scores[place, key],
            rows.files[row],
            rows.starts[row] + token.int(),
            extremes.scores[row, key],
        )
        taken, slots = self.samples.offer(candidates)
        contexts = extremes.contexts(row[taken], token[taken], key[taken], self._offsets)
        self.spools["samples"].write(slots, contexts)


def _by_file(files: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """The rows of each file, [files, most]; a file's windows are adjacent in a batch."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(files)) + 1])
    sizes = np.diff(np.append(starts, len(files)))
    rows: npt.NDArray[np.int64] = starts[:, None] + np.minimum(np.arange(sizes.max()), sizes[:, None] - 1)
    return rows


class _Extremes:
    """The largest (sign 1) or smallest (sign -1) coefficient of every window and key among the tokens that count, and where.

    `scores` [windows, keys] are the extremes times the sign: higher is better. Places are located only on request, first
    the block of tokens, then the token in it. Only blocks in which some tokens do not count cost more than the others.
    """

    def __init__(self, coefficients: Tensor, rows: _Rows, sign: int = 1) -> None:
        self.sign = sign
        self._mask = mask = rows.mask
        self._lengths = rows.lengths
        self._coefficients = coefficients
        blocks = coefficients.unflatten(1, (-1, _BLOCK))
        self._blocks = blocks.amax(dim=2) if sign > 0 else blocks.amin(dim=2).neg_()
        if mask is not None:
            self._blocks.masked_fill_(mask.closed[:, :, None], -torch.inf)
            inside = mask.inside.unflatten(1, (-1, _BLOCK))[mask.partial][:, :, None]
            self._blocks[mask.partial] = (sign * blocks[mask.partial]).masked_fill(~inside, -torch.inf).amax(dim=1)
        self.scores = self._blocks.amax(dim=1)

    def tokens(self, row: Tensor, key: Tensor) -> Tensor:
        """The first token with the extreme coefficient, for pairs of row and key [n].

        argmax takes the first of equal blocks and of equal tokens, so ties go to the earlier token, as in the merge.
        """
        first = self._blocks[row, :, key].argmax(dim=1) * _BLOCK
        within = torch.arange(_BLOCK, device=first.device)
        values = self._take(row, first, within, key)
        if self.sign < 0:
            values.neg_()
        if self._mask is not None:
            values.masked_fill_(~self._mask.inside[row[:, None], first[:, None] + within], -torch.inf)
        found: Tensor = first + values.argmax(dim=1)
        return found

    def contexts(self, row: Tensor, token: Tensor, key: Tensor, offsets: Tensor) -> Tensor:
        """Coefficients around tokens, [n, offsets], NaN outside the window."""
        inside = (offsets >= -token[:, None]) & (offsets < (self._lengths[row] - token)[:, None])
        return self._take(row, token, offsets, key).masked_fill_(~inside, torch.nan)

    def _take(self, row: Tensor, token: Tensor, offsets: Tensor, key: Tensor) -> Tensor:
        """Coefficients [n, offsets] of rows and keys [n] at offsets from tokens [n]; any number outside the coefficients."""
        _, tokens, keys = self._coefficients.shape
        places = ((row * tokens + token) * keys + key)[:, None] + offsets * keys
        return torch.take(self._coefficients, places.clamp_(0, self._coefficients.numel() - 1))
