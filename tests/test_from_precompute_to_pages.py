"""A model of each family goes from precompute through pages to a masked generation, in one process."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from fastapi.testclient import TestClient

from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from keyscope.contract.manifest import RunSettings
from keyscope.worker.live.server import create_worker_app
from keyscope.worker.live.settings import WorkerSettings
from tests.serving import serving
from tests.worker.models import save_tiny
from tests.worker.precompute.corpora import run, write_corpus

SETTINGS = RunSettings(window=32, stride=32, top_k=3, context=4, keep_duplicates=True)
CODEGEN, POLYCODER, STARCODER = "codegen", "gpt_neox-sequential", "gpt_bigcode"
SHOWN = (CODEGEN, POLYCODER, STARCODER, "starcoder2", "gpt2", "llama", "opt")
POST_NORM = "gemma2"
REASON = "a norm stands between its feed-forward layers and the residual"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """One app with a run of each model and a live worker for each; yields a client and the runs' names."""
    folder = tmp_path_factory.mktemp("families")
    corpus = write_corpus(folder / "corpus", files=2)
    runs, urls = {}, []
    with ExitStack() as stack:
        for kind in (*SHOWN, POST_NORM):
            model = save_tiny(folder / kind, kind)
            runs[kind] = run(model, corpus, folder / "runs", SETTINGS).stem
            worker = create_worker_app(WorkerSettings(model=str(model), device="cpu"))
            urls.append(stack.enter_context(serving(worker)))
        settings = Settings(
            runs=folder / "runs", database_url=f"sqlite:///{folder / 'labels.sqlite'}", worker_urls=urls
        )
        yield stack.enter_context(TestClient(create_app(settings))), runs


@pytest.mark.parametrize("kind", SHOWN)
def test_a_run_is_computed_shown_and_generated_from_with_a_mask(
    kind: str, served: tuple[TestClient, dict[str, str]]
) -> None:
    client, run_id = served[0], served[1][kind]
    behind = client.post("/api/v1/live/activations", json={"run": run_id, "text": "def add(", "limit": 20}).json()
    key = behind["keys"][0]["key"]
    for page in (f"/runs/{run_id}", f"/runs/{run_id}/layers/1", f"/runs/{run_id}/keys/{key}", f"/live?run={run_id}"):
        assert client.get(page).status_code == 200, page
    found = client.get(f"/api/v1/runs/{run_id}/keys/{key}").json()
    assert found["triggers"]
    assert found["value_tokens"]["promoted"]
    body = {
        "run": run_id,
        "prompt": "def add(",
        "masks": [{"key": each["key"], "factor": 0} for each in behind["keys"]],
        "max_new_tokens": 4,
        "temperature": 0,
    }
    answer = client.post("/api/v1/live/generate", json=body).json()
    assert (answer["applied"]["keys"], len(answer["baseline"]["tokens"])) == (20, 4)
    baseline, masked = (answer[branch]["tokens"][0]["logprob"] for branch in ("baseline", "masked"))
    assert baseline != masked


def test_what_an_architecture_does_not_define_is_refused_with_the_reason(
    served: tuple[TestClient, dict[str, str]],
) -> None:
    client, run_id = served[0], served[1][POST_NORM]
    asked = {"run": run_id, "text": "def add("}
    refused = client.post("/api/v1/live/activations", json=asked)
    assert (refused.status_code, refused.json()["error"]) == (422, "undefined_here")
    assert REASON in refused.json()["detail"]
    by_size = client.post("/api/v1/live/activations", json=asked | {"order": "size"}).json()
    assert [each["contribution"] for each in by_size["keys"][:3]] == [None] * 3
    assert REASON in client.get("/activations", params=asked).text
    assert REASON in client.get(f"/runs/{run_id}").text
    assert REASON in client.get("/live", params={"run": run_id, "prompt": "def add(", "behind": 20}).text
