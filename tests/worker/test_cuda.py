"""A GPU gives what the CPU gives; only where there is one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from keyscope.contract.keys import KeyId, Mask, Scale
from keyscope.contract.runfile import open_run
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.taps import mask_coefficients, read_coefficients
from tests.worker.models import TINY, save_tiny
from tests.worker.precompute.corpora import run, write_corpus

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.mark.parametrize("kind", ["codegen", "llama"])
def test_a_run_has_the_same_triggers_and_statistics(tmp_path: Path, kind: str) -> None:
    model, corpus = save_tiny(tmp_path / "model", kind), write_corpus(tmp_path / "corpus")
    found = []
    for device in ("cpu", "cuda"):
        source = ModelSource(str(model), dtype="float32", device=device)
        with open_run(run(model, corpus, tmp_path / device, source=source)) as connection:
            triggers = connection.execute(
                'SELECT coefficient FROM triggers ORDER BY layer, "index", language, polarity, rank'
            ).fetchnumpy()
            keys = connection.execute('SELECT mean, variance, maximum FROM keys ORDER BY layer, "index"').fetchnumpy()
            found.append([triggers["coefficient"], *keys.values()])
    for cpu, cuda in zip(*found, strict=True):
        np.testing.assert_allclose(cuda, cpu, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(TINY))
@torch.inference_mode()
def test_coefficients_and_masked_logits_are_the_same(tmp_path: Path, kind: str) -> None:
    folder = save_tiny(tmp_path, kind)
    seen = []
    for device in ("cpu", "cuda"):
        model = load_model(ModelSource(str(folder), dtype="float32", device=device))
        ids = torch.arange(5, 25, device=model.device)[None]
        found: list[torch.Tensor] = []
        masks = [Mask(KeyId(1, key), Scale(0)) for key in range(8)]
        with (
            read_coefficients(model, lambda _layer, c, found=found: found.append(c.cpu())),
            mask_coefficients(model, [masks]),
        ):
            logits = model.logits(ids).cpu()
        seen.append([*found, logits])
    for cpu, cuda in zip(*seen, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=1e-3, atol=1e-4)
