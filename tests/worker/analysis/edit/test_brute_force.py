"""Zero, mean and resample against plain transformers, one window at a time, with hooks of the test's own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from keyscope.worker.analysis.edit.elsewhere import BANK
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.units import PICK, TEST, units_of
from keyscope.worker.precompute.windows import mix
from tests.worker.analysis.edit.conftest import CARRIERS, LAYER, MAIL, effect, rows

SIZE = 32
MEASURES = ("accuracy", "loss", "rank", "kl")
Instead = Callable[[int, torch.Tensor], torch.Tensor]
"""The masked coefficients [tokens, keys] of a window, given the number of its first token, in place of those it has."""


@dataclass(frozen=True)
class Plain:
    """The planted model in plain transformers, on the run's corpus."""

    folder: Path
    subject: Subject

    @cached_property
    def model(self) -> torch.nn.Module:
        return AutoModelForCausalLM.from_pretrained(self.folder).float().eval()

    def windows(self, part: int) -> list[tuple[int, torch.Tensor, np.ndarray]]:
        """The number of the first token, the tokens and the places of the concept of each window of a part's files."""
        store, units, found = self.subject.store, units_of(self.subject.store), []
        for file in np.flatnonzero(units.parts[units.of_file] == part):
            span = store.tokens_of(int(file))
            (mask,) = self.subject.matching.token_masks([MAIL], store, int(file), lambda _done: None)
            for start in range(0, span.stop - span.start, SIZE):
                ids = store.token_ids[span][start : start + SIZE].astype(np.int64)
                found.append((span.start + start, torch.tensor(ids), mask[start : start + SIZE]))
        return found

    def read(self, ids: torch.Tensor, instead: Callable[[torch.Tensor], torch.Tensor] | None = None):
        """Log-probabilities [tokens, vocabulary] and the unmasked carriers' coefficients [tokens, keys]."""
        seen: list[torch.Tensor] = []

        def hook(_module, inputs):
            coefficients = inputs[0].clone()
            seen.append(coefficients[0][:, list(CARRIERS)].clone())
            if instead is not None:
                coefficients[0][:, list(CARRIERS)] = instead(seen[-1])
            return (coefficients,)

        handle = self.model.transformer.h[LAYER].mlp.fc_out.register_forward_pre_hook(hook)
        with torch.no_grad():
            logprobs = self.model(ids[None]).logits[0].log_softmax(-1)
        handle.remove()
        return logprobs, seen[0]

    @cached_property
    def unmasked(self) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
        """What is read in every window of the held-out files."""
        return {begin: self.read(ids) for begin, ids, _ in self.windows(TEST)}

    @cached_property
    def elsewhere(self) -> dict[int, dict[int, torch.Tensor]]:
        """Coefficients at every token of general code of picking files, by language and number of the token."""
        found: dict[int, dict[int, torch.Tensor]] = {}
        for begin, ids, mask in self.windows(PICK):
            if not mask.any() and len(ids) > 1:
                file = np.searchsorted(self.subject.store.offsets, begin, side="right") - 1
                of = found.setdefault(int(self.subject.store.languages[file]), {})
                of |= {begin + at: each for at, each in enumerate(self.read(ids)[1])}
        return found

    def language(self, begin: int) -> int:
        store = self.subject.store
        return int(store.languages[np.searchsorted(store.offsets, begin, side="right") - 1])

    def mean(self, begin: int, coefficients: torch.Tensor) -> torch.Tensor:
        of = self.elsewhere[self.language(begin)]
        return torch.stack(list(of.values())).mean(dim=0).expand_as(coefficients)

    def resample(self, draw: int) -> Instead:
        def instead(begin: int, coefficients: torch.Tensor) -> torch.Tensor:
            of = self.elsewhere[self.language(begin)]
            lots = {number: int(mix(np.array([number], dtype=np.uint64))[0]) for number in of}
            bank = sorted(of, key=lots.__getitem__)[:BANK]
            seed = int(mix(np.array([draw], dtype=np.uint64))[0])
            drawn = []
            for number in range(begin, begin + len(coefficients)):
                lot = int(mix(np.array([(number + seed) % 2**64], dtype=np.uint64))[0])
                drawn.append(of[bank[lot % len(bank)]])
            return torch.stack(drawn)

        return instead

    def measure(self, instead: Instead) -> dict[str, list[float]]:
        """Accuracy, loss, rank and KL by group over all held-out windows."""
        assert self.elsewhere  # read before any hook is in place
        assert self.unmasked
        known = self.subject.manifest.model.vocabulary
        found: dict[str, list[np.ndarray]] = {"concept": [], "near": [], "general": []}
        for begin, ids, inside in self.windows(TEST):
            if inside.any() and not inside[1:].any():
                continue
            last = int(np.flatnonzero(inside)[-1]) if inside.any() else len(ids) - 1
            before, _ = self.unmasked[begin]
            after, _ = self.read(ids, lambda coefficients, begin=begin: instead(begin, coefficients))
            before, after, true = before[:-1], after[:-1], ids[1:, None]
            its = after.gather(1, true)
            ranks = 1 + (after[:, :known] > its).sum(dim=1)
            kl = (before.exp() * (before - after)).sum(dim=1)
            table = torch.stack([(ranks == 1).float(), -its[:, 0], ranks.log(), kl], dim=1).double().numpy()
            for inside_it, group in ((True, "concept"), (False, "near" if inside.any() else "general")):
                found[group].append(table[:last][inside[1 : last + 1] == inside_it])
        means = {group: np.concatenate(values).mean(axis=0) for group, values in found.items()}
        return {group: [mean[0], mean[1], float(np.exp(mean[2])), mean[3]] for group, mean in means.items()}


@pytest.fixture(scope="module")
def plain(planted: tuple[Path, Path], shared: Subject) -> Plain:
    return Plain(planted[0], shared)


@pytest.mark.parametrize("role", ["baseline", "zero", "main"])
def test_plain_transformers_find_the_same_numbers(edited: Path, plain: Plain, role: str) -> None:
    instead = {"baseline": lambda _, found: found, "zero": lambda _, found: 0 * found, "main": plain.mean}[role]
    for group, expected in plain.measure(instead).items():
        measured = [effect(edited, role, group, measure=measure)[0] for measure in MEASURES]
        assert measured == pytest.approx(expected, rel=1e-4, abs=2e-6), group


def test_plain_transformers_find_the_means(edited: Path, plain: Plain) -> None:
    found = rows(edited, "SELECT language, mean FROM edit_means ORDER BY language, rank")
    names = plain.subject.store.language_names
    expected = [
        (name, float(value))
        for name in sorted(names)
        for value in torch.stack(list(plain.elsewhere[names.index(name)].values())).mean(dim=0)
    ]
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [mean for _, mean in found] == pytest.approx([mean for _, mean in expected], rel=1e-4, abs=1e-6)


def test_plain_transformers_resample_the_same_coefficients(edited: Path, plain: Plain) -> None:
    draws = [plain.measure(plain.resample(draw)) for draw in range(2)]
    for group in draws[0]:
        expected = np.mean([[*each[group][:2], each[group][3]] for each in draws], axis=0)
        measured = [effect(edited, "resample", group, measure=measure)[0] for measure in ("accuracy", "loss", "kl")]
        assert measured == pytest.approx(expected, rel=1e-4, abs=2e-6), group
