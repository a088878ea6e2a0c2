"""Random weights have no keys for concepts, and keys that read a concept are all found: the demo model, on real code.

Nothing is made blind here: shuffled keys prefer some tokens, and those are near some concepts.
"""

import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from keyscope.contract.concepts import SHIPPED
from keyscope.contract.manifest import RunSettings
from keyscope.contract.runfile import open_run
from keyscope.worker.analysis.concepts import make
from keyscope.worker.analysis.concepts.distinct import DistinctHits
from keyscope.worker.analysis.concepts.hits import LayerTriggers, token_lines
from keyscope.worker.analysis.concepts.lines import lines_of, near
from keyscope.worker.analysis.concepts.places import find, tokens_inside
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import open_subject
from keyscope.worker.analysis.twin import analyse_twin, precompute_twin
from keyscope.worker.concepts.matching import Matching
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.corpus import gather_settings, prepare_corpus
from keyscope.worker.precompute.token_store import open_tokens
from keyscope.worker.precompute.windows import Cut
from keyscope.worker.progress import Silent
from tests.worker.precompute.corpora import run

NANO = Path(__file__).parents[4] / "models" / "codegen-nano"
LAYERS, KEYS = 4, 400
"""Its lower layers, and most of the keys of each: the others would cost time and show the same."""
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
TOKENS = 400
"""From the head of each file, where imports are."""
SETTINGS = RunSettings(window=128, stride=128, top_k=50, context=1, tokens_per_file=TOKENS)
CONCEPTS = {"causal_windows": "0"}
FEWEST = 8
"""Files with a concept that tell it from the words of a random key."""
CARRIERS = ((3, 11), (3, 22), (3, 33))
"""Keys that are made to read import statements, where a layer reads more than the token."""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The largest files of some packages of Python's standard library, each package a project."""
    folder = tmp_path_factory.mktemp("code")
    for package in PACKAGES:
        files = sorted(
            (path for path in (LIBRARY / package).glob("*.py") if path.stat().st_size),
            key=lambda path: (-path.stat().st_size, path.name),
        )
        target = folder / package.replace("/", "-")
        target.mkdir()
        for path in files[:EACH]:
            shutil.copy(path, target)
    return folder


