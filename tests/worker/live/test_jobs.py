"""Jobs of a worker: an analysis with progress that gives way to live requests, can be stopped, fails with a sentence."""

import asyncio
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import numpy as np
import pytest
import torch

from keyscope.contract.analyses import kinds
from keyscope.contract.analyses.files import analysis_path
from keyscope.contract.runfile import open_run
from keyscope.contract.tables import Column, Table
from keyscope.worker.analysis.analysis import Analysis, Arrays, Results, Settings, Step, file_steps
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.walk import forward, walk
from keyscope.worker.live import jobs
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.progress import Advance
from keyscope.worker.rows import insert
from tests.worker.live.driving import Worker, count_hooks, running_worker
from tests.worker.live.test_server import assert_refused
from tests.worker.models import save_tiny
from tests.worker.precompute.corpora import run as compute_run
from tests.worker.precompute.corpora import write_corpus

pytestmark = pytest.mark.anyio
SUMS = Table("sums", (Column("step", "VARCHAR"), Column("total", "DOUBLE")), ("step",))


class SumSettings(Settings):
    times: int = 1
    fails: str = ""


class Summing(Analysis):
    """The sum of all coefficients, file by file, as often as asked for."""

    kind = "summing"
    settings: SumSettings
    pace = threading.Semaphore(0)
    """A batch is done for each time it is released."""
    held = False
    steps_run = 0
    inside = 0

    def steps(self, subject: Subject) -> Sequence[Step]:
        return file_steps(subject, 3)

    def run_step(self, subject: Subject, step: Step, done: Results, advance: Advance) -> Arrays:
        if self.settings.fails == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        if self.settings.fails:
            raise ValueError(self.settings.fails)
        total = 0.0

        def add(_layer: int, found: torch.Tensor) -> None:
            nonlocal total
            total += float(found.sum())

        for batch, at in walk(subject, step.files):
            for _ in range(self.settings.times):
                if type(self).held:
                    assert type(self).pace.acquire(timeout=10)
                forward(subject.model, batch, at, add)
            advance(batch.n_tokens)
        type(self).steps_run += 1
        return {"total": np.array(total)}

    def write(self, subject: Subject, connection: duckdb.DuckDBPyConnection, results: Results) -> None:
        names = [step.name for step in self.steps(subject)]
        insert(
            connection, SUMS, {"step": np.array(names), "total": np.array([results[each]["total"] for each in names])}
        )


def make(settings: Mapping[str, Any]) -> Analysis:
    return Summing(SumSettings.model_validate(settings))


@pytest.fixture(autouse=True)
def known_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("keyscope.worker.analysis.summing")
    module.make = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyscope.worker.analysis.summing", module)
    monkeypatch.setitem(kinds.KINDS, "summing", (SUMS,))
    for name, value in {"pace": threading.Semaphore(0), "held": False, "steps_run": 0}.items():
        monkeypatch.setattr(Summing, name, value)


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("jobs")
    model = save_tiny(folder / "model", "codegen")
    return model, compute_run(model, write_corpus(folder / "corpus"), folder / "runs")


