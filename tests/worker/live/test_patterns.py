"""Patterns that never end: a job with one fails or is stopped, and the worker serves and ends meanwhile."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyscope.contract.concepts import define
from keyscope.worker.concepts import matching
from tests.processes import KEYSCOPE, answers, children, free_port, wait_until
from tests.worker.live.driving import Worker, running_worker
from tests.worker.models import save_tiny
from tests.worker.precompute.corpora import run, write_corpus

pytestmark = pytest.mark.anyio
ENDLESS = {
    "compiling": "(module " + "(_)? @a (_)* @b " * 200 + ")",
    "running": "(_ (_)* @a (_)* @b (_)* @c (_)* @d (_)* @e (_)* @f)",
}
LIST = "x = [\n" + "    a,\n" * 500 + "]\n"


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("patterns")
    corpus = write_corpus(folder / "corpus")
    (corpus / "list.py").write_text(LIST)
    model = save_tiny(folder / "model", "codegen")
    return model, run(model, corpus, folder / "runs")


def job(path: Path, query: str) -> dict[str, Any]:
    concept = define({"name": "endless", "title": "Endless", "patterns": {"python": {"query": query}}})
    definition = concept.model_dump(mode="json", exclude_none=True)
    return {"run": path.stem, "kind": "concepts", "settings": {"definition": definition}}


async def state(worker: Worker, started: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await worker.client.get(f"/jobs/{started['id']}")).json()["job"]
    return found


async def ended(worker: Worker, started: dict[str, Any]) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while (found := await state(worker, started))["state"] in ("queued", "running"):
            await asyncio.sleep(0.02)
    return found


@pytest.mark.parametrize("when", ENDLESS)
async def test_the_worker_serves_while_a_pattern_is_matched_and_cancelling_ends_it(
    when: str, computed: tuple[Path, Path]
) -> None:
    model, path = computed
    stage = {"compiling": "checking the patterns", "running": "analysing concepts"}[when]
    async with running_worker(model, runs=path.parent) as worker:
        started = (await worker.client.post("/jobs", json=job(path, ENDLESS[when]))).json()["job"]
        async with asyncio.timeout(30):
            while ((await state(worker, started))["progress"] or {}).get("stage") != stage:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        async with asyncio.timeout(5):
            assert (await worker.client.get("/healthz")).status_code == 200
            assert (await worker.generate(prompt="import os", max_new_tokens=2)).status_code == 200
        assert (await state(worker, started))["state"] == "running"
        async with asyncio.timeout(5):
            await worker.client.delete(f"/jobs/{started['id']}")
            assert (await ended(worker, started))["state"] == "cancelled"


@pytest.mark.parametrize("when", ENDLESS)
async def test_a_pattern_that_takes_too_long_fails_its_job_with_its_name_and_the_limit(
    when: str, computed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "SECONDS", 0.5)
    model, path = computed
    async with running_worker(model, runs=path.parent) as worker:
        started = (await worker.client.post("/jobs", json=job(path, ENDLESS[when]))).json()["job"]
        found = await ended(worker, started)
        assert (found["state"], found["error"]) == ("failed", "pattern_too_slow")
        assert "the python query of concept endless took longer than 0.5 s" in found["detail"]


def test_sigterm_ends_a_worker_whose_job_never_would(computed: tuple[Path, Path]) -> None:
    model, path = computed
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [*KEYSCOPE, "worker", "--model", str(model), "--runs", str(path.parent), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            assert wait_until(lambda: answers(f"{url}/healthz"))
            httpx.post(f"{url}/jobs", json=job(path, ENDLESS["compiling"])).raise_for_status()
            assert wait_until(lambda: bool(children(process.pid)))
            process.terminate()
            process.wait(10)
        finally:
            process.kill()
