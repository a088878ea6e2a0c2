"""The share of windows in which a key's largest coefficient lies on a sink equals a plain computation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from keyscope.contract.manifest import RunSettings
from keyscope.contract.runfile import open_run
from keyscope.worker.precompute import sinks
from tests.worker.models import LAYERS, save_tiny
from tests.worker.precompute.brute_force import DOWN
from tests.worker.precompute.corpora import run, write_corpus

SETTINGS = RunSettings(window=32, burn_in=8, top_k=3, context=4, histogram_every=1, bos="eos")
MULTIPLE = 1.15
"""Low enough for a random model to have sinks."""


def _expected(folder: Path, corpus: Path) -> np.ndarray:
    """Share by key, from every window of every file alone, with plain transformers."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    coefficients: dict[int, torch.Tensor] = {}
    residuals: dict[int, torch.Tensor] = {}
    for layer in range(LAYERS):
        DOWN["codegen"](model, layer).register_forward_pre_hook(
            lambda _module, args, layer=layer: coefficients.__setitem__(layer, args[0][0])
        )
        model.transformer.h[layer].register_forward_hook(
            lambda _module, _args, out, layer=layer: residuals.__setitem__(
                layer, (out[0] if isinstance(out, tuple) else out).reshape(-1, model.config.n_embd)
            )
        )
    found = []
    for file in corpus.rglob("*.*"):
        ids = tokenizer(file.read_text("utf-8"), add_special_tokens=False)["input_ids"]
        for start in range(0, max(1, len(ids) - SETTINGS.burn_in), SETTINGS.stride):
            with torch.no_grad():
                model(torch.tensor([[0, *ids[start : start + SETTINGS.window]]]))
            lengths = torch.stack([residuals[layer].norm(dim=1) for layer in range(LAYERS)])
            sink = (lengths > MULTIPLE * lengths.median(dim=1, keepdim=True).values).any(dim=0)
            place = torch.cat([coefficients[layer] for layer in range(LAYERS)], dim=1).abs().argmax(dim=0)
            found.append(sink[place])
    return torch.stack(found).float().mean(dim=0).numpy()


@pytest.mark.parametrize("batch", [1, 5])
def test_the_share_on_sinks_equals_a_plain_computation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(sinks, "MULTIPLE", MULTIPLE)
    model, corpus = save_tiny(tmp_path / "model", "codegen"), write_corpus(tmp_path / "corpus", files=4)
    path = run(model, corpus, tmp_path / "runs", SETTINGS, batch=batch)
    with open_run(path) as connection:
        stored = connection.execute('SELECT sink_share FROM keys ORDER BY layer, "index"').fetchall()
    expected = _expected(model, corpus)
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_allclose(np.array(stored)[:, 0], expected, atol=1.5 / 20)


def test_no_window_looked_at_is_no_share(tmp_path: Path) -> None:
    model, corpus = save_tiny(tmp_path / "model", "codegen"), write_corpus(tmp_path / "corpus", files=1)
    path = run(model, corpus, tmp_path / "runs", SETTINGS.model_copy(update={"histogram_every": 1 << 20}))
    with open_run(path) as connection:
        assert connection.execute("SELECT DISTINCT sink_share FROM keys").fetchall() == [(None,)]
