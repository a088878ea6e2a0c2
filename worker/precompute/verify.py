"""Recomputing random keys of a run with plain transformers, sharing no code with the precompute's hooks.

Down projections are found by their shape, not by the table of families; their input is captured by wrapping the module's
`forward`; windows are read back from the run file and run one at a time.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from keyscope.contract.keys import KeyId, Stack
from keyscope.contract.manifest import Framing, Manifest, Verification
from keyscope.contract.runfile import open_run, read_manifest
from keyscope.contract.whole import write_whole
from keyscope.worker.model.load import DTYPES, find_device
from keyscope.worker.model.source import DEFAULT_CACHE
from keyscope.worker.model.weights import auto_model, find_weights, readable
from keyscope.worker.precompute.errors import OtherModel, VerificationFailed
from keyscope.worker.progress import Progress

RELATIVE = {"float64": 1e-7, "float32": 1e-4, "float16": 0.02, "bfloat16": 0.1}
"""Allowed difference relative to the coefficient, by dtype."""
ABSOLUTE = {"float64": 1e-8, "float32": 1e-5, "float16": 5e-3, "bfloat16": 0.05}
"""Allowed difference relative to the key's largest coefficient, by dtype: small coefficients of a key are differences
of large terms, so their error follows the large ones."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A trigger as stored in the run file."""

    key: KeyId
    coefficient: float
    position: int
    token_ids: tuple[int, ...]
    decoded: tuple[bool, ...] | None
    key_scale: float


def verify_run(
    path: Path,
    model: str | None,
    keys: int,
    triggers_per_key: int,
    seed: int,
    progress: Progress,
    device: str = "auto",
    cache: Path = DEFAULT_CACHE,
) -> Verification:
    """Verify a published run and write the result beside it as `NAME.verify.json`.

    Args:
        path: the run file.
        model: the model; by default the one named in the manifest.
        keys: number of random keys.
        triggers_per_key: number of random triggers recomputed for each.
        seed: seed of the random choice.
        progress: listener.
        device: device to compute on.
        cache: folder of converted GGUF files.

    Raises:
        OtherModel: the model's weights differ from the run's.
    """
    connection = open_run(path)
    try:
        manifest = read_manifest(connection)
        name = model or manifest.model.model_id
        with readable(name):
            weights = find_weights(name, manifest.model.revision, cache)
        if weights.sha256 != manifest.model.weights_sha256:
            raise OtherModel(
                f"{weights.folder} has weights {weights.sha256[:12]}, but the run {manifest.run_id} was computed with "
                f"{manifest.model.weights_sha256[:12]}: name the right model with --model"
            )
        with readable(name):
            kind = auto_model(encoder_decoder=manifest.model.framing is not None)
            plain = kind.from_pretrained(weights.folder, dtype=DTYPES[manifest.settings.dtype])
        nn.Module.eval(nn.Module.to(plain, find_device(device)))
        verification = verify(connection, manifest, plain, keys, triggers_per_key, seed, progress)
    finally:
        connection.close()
    write_whole(path.with_suffix(".verify.json"), verification.model_dump_json(indent=2) + "\n")
    return verification


@torch.no_grad()
def verify(
    connection: duckdb.DuckDBPyConnection,
    manifest: Manifest,
    model: nn.Module,
    keys: int,
    triggers_per_key: int,
    seed: int,
    progress: Progress,
) -> Verification:
    """Verify an open run with a plain transformers model.

    Raises:
        VerificationFailed: a recomputed coefficient is not finite, so there is nothing to compare.
    """
    started = time.monotonic()
    chosen = choose_triggers(connection, manifest, keys, triggers_per_key, seed)
    downs = find_downs(_stack_of(model, manifest.model.stack), manifest.model.keys_per_layer, manifest.model.width)
    relative, absolute = RELATIVE[manifest.settings.dtype], ABSOLUTE[manifest.settings.dtype]
    largest_error, tolerance, passed = 0.0, 0.0, True
    windows: dict[tuple[tuple[int, ...], tuple[bool, ...] | None], list[Stored]] = {}
    expected = _after_activation(manifest)
    for stored in chosen:
        windows.setdefault((stored.token_ids, stored.decoded), []).append(stored)
    with progress.stage("verifying", len(windows), "windows") as advance:
        for (token_ids, decoded), triggers in windows.items():
            inputs, columns = _inputs(manifest.model.framing, token_ids, decoded)
            caught = run_plain(model, downs, inputs, {trigger.key.layer for trigger in triggers})
            for trigger in triggers:
                again = float(caught[trigger.key.layer][columns[trigger.position], trigger.key.index])
                error = abs(again - expected(trigger.coefficient, again))
                if not np.isfinite(error):
                    raise VerificationFailed(
                        f"the recomputed coefficient of {trigger.key} is {again}, not a finite number"
                    )
                allowed = absolute * trigger.key_scale + relative * abs(again)
                largest_error, tolerance = max(largest_error, error), max(tolerance, allowed)
                passed = passed and error <= allowed
            advance(1)
    return Verification(
        keys=len({stored.key for stored in chosen}),
        triggers=len(chosen),
        largest_error=largest_error,
        tolerance=tolerance,
        passed=passed,
        seconds=time.monotonic() - started,
    )