@pytest.fixture
def run_path(computed: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(computed[1].parent, tmp_path / "runs")
    return tmp_path / "runs" / computed[1].name


@asynccontextmanager
async def working(computed: tuple[Path, Path], run_path: Path, **settings: Any) -> AsyncIterator[Worker]:
    async with running_worker(computed[0], runs=run_path.parent, **settings) as worker:
        yield worker


@pytest.mark.parametrize(("long_enough", "passes"), [(-1.0, 1), (1e9, 3)], ids=["slow", "fast"])
async def test_a_slow_model_is_timed_on_few_tokens(
    computed: tuple[Path, Path], run_path: Path, monkeypatch: pytest.MonkeyPatch, long_enough: float, passes: int
) -> None:
    monkeypatch.setattr(jobs, "LONG_ENOUGH", long_enough)
    timed: list[int] = []
    run_body = CodeModel.run_body

    def counted(model: CodeModel, token_ids: torch.Tensor, *more: Any) -> torch.Tensor:
        if not token_ids.any():
            timed.append(token_ids.numel())
        return run_body(model, token_ids, *more)

    monkeypatch.setattr(CodeModel, "run_body", counted)
    async with working(computed, run_path) as worker, asyncio.timeout(20):
        while (await worker.client.get("/info")).json()["forward_tokens_per_second"] is None or len(timed) < passes:
            await asyncio.sleep(0.01)
    assert timed[0] == 16
    assert timed == sorted(set(timed))
    assert len(timed) == passes


async def start(worker: Worker, run_path: Path, **settings: Any) -> dict[str, Any]:
    response = await worker.client.post("/jobs", json={"run": run_path.stem, "kind": "summing", "settings": settings})
    assert response.status_code == 202, response.text
    return response.json()["job"]


async def ended(worker: Worker, job: dict[str, Any]) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while (found := (await worker.client.get(f"/jobs/{job['id']}")).json()["job"])["state"] in (
            "queued",
            "running",
        ):
            await asyncio.sleep(0.01)
    return found


async def progressed(worker: Worker, job: dict[str, Any]) -> dict[str, Any]:
    """The job, once it has done a batch."""
    async with asyncio.timeout(20):
        while True:
            found = (await worker.client.get(f"/jobs/{job['id']}")).json()["job"]
            if found["progress"] and found["progress"]["done"] and "analysing" in found["progress"]["stage"]:
                return found
            await asyncio.sleep(0.01)


async def one_step() -> None:
    """Let batches pass until the first step is done."""
    async with asyncio.timeout(20):
        while Summing.steps_run < 1:
            Summing.pace.release(1)
            await asyncio.sleep(0.05)


async def test_a_job_computes_what_the_command_computes(computed: tuple[Path, Path], run_path: Path) -> None:
    async with working(computed, run_path) as worker:
        assert (await worker.client.get("/info")).json()["jobs"] is True
        job = await start(worker, run_path)
        assert (job["state"], job["kind"], job["run"], job["result"]) == ("queued", "summing", run_path.stem, None)
        done = await ended(worker, job)
        assert (done["state"], done["error"], done["progress"]) == ("done", None, None)
        assert done["result"] == f"{run_path.stem}.analysis/summing.duckdb"
        assert done["started"] >= done["submitted"]
        assert done["finished"] >= done["started"]
        assert any("cost: " in note for note in done["notes"])
        assert [each["id"] for each in (await worker.client.get("/jobs")).json()["jobs"]] == [job["id"]]
        assert (await worker.client.get("/jobs", params={"run": "other"})).json()["jobs"] == []
    with open_run(run_path) as connection:
        (total,) = connection.execute("SELECT sum(total) FROM sums").fetchall()[0]
        (expected,) = connection.execute("SELECT sum(mean * n) FROM keys").fetchall()[0]
    assert total == pytest.approx(expected, rel=1e-3)


async def test_a_job_tells_how_far_it_is(computed: tuple[Path, Path], run_path: Path) -> None:
    Summing.held = True
    async with working(computed, run_path) as worker:
        job = await start(worker, run_path)
        Summing.pace.release(3)
        found = await progressed(worker, job)
        progress = found["progress"]
        assert (found["state"], progress["stage"], progress["unit"]) == ("running", "analysing summing", "tokens")
        assert 0 < progress["done"] < progress["total"]
        assert progress["rate"] > 0
        assert progress["seconds_left"] > 0
        Summing.held = False
        Summing.pace.release(100)
        assert (await ended(worker, job))["state"] == "done"


async def test_live_requests_go_before_a_job_and_get_what_they_get_without_one(
    computed: tuple[Path, Path], run_path: Path
) -> None:
    async with working(computed, run_path) as worker:
        alone = (await worker.generate(masks=[{"key": "L1.K3"}])).json()
        job = await start(worker, run_path, times=40)
        await progressed(worker, job)
        waits = []
        for _ in range(6):
            began = time.monotonic()
            during = (await worker.generate(masks=[{"key": "L1.K3"}])).json()
            waits.append(time.monotonic() - began)
            assert {**during, "elapsed_ms": 0} == {**alone, "elapsed_ms": 0}
        assert (await worker.client.get(f"/jobs/{job['id']}")).json()["job"]["state"] == "running"
        found = await ended(worker, job)
        assert count_hooks(worker.service.model.model) == 0
    assert found["state"] == "done"
    assert max(waits) < 3


async def test_a_cancelled_job_stops_after_its_batch_and_goes_on_when_asked_for_again(
    computed: tuple[Path, Path], run_path: Path
) -> None:
    Summing.held = True
    async with working(computed, run_path) as worker:
        job = await start(worker, run_path)
        await one_step()
        answer = await worker.client.delete(f"/jobs/{job['id']}")
        told = answer.json()["job"]
        assert (told["state"], told["stopping"]) == ("running", True)
        Summing.pace.release(1)
        found = await ended(worker, job)
        assert (found["state"], found["error"], found["result"], found["stopping"]) == ("cancelled", None, None, False)
        assert 0 < found["progress"]["done"] < found["progress"]["total"]
        assert not analysis_path(run_path, "summing").exists()
        done_before = Summing.steps_run
        Summing.held = False
        again = await start(worker, run_path)
        assert again["id"] != job["id"]
        found = await ended(worker, again)
        assert found["state"] == "done"
        assert any(f"going on after {done_before} of" in note for note in found["notes"])
        assert (await worker.client.delete(f"/jobs/{again['id']}")).json()["job"]["state"] == "done"


async def test_a_job_of_a_worker_that_went_away_goes_on_in_the_next_one(
    computed: tuple[Path, Path], run_path: Path
) -> None:
    Summing.held = True
    async with working(computed, run_path) as worker:
        job = await start(worker, run_path)
        await one_step()
        asyncio.get_running_loop().call_later(0.1, Summing.pace.release, 1)
    done_before = Summing.steps_run
    Summing.held = False
    async with working(computed, run_path) as worker:
        assert_refused(await worker.client.get(f"/jobs/{job['id']}"), 404, "unknown_job", job["id"])
        found = await ended(worker, await start(worker, run_path))
    assert found["state"] == "done"
    assert any(f"going on after {done_before} of" in note for note in found["notes"])


async def test_a_job_that_does_not_stop_delays_the_end_of_its_worker_by_seconds(
    computed: tuple[Path, Path], run_path: Path
) -> None:
    Summing.held = True
    async with working(computed, run_path) as worker:
        await start(worker, run_path)
        async with asyncio.timeout(20):
            while (await worker.client.get("/jobs")).json()["jobs"][0]["state"] != "running":
                await asyncio.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 8
    Summing.pace.release(1000)


async def test_jobs_wait_in_order_and_a_full_queue_refuses(computed: tuple[Path, Path], run_path: Path) -> None:
    Summing.held = True
    async with working(computed, run_path, jobs=2) as worker:
        first = await start(worker, run_path)
        Summing.pace.release(1)
        await progressed(worker, first)
        waiting = [await start(worker, run_path, times=times) for times in (2, 3)]
        assert [job["ahead"] for job in waiting] == [1, 2]
        assert (await start(worker, run_path, times=3))["id"] == waiting[1]["id"]
        body = {"run": run_path.stem, "kind": "summing", "settings": {"times": 4}}
        refused = await worker.client.post("/jobs", json=body)
        assert_refused(refused, 429, "jobs_full", "2 jobs are waiting", "the queue holds 2")
        assert int(refused.headers["retry-after"]) > 0
        assert (await worker.client.delete(f"/jobs/{waiting[0]['id']}")).json()["job"]["state"] == "cancelled"
        assert (await worker.client.get(f"/jobs/{waiting[1]['id']}")).json()["job"]["ahead"] == 1
        Summing.held = False
        Summing.pace.release(100)
        assert (await ended(worker, first))["state"] == "done"
        last = await ended(worker, waiting[1])
    assert (last["state"], last["error"]) == ("failed", "file_exists")  # the first one has written the file


async def test_a_failed_job_says_why_and_the_worker_goes_on(computed: tuple[Path, Path], run_path: Path) -> None:
    async with working(computed, run_path) as worker:
        failed = await ended(worker, await start(worker, run_path, fails="private"))
        assert (failed["state"], failed["error"], failed["result"]) == ("failed", "internal_error", None)
        assert "private" not in failed["detail"]
        memory = await ended(worker, await start(worker, run_path, fails="memory"))
        assert (memory["state"], memory["error"]) == ("failed", "out_of_memory")
        assert not analysis_path(run_path, "summing").exists()
        assert (await worker.generate()).status_code == 200
        assert (await ended(worker, await start(worker, run_path)))["state"] == "done"


async def test_a_run_of_other_weights_fails_and_what_does_not_exist_is_refused(
    computed: tuple[Path, Path], run_path: Path, tmp_path: Path
) -> None:
    other = save_tiny(tmp_path / "other", "codegen", seed=1)
    async with running_worker(other, runs=run_path.parent) as worker:
        found = await ended(worker, await start(worker, run_path))
        assert (found["state"], found["error"]) == ("failed", "other_model")
        body = {"run": run_path.stem, "kind": "summing", "weights_sha256": "f" * 64}
        assert_refused(await worker.client.post("/jobs", json=body), 409, "other_weights", "ffffffffffff")
        for run in ("nothing", f"../{run_path.parent.name}/{run_path.stem}", str(run_path)):
            refused = await worker.client.post("/jobs", json={"run": run, "kind": "summing"})
            assert_refused(refused, 404, "unknown_run", run_path.stem)
        body = {"run": run_path.stem, "kind": "magic"}
        assert_refused(await worker.client.post("/jobs", json=body), 404, "unknown_analysis", "magic")
        body = {"run": run_path.stem, "kind": "summing", "settings": {"times": "many"}}
        assert_refused(await worker.client.post("/jobs", json=body), 422, "invalid_setting", "times", "many")
        assert_refused(await worker.client.delete("/jobs/none"), 404, "unknown_job", "none")


async def test_a_worker_without_runs_computes_none(computed: tuple[Path, Path]) -> None:
    async with running_worker(computed[0]) as worker:
        assert (await worker.client.get("/info")).json()["jobs"] is False
        refused = await worker.client.post("/jobs", json={"run": "any", "kind": "summing"})
        assert_refused(refused, 409, "no_jobs", "--runs")
