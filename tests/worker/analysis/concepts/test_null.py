"""Random weights have no keys for concepts: the demo model with shuffled blocks, on real code, has next to none.

Nothing is made blind here: shuffled keys prefer some tokens, and those are near some concepts.
"""

import shutil
import sysconfig
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from keyscope.contract.concepts import SHIPPED
from keyscope.contract.manifest import RunSettings
from keyscope.contract.runfile import open_run
from keyscope.worker.analysis.concepts import make
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import open_subject
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.twin import shuffle
from keyscope.worker.progress import Silent
from tests.worker.precompute.corpora import run

NANO = Path(__file__).parents[4] / "models" / "codegen-nano"
LIBRARY = Path(sysconfig.get_path("stdlib"))
PACKAGES = (
    "asyncio",
    "concurrent/futures",
    "email",
    "http",
    "importlib",
    "json",
    "logging",
    "unittest",
    "urllib",
    "xml/sax",
)
EACH = 5
"""Files of every package."""
SETTINGS = RunSettings(window=128, stride=128, top_k=50, context=4, tokens_per_file=500)
CONCEPTS = {"causal_windows": "0"}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The largest files of some packages of Python's standard library, each package a project."""
    folder = tmp_path_factory.mktemp("code")
    for package in PACKAGES:
        files = sorted((LIBRARY / package).glob("*.py"), key=lambda path: (-path.stat().st_size, path.name))
        target = folder / package.replace("/", "-")
        target.mkdir()
        for path in files[:EACH]:
            shutil.copy(path, target)
    return folder


def computed(model: Path, code: Path, out: Path) -> Path:
    """A run of a model with its concepts."""
    path = run(model, code, out, SETTINGS, files_per_shard=64, batch=8)
    with open_subject(path, ModelSource(str(model), dtype="float32", device="cpu"), (), Silent()) as subject:
        analyse(subject, make(CONCEPTS))
    return path


def significant(path: Path, where: str = "true") -> tuple[int, int]:
    """Significant keys over all concepts, and all keys times concepts."""
    with open_run(path) as connection:
        query = f"SELECT sum(significant), sum(keys) FROM concept_layers WHERE NOT control AND {where}"
        ((found, tried),) = connection.execute(query).fetchall()
    return int(found), int(tried)


def test_the_demo_model_with_shuffled_blocks_has_next_to_no_significant_key(code: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(NANO, dtype=torch.float32)
    shuffle(model.transformer.h, seed=1)
    saved = tmp_path / "shuffled"
    model.save_pretrained(saved)
    AutoTokenizer.from_pretrained(NANO).save_pretrained(saved)
    path = computed(saved, code, tmp_path / "runs")
    found, tried = significant(path)
    assert tried >= 5120 * sum("python" in concept.patterns for concept in SHIPPED)
    assert found <= 0.005 * tried
    with open_run(path) as connection:
        query = "SELECT sum(above_random) FROM concept_layers WHERE NOT control"
        above = connection.execute(query).fetchall()[0][0]
    assert above > 10 * max(found, 1), "against random tokens the same keys look like many: the test can fail"
