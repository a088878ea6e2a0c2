"""An encoder–decoder goes from precompute through pages, labels, search, exports and notebooks to a masked generation."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import keyscope
from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from keyscope.contract.manifest import RunSettings, Task
from keyscope.notebook.run import UnknownKey
from keyscope.worker.analysis.kinds import make_analysis
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import open_subject
from keyscope.worker.live.server import create_worker_app
from keyscope.worker.live.settings import WorkerSettings
from keyscope.worker.model.errors import UndefinedHere
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.verify import verify_run
from keyscope.worker.progress import Silent
from tests.app.accounts.test_routes import DECLARED, ENDLESS
from tests.serving import serving
from tests.worker.precompute.corpora import run, write_corpus
from tests.worker.t5 import save_t5

SETTINGS = RunSettings(window=32, stride=32, top_k=3, context=4, keep_duplicates=True)
TASKS: dict[str, Task] = {"E": "encode", "D": "denoise"}
PROMPT = "def add(left, right):\n    return"


@dataclass(frozen=True)
class Served:
    """An app with a run of each stack, and a worker that serves their model."""

    client: TestClient
    model: Path
    files: dict[str, Path]

    def run_id(self, stack: str) -> str:
        return self.files[stack].stem


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("encoder-decoder")
    model, corpus = save_t5(folder / "model", "relu"), write_corpus(folder / "corpus", files=2)
    with ExitStack() as stack:
        files = {
            letter: run(model, corpus, folder / "runs", SETTINGS.model_copy(update={"task": task}))
            for letter, task in TASKS.items()
        }
        loaded = load_model(ModelSource(str(model), device="cpu"))
        for path in files.values():
            for kind in ("firing", "syntax", "concepts"):
                with open_subject(path, loaded, (), Silent()) as subject:
                    analyse(subject, make_analysis(kind, {}))
        url = stack.enter_context(serving(create_worker_app(WorkerSettings(model=str(model), device="cpu"))))
        settings = Settings(
            runs=folder / "runs", database_url=f"sqlite:///{folder / 'labels.sqlite'}", worker_urls=[url]
        )
        yield Served(stack.enter_context(TestClient(create_app(settings))), model, files)


@pytest.mark.parametrize("stack", TASKS)
def test_every_route_of_a_run_answers_or_says_what_it_lacks(served: Served, stack: str) -> None:
    known = {"run": served.run_id(stack), "layer": "1", "key": f"{stack}1.K5", "table": "triggers", "name": "1"}
    wrong = []
    for route in DECLARED:
        method, path = route.split(" ")
        if method != "GET" or "{run}" not in path or route in ENDLESS:
            continue
        answer = served.client.get(
            re.sub(r"\{(\w+)\}", lambda name: known.get(name[1], "nothing"), path), follow_redirects=False
        )
        other = set(re.findall(r"\{(\w+)\}", path)) - {"run", "layer", "key"}
        allowed = {200, 302, 303, 409, *((404, 422) if other else ())}
        # analyses that are not computed, or not defined, are 404 in JSON, with a sentence
        missing = answer.status_code == 404 and path.startswith("/api") and len(answer.json()["detail"]) > 20
        if answer.status_code not in allowed and not missing:
            wrong.append(f"{path}: {answer.status_code} {answer.text[:200]}")
    assert wrong == []


@pytest.mark.parametrize("stack", TASKS)
def test_a_key_has_its_name_on_pages_in_search_and_in_exports(served: Served, stack: str) -> None:
    client, run_id, other = served.client, served.run_id(stack), "D" if stack == "E" else "E"
    name = re.compile(rf"\b{stack}\d\.K\d+\b")
    for path in (
        f"/runs/{run_id}/layers/1",
        f"/runs/{run_id}/keys/{stack}1.K5",
        f"/runs/{run_id}/search?language=python",
    ):
        text = client.get(path).text
        assert name.search(text), path
        # the glossary and empty fields give L5.K312 and L6.K41 as examples
        assert set(re.findall(r"\bL\d+\.K\d+\b", text)) <= {"L5.K312", "L6.K41"}, path
    key = client.get(f"/api/v1/runs/{run_id}/keys/{stack}1.K5").json()
    assert (key["key"], key["layer"], key["index"]) == (f"{stack}1.K5", 1, 5)
    assert key["neighbours"]["next"] == f"{stack}1.K6"
    assert key["triggers"]
    rows = client.get(f"/api/v1/runs/{run_id}/export/layers/1/keys?format=csv").text.splitlines()[1:]
    assert {row[: len("E1.K")] for row in rows if row.startswith(("L", "E", "D"))} == {f"{stack}1.K"}
    found = client.get(f"/api/v1/runs/{run_id}/search?language=python").json()
    assert found["keys"]
    assert all(each["key"].startswith(stack) for each in found["keys"])
    refused = client.get(f"/api/v1/runs/{run_id}/keys/{other}1.K5")
    assert (refused.status_code, refused.json()["error"]) == (404, "other_stack")
    assert f"names like {stack}1.K5; {served.run_id(other)} has those" in refused.json()["detail"]
    assert f"/runs/{served.run_id(other)}" in client.get(f"/runs/{run_id}/keys/{other}1.K5").text


def test_labels_tell_the_stacks_apart(served: Served) -> None:
    client, person = served.client, {"X-Keyscope-Person": "Ada"}
    for stack, kind in (("E", "syntactic"), ("D", "semantic")):
        path = f"/api/v1/runs/{served.run_id(stack)}/keys/{stack}1.K7/labels"
        assert client.put(path, json={"kind": kind}, headers=person).status_code == 200
    for stack, kind in (("E", "syntactic"), ("D", "semantic")):
        run_id = served.run_id(stack)
        labels = client.get(f"/api/v1/runs/{run_id}/keys/{stack}1.K7").json()["labels"]
        assert [each["kind"] for each in labels] == [kind]
        found = client.get(f"/api/v1/runs/{run_id}/search?label={kind}").json()
        assert [each["key"] for each in found["keys"]] == [f"{stack}1.K7"]
        queue = client.get(f"/api/v1/runs/{run_id}/labels/agreement").json()
        assert sum(layer["labelled"] for layer in queue["layers"]) == 1
    exported = client.get(f"/api/v1/labels/export?format=csv&run={served.run_id('E')}").text
    assert {"E1.K7", "D1.K7"} <= set(re.findall(r"[LED]\d\.K\d+", exported))


def test_notebooks_name_keys_of_both_stacks(served: Served) -> None:
    with keyscope.open_run(served.files["E"]) as opened:
        assert opened.keys(layer=1).filter('"index" = 4').fetchall()[0][0] == "E1.K4"
        assert "E1.K4" in opened.key("E1.K4")._repr_html_()
        assert opened.sql("SELECT DISTINCT stack FROM triggers").fetchall() == [("E",)]
        with pytest.raises(UnknownKey, match="begin with E"):
            opened.key("D1.K4")


def test_a_published_run_verifies(served: Served) -> None:
    for path in served.files.values():
        assert verify_run(path, str(served.model), 10, 2, 0, Silent(), device="cpu").passed


@pytest.mark.parametrize("stack", TASKS)
def test_masks_on_keys_of_both_stacks_equal_zeroed_values(served: Served, stack: str) -> None:
    names = [
        *(f"E0.K{index}" for index in range(8)),
        *(f"D{layer}.K{index}" for layer in range(3) for index in range(6)),
    ]
    body = {
        "run": served.run_id(stack),
        "prompt": PROMPT,
        "masks": [{"key": name, "factor": 0} for name in names],
        "max_new_tokens": 6,
        "temperature": 0,
    }
    answer = served.client.post("/api/v1/live/generate", json=body).json()
    plain: Any = AutoModelForSeq2SeqLM.from_pretrained(served.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(served.model)
    ids = tokenizer(f"{PROMPT}<extra_id_0>", return_tensors="pt")["input_ids"]

    def expected() -> list[int]:
        # without its cache: that of transformers counts on as many layers in both stacks
        unknown = list(range(len(tokenizer), plain.config.vocab_size))
        made = plain.generate(ids, max_new_tokens=6, do_sample=False, use_cache=False, suppress_tokens=unknown)
        return [int(token) for token in made[0, 1:]]

    assert [each["token_id"] for each in answer["baseline"]["tokens"]] == expected()
    with torch.no_grad():
        for name in names:
            of, layer, index = name[0], int(name[1]), int(name.partition("K")[2])
            block = (plain.encoder if of == "E" else plain.decoder).block[layer]
            block.layer[-1].DenseReluDense.wo.weight[:, index] = 0
    assert [each["token_id"] for each in answer["masked"]["tokens"]] == expected()
    assert answer["baseline"]["tokens"] != answer["masked"]["tokens"]
    assert answer["applied"] == {"keys": len(names), "positions": len(ids[0]) + 6}


def test_masks_on_the_prompt_act_on_the_encoder_and_those_on_the_continuation_on_the_decoder(served: Served) -> None:
    body = {"run": served.run_id("E"), "prompt": PROMPT, "max_new_tokens": 4, "temperature": 0}
    base = [{"key": f"E0.K{index}"} for index in range(8)]
    whole = served.client.post("/api/v1/live/generate", json=body | {"masks": base}).json()
    for positions, same in (("prompt", whole["masked"]), ("generated", whole["baseline"])):
        asked = body | {"masks": [*base, {"key": "D0.K0", "factor": 1}], "positions": positions}
        answer = served.client.post("/api/v1/live/generate", json=asked).json()
        assert [each["token_id"] for each in answer["masked"]["tokens"]] == [
            each["token_id"] for each in same["tokens"]
        ]


def test_texts_are_read_with_both_stacks(served: Served) -> None:
    asked = {"run": served.run_id("D"), "text": PROMPT}
    behind = served.client.post("/api/v1/live/activations", json=asked).json()
    assert all(each["key"].startswith("D") for each in behind["keys"])
    last = served.client.post("/api/v1/live/lens", json=asked | {"last": 3}).json()["cells"]
    following = served.client.post("/api/v1/live/next", json=asked | {"masks": [[]]}).json()["branches"][0]["top"][0]
    assert behind["next"][0]["token_id"] == following["token_id"] == last[-1][-1]["top"][0]["token_id"]
    both = served.client.post("/api/v1/live/coefficients", json=asked | {"keys": ["E1.K3", "D2.K4"]}).json()
    assert [len(each["coefficients"]) for each in both["keys"]] == [len(both["tokens"])] * 2
    strongest = next(each for each in behind["keys"])
    again = served.client.post("/api/v1/live/coefficients", json=asked | {"keys": [strongest["key"]]}).json()
    assert again["keys"][0]["coefficients"][-1] == pytest.approx(strongest["coefficient"], rel=1e-4)
    long = served.client.post("/api/v1/live/coefficients", json=asked | {"text": "x = 1\n" * 60, "keys": ["D2.K4"]})
    assert (long.status_code, long.json()["error"]) == (400, "prompt_too_long")


def test_what_a_stack_does_not_define_is_refused_with_the_reason(served: Served) -> None:
    loaded = load_model(ModelSource(str(served.model), device="cpu"))
    for stack, reason in (("E", "cross-attention"), ("D", "the encoder the rest of the window")):
        with (
            open_subject(served.files[stack], loaded, (), Silent()) as subject,
            pytest.raises(UndefinedHere, match=reason),
        ):
            analyse(subject, make_analysis("agreement", {}))
        page = served.client.get(f"/runs/{served.run_id(stack)}").text
        assert reason.replace("'", "&#39;") in page
    encoder, decoder = (
        served.client.get(f"/api/v1/runs/{served.run_id(stack)}/keys/{stack}1.K5").json() for stack in TASKS
    )
    for name in ("kv_agreement", "kv_precision", "vocab_kurtosis"):
        assert encoder["stats"][name] is None
        assert decoder["stats"][name] is not None
    assert not encoder["value_tokens"]["promoted"]
    assert decoder["value_tokens"]["promoted"]
    assert "cross-attention" in served.client.get(f"/runs/{served.run_id('E')}/keys/E1.K5").text