@pytest.fixture(scope="module")
def planted(code: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The run of the demo model with carriers, and that of its twin, both with their concepts."""
    folder = tmp_path_factory.mktemp("planted")
    original = AutoModelForCausalLM.from_pretrained(NANO, dtype=torch.float32)
    original.transformer.h = original.transformer.h[:LAYERS]
    for block in original.transformer.h:
        block.mlp.fc_in.weight.data = block.mlp.fc_in.weight.data[:KEYS].clone()
        block.mlp.fc_in.bias.data = block.mlp.fc_in.bias.data[:KEYS].clone()
        block.mlp.fc_out.weight.data = block.mlp.fc_out.weight.data[:, :KEYS].clone()
    original.config.n_layer, original.config.n_inner = LAYERS, KEYS
    tokenizer, saved = AutoTokenizer.from_pretrained(NANO), folder / "model"
    plant(original, tokenizer, code)
    original.save_pretrained(saved)
    tokenizer.save_pretrained(saved)
    path = run(saved, code, folder / "runs", SETTINGS, batch=32)
    model = load_model(ModelSource(str(saved), dtype="float32", device="cpu"))
    precompute_twin(path, model, (), Silent(), batch=32, seed=1)
    analyse_twin(path, model, [make(CONCEPTS)], Silent(), batch=32)
    with open_subject(path, model, (), Silent(), 32) as subject:
        analyse(subject, make(CONCEPTS | {"names": "imports"}))
    with open_run(path) as connection:
        yield connection


def plant(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, code: Path) -> None:
    """Let the carriers fire on import statements and hardly anywhere else: linear discriminants of what they read.

    They are to tell the names in such statements from all other code, for a key that fires on one word tells a word.
    """
    reads: dict[int, list[npt.NDArray[np.float32]]] = {layer: [] for layer, _ in CARRIERS}
    hooks = [
        model.transformer.h[layer].mlp.fc_in.register_forward_pre_hook(
            lambda _module, inputs, layer=layer: reads[layer].append(inputs[0][0].numpy())
        )
        for layer in reads
    ]
    inside, words = [], []
    keywords = [tokenizer.encode(word)[0] for word in ("import", " import", "from", " from")]
    for path in sorted(code.rglob("*.py")):
        text = path.read_text("utf-8")[: 3 * TOKENS]
        tokens = tokenizer(text, return_offsets_mapping=True)
        ids = torch.tensor(tokens["input_ids"][:TOKENS])
        with torch.inference_mode():
            for window in ids.split(SETTINGS.window):
                model.transformer(window[None])
        lines = text.split("\n")
        imports = np.array([line.startswith(("import ", "from ")) for line in lines])
        ends = np.cumsum([len(line) + 1 for line in lines])
        starts = [first for first, _ in tokens["offset_mapping"][:TOKENS]]
        inside.append(imports[np.searchsorted(ends, starts, side="right")])
        words.append(np.isin(ids.numpy(), keywords))
    for hook in hooks:
        hook.remove()
    there = np.concatenate(inside)
    names = there & ~np.concatenate(words)
    for number, (layer, key) in enumerate(CARRIERS):
        read = np.concatenate(reads[layer]).astype(np.float64)
        mine = np.arange(len(read)) % len(CARRIERS) != number
        means, spreads = zip(
            *((read[part & mine].mean(axis=0), np.cov(read[part & mine].T)) for part in (names, ~there)), strict=True
        )
        weights = np.linalg.solve(sum(spreads) + 0.01 * np.eye(read.shape[1]), means[0] - means[1])
        scores = read @ weights
        # fires on a token in a thousand elsewhere
        least, scale = np.quantile(scores[~there], 0.999), 1 / scores[~there].std()
        mlp = model.transformer.h[layer].mlp
        with torch.no_grad():
            mlp.fc_in.weight[key] = torch.from_numpy(scale * weights).float()
            mlp.fc_in.bias[key] = -scale * least
            mlp.fc_out.weight[:, key] = 0


def test_shuffled_blocks_have_next_to_no_significant_key(planted: duckdb.DuckDBPyConnection) -> None:
    query = """
        SELECT sum(significant) / sum(keys), sum(above_random) / sum(keys), sum(keys)
        FROM twin.concept_layers WHERE NOT control GROUP BY concept"""
    found, above, keys = np.array(planted.execute(query).fetchall()).T
    assert len(keys) == sum("python" in concept.patterns for concept in SHIPPED)
    assert set(keys) == {LAYERS * KEYS}
    assert max(found) <= 0.005
    assert max(above) > 0.005, "held against random tokens the same keys fail: the test can"


@pytest.mark.parametrize("rule", ["significant", "distinct_q <= 0.05"], ids=["with a twin", "without"])
def test_keys_that_read_a_concept_are_all_found(planted: duckdb.DuckDBPyConnection, rule: str) -> None:
    query = f"SELECT layer, \"index\" FROM concept_keys WHERE concept LIKE 'imports-%' AND {rule}"
    assert set(planted.execute(query).fetchall()) >= set(CARRIERS)


def test_a_key_that_fires_at_all_places_of_a_concept_is_found_even_if_they_are_a_few_words(
    code: Path, tmp_path: Path
) -> None:
    """Triggers as such a key has them: one of the places in every file, whichever is strongest there."""
    settings = SETTINGS.model_copy(update={"tokens_per_file": 4 * TOKENS})
    tokenizer, gathered = AutoTokenizer.from_pretrained(NANO), gather_settings(settings, ["python"])
    prepare_corpus(tmp_path, [str(code)], gathered, tokenizer, settings, None, Silent())
    store, random = open_tokens(tmp_path), np.random.default_rng(0)
    concepts = [concept for concept in SHIPPED if "python" in concept.patterns]
    with Matching() as matching:
        places = find(matching, store, concepts, lambda _done: None)
    lines, cut, all_files = lines_of(store), Cut.of(SETTINGS), np.ones(store.n_files, dtype=bool)
    on_lines = token_lines(store, lines)
    covered = [np.ones(1, dtype=bool)] * len(concepts)
    close = [near(lines, places.concept(number)) for number in range(len(concepts))]
    distinct = DistinctHits(store, on_lines, close, places, covered, cut, all_files)
    tried = set()
    for number, concept in enumerate(concepts):
        marks = [tokens_inside(store, places.concept(number), file) for file in range(store.n_files)]
        files = np.array([file for file, marked in enumerate(marks) if marked.any()])
        if len(files) < FEWEST:
            continue
        tried.add(concept.name)
        positions = np.array([random.choice(np.flatnonzero(marks[file])) for file in files])
        tokens, firsts = store.offsets[files] + positions, store.offsets[files] + cut.start(positions)
        none = np.zeros(len(files), dtype=np.int64)
        triggers = LayerTriggers(1, none, files, on_lines[tokens], none, firsts, tokens)
        assert distinct.log_p(number, triggers) + np.log(LAYERS * KEYS) <= np.log(0.05), concept.name
    assert {"imports", "loops", "error-handling", "strings"} <= tried
