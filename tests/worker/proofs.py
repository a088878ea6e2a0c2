"""What Keyscope reads and changes in a model, compared with plain transformers: one function for each thing it does.

`python -m tests.models_doc` writes `docs/models.md`; `tests/worker/model/test_families.py` holds every family to it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.pytorch_utils import Conv1D

from keyscope.contract.keys import KeyId, Mask, Stack
from keyscope.worker.analysis.contributions import Position, direction, layer_contributions, read_position
from keyscope.worker.analysis.lens import lens
from keyscope.worker.live.generation import Generator
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import DTYPES, load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.taps import change_coefficients, mask_coefficients, read_coefficients, read_residuals
from keyscope.worker.precompute.moments import MomentsAccumulator
from tests.worker.live.driving import generate
from tests.worker.models import CODE
from tests.worker.plain import blocks_of, downs_of

TOKENS = 48
"""Tokens read of each text: short, since some tests read three texts with thirty models."""
NEW_TOKENS = 6
TOP = 3


@dataclass(frozen=True)
class Subject:
    """A model as Keyscope loaded it, and the same weights in plain transformers."""

    model: CodeModel
    plain: Any

    @classmethod
    def of(cls, folder: Path, model: CodeModel) -> "Subject":
        """The subject for a model loaded from a folder."""
        if model.facts.framing is not None:
            return OfStack(model, AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=model.dtype).eval())
        return cls(model, AutoModelForCausalLM.from_pretrained(folder, dtype=model.dtype).eval())

    @property
    def stack(self) -> Stack:
        """The stack whose keys are compared."""
        return self.model.facts.stack

    @property
    def blocks(self) -> Any:
        """The plain model's blocks."""
        return blocks_of(self.plain)

    @cached_property
    def downs(self) -> list[Any]:
        """The plain model's down projections."""
        return downs_of(self.plain)

    @cached_property
    def texts(self) -> list[Tensor]:
        """Texts of different lengths, each [1, tokens]."""
        ids = [self.model.tokenizer(text, return_tensors="pt")["input_ids"] for text in CODE]
        return [each[:, : TOKENS - 7 * number] for number, each in enumerate(ids)]

    @cached_property
    def strongest(self) -> list[KeyId]:
        """In every layer the key that is largest by |coefficient| on the first text."""
        largest = [int(found[0].abs().amax(dim=0).argmax()) for found in self.read]
        return [KeyId(layer, index, self.stack) for layer, index in enumerate(largest)]

    @cached_property
    def read(self) -> list[Tensor]:
        """Coefficients of every layer, of all texts in one batch padded on the right: [texts, tokens, keys]."""
        longest = max(each.shape[1] for each in self.texts)
        rows = torch.cat([nn.functional.pad(each, (0, longest - each.shape[1])) for each in self.texts])
        found: dict[int, Tensor] = {}
        with torch.no_grad(), read_coefficients(self.model, lambda layer, c: found.__setitem__(layer, c.float())):
            self.model.run_body(rows, self.not_padding(rows))
        return [found[layer] for layer in range(len(self.downs))]

    @cached_property
    def expected(self) -> list[Tensor]:
        """The same from the plain model, text by text and without padding: [tokens of all texts, keys]."""
        found: list[list[Tensor]] = [[] for _ in self.downs]
        with ExitStack() as hooks, torch.no_grad():
            for layer, down in enumerate(self.downs):
                hooks.callback(down.register_forward_hook(_keep_input(found[layer])).remove)
            for text in self.texts:
                self.logits(text)
        return [torch.cat(parts) for parts in found]

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of every text."""
        return [each.shape[1] for each in self.texts]

    def not_padding(self, rows: Tensor) -> Tensor | None:
        """Which tokens of a batch of all texts are no padding, where the model has to be told."""
        return None

    @torch.no_grad()
    def logits(self, text: Tensor) -> Tensor:
        """Of the plain model."""
        logits: Tensor = self.plain(text, use_cache=False).logits  # CodeGen rounds keys that it caches
        return logits

    def value(self, key: KeyId) -> Tensor:
        """The value of a key: a view of the plain model's weight."""
        down = self.downs[key.layer]
        weight: Tensor = down.weight.detach()
        return weight[key.index] if isinstance(down, Conv1D) else weight[:, key.index]

    @contextmanager
    def zeroed(self) -> Iterator[list[Tensor]]:
        """Zero the values of `strongest` in the plain model, and yield what they were."""
        values = [self.value(key) for key in self.strongest]
        kept = [value.clone() for value in values]
        try:
            for value in values:
                value.zero_()
            yield kept
        finally:
            for value, before in zip(values, kept, strict=True):
                value.copy_(before)

    def position(self) -> tuple[Position, Tensor]:
        """What Keyscope reads at the end of the first text, and the plain model's logits there, [1, rows of the head]."""
        text = self.texts[0]
        return read_position(self.model, text[0].tolist(), text.shape[1] - 1), self.logits(text)[:, -1]

    def continued(self, ids: Tensor, options: dict[str, Any]) -> list[int]:
        """The plain model's greedy continuation of a prompt."""
        with torch.no_grad():
            whole = self.plain.generate(ids, attention_mask=torch.ones_like(ids), **options)
        return [int(token) for token in whole[0, ids.shape[1] :]]