def _after_activation(manifest: Manifest) -> Callable[[float, float], float]:
    """The input of the down projection that a stored number implies, given the one found."""
    if manifest.settings.preset != "paper2023":
        return lambda stored, _found: stored
    activation = ACT2FN[manifest.model.activation]
    # this preset stores max(0, pre-activation): of a stored 0 only the sign can be checked
    return lambda stored, found: float(activation(torch.tensor(stored))) if stored > 0 else min(found, 0.0)


def choose_triggers(
    connection: duckdb.DuckDBPyConnection, manifest: Manifest, keys: int, triggers_per_key: int, seed: int
) -> list[Stored]:
    """Choose random keys and random stored triggers of each."""
    random = np.random.default_rng(seed)
    all_keys = [(layer, index) for layer, count in enumerate(manifest.model.keys_per_layer) for index in range(count)]
    chosen = []
    for number in random.choice(len(all_keys), size=min(keys, len(all_keys)), replace=False):
        layer, index = all_keys[number]
        rows = connection.execute(
            "SELECT t.coefficient, t.position, w.token_ids, w.decoded, max(abs(t.coefficient)) OVER () FROM triggers t "
            'JOIN windows w USING (window_id) WHERE t.layer = ? AND t."index" = ? ORDER BY t.language, t.polarity, t.rank',
            [layer, index],
        ).fetchall()
        for row in random.permutation(len(rows))[:triggers_per_key]:
            coefficient, position, token_ids, decoded, scale = rows[row]
            shared = None if decoded is None else tuple(decoded)
            key = manifest.model.key(layer, index)
            chosen.append(Stored(key, coefficient, position, tuple(token_ids), shared, scale))
    return chosen


def _stack_of(model: Any, stack: Stack) -> nn.Module:
    """The part of a model with the layers of a stack."""
    part: nn.Module = model.get_encoder() if stack == "E" else model.get_decoder() if stack == "D" else model
    return part


def _inputs(
    framing: Framing | None, token_ids: tuple[int, ...], decoded: tuple[bool, ...] | None
) -> tuple[dict[str, list[int]], list[int]]:
    """What a plain model is given for a stored window, and where each of the window's tokens is in what the stack reads."""
    if framing is None:
        return {"input_ids": list(token_ids)}, list(range(len(token_ids)))
    if decoded is None:
        source = [*token_ids, *framing.suffix]
        return {"input_ids": source, "decoder_input_ids": [framing.start]}, list(range(len(token_ids)))
    source, target, columns = list(framing.prefix), [framing.start], list[int]()
    missing = 0
    for token_id, here, before in zip(token_ids, decoded, (False, *decoded), strict=False):
        if here and not before and framing.sentinels:
            source.append(framing.sentinels[missing])
            target.append(framing.sentinels[missing])
            missing += 1
        columns.append(len(target))
        (target if here else source).append(token_id)
    return {"input_ids": source + framing.suffix, "decoder_input_ids": target}, columns


def find_downs(model: nn.Module, keys_per_layer: list[int], width: int) -> list[nn.Module]:
    """Find the last module of each block whose weight maps that many keys to the residual's width."""
    for blocks in (module for module in model.modules() if isinstance(module, nn.ModuleList)):
        if len(blocks) != len(keys_per_layer):
            continue
        downs = [_down_of(block, n, width) for block, n in zip(blocks, keys_per_layer, strict=True)]
        if all(down is not None for down in downs):
            return [down for down in downs if down is not None]
    raise VerificationFailed(
        f"found no stack of {len(keys_per_layer)} blocks with projections of {keys_per_layer[0]} keys"
    )


def _down_of(block: nn.Module, keys: int, width: int) -> nn.Module | None:
    """The last matching module: up and down projections may have the same shape, and `down` is registered last."""
    candidates = []
    for module in block.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() == 2:
            takes = weight.shape[1] if isinstance(module, nn.Linear) else weight.shape[0]
            if takes == keys and weight.numel() == keys * width:
                candidates.append(module)
    return candidates[-1] if candidates else None


def run_plain(
    model: nn.Module, downs: list[nn.Module], inputs: dict[str, list[int]], layers: set[int]
) -> dict[int, Tensor]:
    """Coefficients [tokens, keys] of some layers, by layer, on one window."""
    caught: dict[int, Tensor] = {}
    with _wrapped({layer: downs[layer] for layer in layers}, caught):
        device = next(model.parameters()).device
        model(**{name: torch.tensor([ids], device=device) for name, ids in inputs.items()}, use_cache=False)
    return caught


@contextmanager
def _wrapped(modules: dict[int, nn.Module], caught: dict[int, Tensor]) -> Iterator[None]:
    """Record the inputs of some modules by wrapping their `forward`."""

    def wrap(layer: int, forward: Any) -> Any:
        def note(x: Tensor) -> Tensor:
            # one window is read at a time, and OPT runs rows and tokens as one dimension
            caught[layer] = x.detach().reshape(-1, x.shape[-1]).float()
            result: Tensor = forward(x)
            return result

        return note

    try:
        for layer, module in modules.items():
            vars(module)["forward"] = wrap(layer, module.forward)
        yield
    finally:
        for module in modules.values():
            vars(module).pop("forward", None)