class OfStack(Subject):
    """One stack of an encoder–decoder; the other has nothing but the beginning of a text, or reads the prompt."""

    @property
    def blocks(self) -> Any:
        """The plain model's blocks."""
        return (self.plain.encoder if self.stack == "E" else self.plain.decoder).block

    @cached_property
    def downs(self) -> list[Any]:
        """The plain model's down projections."""
        return [block.layer[-1].DenseReluDense.wo for block in self.blocks]

    @property
    def _missing(self) -> list[int]:
        """What stands for a missing text, and the end."""
        return [self.model.tokenizer.convert_tokens_to_ids("<extra_id_0>"), self.model.tokenizer.eos_token_id]

    @property
    def _start(self) -> int:
        start: int = self.plain.config.decoder_start_token_id
        return start

    def not_padding(self, rows: Tensor) -> Tensor | None:
        """Which tokens of a batch of all texts are no padding, where the model has to be told."""
        return (torch.arange(rows.shape[1]) < torch.tensor(self.lengths)[:, None]).long()

    @torch.no_grad()
    def logits(self, text: Tensor) -> Tensor:
        """Of the plain model whose stack reads a text."""
        source, written = torch.tensor([self._missing]), text
        if self.stack == "E":
            source, written = text, torch.tensor([[self._start]])
        logits: Tensor = self.plain(input_ids=source, decoder_input_ids=written, use_cache=False).logits
        return logits

    @torch.no_grad()
    def position(self) -> tuple[Position, Tensor]:
        """What Keyscope reads where the first text is the prompt, and the plain model's logits there, [1, rows of the head]."""
        text = self.texts[0][0, :-1].tolist()
        written = torch.tensor([[self._start, self._missing[0]]])
        logits = self.plain(input_ids=torch.tensor([text + self._missing]), decoder_input_ids=written).logits
        return read_position(self.model, text, len(text) - 1), logits[:, -1]

    def continued(self, ids: Tensor, options: dict[str, Any]) -> list[int]:
        """The plain model's greedy answer to a prompt."""
        source = torch.cat([ids, torch.tensor([self._missing])], dim=1)
        # without its cache: that of transformers counts on as many layers in both stacks
        with torch.no_grad():
            whole = self.plain.generate(source, attention_mask=torch.ones_like(source), use_cache=False, **options)
        return [int(token) for token in whole[0, 1:]]


def load(subject: Subject) -> float:
    """The logits of all texts."""
    return max(_error(subject.model.logits(text), subject.logits(text)) for text in subject.texts)


def triggers(subject: Subject) -> float:
    """The highest coefficients of every key and where they are."""
    largest = 0.0
    places = torch.cat([torch.arange(length) + row * TOKENS for row, length in enumerate(subject.lengths)])
    for read, expected in zip(subject.read, subject.expected, strict=True):
        flat = nn.functional.pad(read, (0, 0, 0, TOKENS - read.shape[1])).flatten(0, 1)[places]
        found = flat.topk(TOP, dim=0)
        wanted = expected.sort(dim=0, descending=True).values[:TOP]
        there = expected.gather(0, found.indices)
        largest = max(largest, _error(found.values, wanted), _error(found.values, there))
    return largest


def statistics(subject: Subject) -> float:
    """Mean, mean size, variance, extremes and firing rate of every key."""
    largest = 0.0
    for read, expected in zip(subject.read, subject.expected, strict=True):
        moments = MomentsAccumulator(read.shape[2], read.device)
        for row, length in zip(read, subject.lengths, strict=True):
            moments.add(row[:length])
            moments.widen(row[:length], row[:length])
        found, exact = moments.result().columns(), expected.double().numpy()
        wanted = {
            "mean": exact.mean(axis=0),
            "mean_abs": np.abs(exact).mean(axis=0),
            "variance": exact.var(axis=0),
            "minimum": exact.min(axis=0),
            "maximum": exact.max(axis=0),
            "firing_rate": (exact > 0).mean(axis=0),
        }
        for name, numbers in wanted.items():
            largest = max(largest, _error(torch.from_numpy(found[name].astype(float)), torch.from_numpy(numbers)))
    return largest


def mask(subject: Subject) -> float:
    """Logits with a key of every layer masked, against the plain model with these keys' values zeroed."""
    with mask_coefficients(subject.model, [[Mask(key) for key in subject.strongest]]):
        masked = subject.model.logits(subject.texts[0])
    with subject.zeroed():
        return _error(masked, subject.logits(subject.texts[0]))


def mean_ablation(subject: Subject) -> float:
    """Logits with a coefficient set to its mean, against the plain model with that times the value added."""
    means = [
        float(expected[:, key.index].mean()) for expected, key in zip(subject.expected, subject.strongest, strict=True)
    ]

    def set_to(index: int, mean: float) -> Callable[[Tensor], Tensor]:
        def change(coefficients: Tensor) -> Tensor:
            changed = coefficients.clone()
            changed[..., index] = mean
            return changed

        return change

    changes = {key.layer: set_to(key.index, mean) for key, mean in zip(subject.strongest, means, strict=True)}
    with change_coefficients(subject.model, changes), torch.no_grad():
        changed = subject.model.logits(subject.texts[0])
    with subject.zeroed() as values, ExitStack() as hooks:
        for down, value, mean in zip(subject.downs, values, means, strict=True):
            hooks.callback(down.register_forward_hook(lambda _m, _i, out, add=mean * value: out + add).remove)
        return _error(changed, subject.logits(subject.texts[0]))


def logit_lens(subject: Subject) -> float | None:
    """The lens after the first and the last layer, against the plain model cut off there; an encoder has none."""
    if "next token" in subject.model.facts.undefined:
        return None
    residuals: list[Tensor] = []
    with read_residuals(subject.model, lambda _layer, residual: residuals.append(residual)), torch.no_grad():
        subject.model.run_body(subject.texts[0])
        first, last = lens(subject.model, residuals[0]), lens(subject.model, residuals[-1])
    known = subject.model.facts.vocabulary
    blocks = subject.blocks
    later = list(blocks[1:])
    error = _error(last, subject.logits(subject.texts[0])[..., :known])
    del blocks[1:]
    try:
        return max(error, _error(first, subject.logits(subject.texts[0])[..., :known]))
    finally:
        blocks.extend(later)


def contributions(subject: Subject) -> float | None:
    """What the keys of each layer add to a logit together, against what the plain model's down projections wrote."""
    model, plain = subject.model, subject.plain
    if "contributions" in model.facts.undefined:
        return None
    final: Any = plain.get_submodule(model.family.final_norm)
    written: list[list[Tensor]] = [[] for _ in subject.downs]
    after: list[Tensor] = []
    with ExitStack() as hooks, torch.no_grad():
        hooks.callback(final.register_forward_pre_hook(lambda _m, inputs: after.append(inputs[0][0, -1:])).remove)
        for layer, down in enumerate(subject.downs):
            hooks.callback(down.register_forward_hook(_keep_output(written[layer], down)).remove)
        position, logits = subject.position()
    token = int(logits[0].argmax()) % model.facts.vocabulary
    rows: Tensor = plain.get_output_embeddings().weight.detach()
    given = layer_contributions(model, position, direction(model, token))
    factor = getattr(plain.config, "residual_multiplier", 1.0) / getattr(plain.config, "logits_scaling", 1.0)
    if getattr(plain.config, "scale_decoder_outputs", False):
        factor *= plain.config.d_model**-0.5
    sigma = _sigma(final, after[0])
    expected = [
        (_unscaled(final, after[0].float() + part[0]) - _unscaled(final, after[0]))
        @ rows[token].float()
        * factor
        / sigma
        for part in written
    ]
    return _error(torch.stack([each.sum() for each in given]), torch.cat(expected)[:, 0])


def generation(subject: Subject) -> float:
    """Share of the tokens that differ in greedy generations without and with masks, from the plain model's."""
    head = subject.plain.get_output_embeddings().weight
    options: dict[str, Any] = {
        "max_new_tokens": NEW_TOKENS,
        "do_sample": False,
        "pad_token_id": 0,
        "suppress_tokens": [*range(subject.model.facts.vocabulary, len(head))] or None,
    }
    prompt = CODE[0][:40]
    masks = [Mask(key) for key in subject.strongest]
    found = generate(Generator(subject.model.of("D")), prompt, masks, new_tokens=NEW_TOKENS)
    ids = torch.tensor([found.prompt_ids])
    expected = {"baseline": subject.continued(ids, options)}
    with subject.zeroed():
        expected["masked"] = subject.continued(ids, options)
    pairs = [
        pair
        for branch in ("baseline", "masked")
        for pair in zip(found.ids(branch), expected[branch], strict=False)  # type: ignore[arg-type]
    ]
    same_length = all(len(found.ids(branch)) == len(expected[branch]) for branch in ("baseline", "masked"))  # type: ignore[arg-type]
    return sum(one != other for one, other in pairs) / len(pairs) if same_length else 1.0


PROOFS: Mapping[str, Callable[[Subject], float | None]] = {
    "load": load,
    "triggers": triggers,
    "statistics": statistics,
    "mask": mask,
    "mean ablation": mean_ablation,
    "lens": logit_lens,
    "contributions": contributions,
    "generate": generation,
}
"""Each returns its largest error, relative to the largest number compared, or None where nothing is defined."""


def prove(folder: Path | str, dtype: str, stack: Stack = "D") -> tuple[CodeModel, dict[str, float | None]]:
    """Load a model and run every proof, of an encoder–decoder for the keys of one stack."""
    assert dtype in DTYPES
    model = load_model(ModelSource(str(folder), dtype=dtype, device="cpu")).of(stack)
    subject = Subject.of(Path(folder), model)
    return model, {name: proof(subject) for name, proof in PROOFS.items()}


def _unscaled(norm: Any, residual: Tensor) -> Tensor:
    """(norm(x) - bias) · scale(x), which is linear in x."""
    bias = norm.bias if isinstance(norm, nn.LayerNorm) and norm.bias is not None else 0
    unscaled: Tensor = (norm(residual.to(norm.weight.dtype)).float() - bias) * _sigma(norm, residual)
    return unscaled.detach()


def _sigma(norm: Any, residual: Tensor) -> Tensor:
    residual = residual.float()
    if isinstance(norm, nn.LayerNorm):
        residual = residual - residual.mean(dim=-1, keepdim=True)
    epsilon = norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps
    return (residual.square().mean(dim=-1, keepdim=True) + epsilon).sqrt()


def _keep_input(into: list[Tensor]) -> Callable[[Any, tuple[Tensor, ...], Any], None]:
    return lambda _module, inputs, _output: into.append(inputs[0].reshape(-1, inputs[0].shape[-1]).float())


def _keep_output(into: list[Tensor], down: Any) -> Callable[[Any, Any, Tensor], None]:
    bias = 0 if down.bias is None else down.bias.float()
    return lambda _module, _inputs, output: into.append(output.reshape(-1, output.shape[-1])[-1:].float() - bias)


def _error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest number expected."""
    assert found.shape == expected.shape
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-30))
