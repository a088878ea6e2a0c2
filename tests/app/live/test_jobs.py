"""Jobs from the app's side: relayed to the worker with the run's weights, and drawn with their progress."""

import json
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from keyscope.app.database.engine import DatabaseUnavailable
from keyscope.app.live import jobs
from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from keyscope.contract.wire import ErrorAnswer, WorkerJob
from tests.fake_worker import HALF, FakeWorker, made_job
from tests.serving import serving

NAMED = {"X-Keyscope-Person": "Ada"}
BODY = {"run": "alpha", "kind": "syntax", "settings": {"level": 2}}


@pytest.fixture
def worker(worker: FakeWorker) -> FakeWorker:
    """Without jobs."""
    worker.jobs = []
    return worker


@pytest.fixture
def live(live: TestClient) -> TestClient:
    """With a person's name."""
    live.headers.update(NAMED)
    return live


def test_a_job_is_started_looked_at_and_stopped(live: TestClient, worker: FakeWorker) -> None:
    started = live.post("/api/v1/jobs", json=BODY)
    assert started.status_code == 202
    job = started.json()["job"]
    assert (job["run"], job["kind"], job["settings"], job["state"]) == ("alpha", "syntax", {"level": 2}, "queued")
    assert live.get(f"/api/v1/jobs/{job['id']}").json() == {"ok": True, "job": job}
    assert live.get("/api/v1/jobs").json()["jobs"] == [job]
    assert live.get("/api/v1/jobs?run=gated").json()["jobs"] == []
    assert live.delete(f"/api/v1/jobs/{job['id']}").json()["job"]["state"] == "cancelled"


def test_what_cannot_be_started_is_said(live: TestClient, worker: FakeWorker) -> None:
    assert live.post("/api/v1/jobs", json={**BODY, "run": "none"}).json()["error"] == "unknown_run"
    assert live.post("/api/v1/jobs", json={**BODY, "run": "gated"}).json()["error"] == "worker_other_weights"
    worker.refusal = (422, ErrorAnswer(error="invalid_setting", detail="level=2 is no setting"))
    refused = live.post("/api/v1/jobs", json=BODY)
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_setting")
    for name in ("nothing", "..%2Finfo"):
        unknown = live.get(f"/api/v1/jobs/{name}")
        assert unknown.status_code == 404
    assert live.get("/api/v1/jobs/nothing").json()["error"] == "unknown_job"


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": {"a": nested(450)}}, "nested more than 32 deep"),
        ({"settings": {"a": ["\ud800"]}}, "settings: U+D800 is half a character"),
        ({"settings": {"\ud800": 1}}, "U+D800"),
        ({"kind": "\ud800"}, "kind: U+D800"),
    ],
)
def test_what_cannot_be_written_as_json_again_is_refused(
    live: TestClient, change: dict[str, object], said: str
) -> None:
    refused = live.post("/api/v1/jobs", content=json.dumps(BODY | change), headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_request")
    assert said in refused.json()["detail"]


def test_a_page_that_cannot_be_made_out_is_led_back_to_by_nobody(live: TestClient) -> None:
    page = live.get("/runs/alpha/jobs?kind=syntax", headers={"HX-Request": "true", "HX-Current-URL": "http://["})
    assert page.status_code == 200
    assert 'name="next" value="/runs/alpha/jobs?kind=syntax"' in page.text


def test_a_worker_that_computes_nothing_is_named(live: TestClient, worker: FakeWorker) -> None:
    worker.jobs = None
    refused = live.post("/api/v1/jobs", json=BODY)
    assert (refused.status_code, refused.json()["error"]) == (409, "no_jobs")
    assert "--runs" in refused.json()["detail"]
    assert live.get("/runs/alpha/jobs").context["start"] == []


def test_nobody_starts_or_stops_a_job_without_a_name(live: TestClient, worker: FakeWorker) -> None:
    live.headers.pop("X-Keyscope-Person")
    assert live.post("/api/v1/jobs", json=BODY).json()["error"] == "name_needed"
    assert live.delete("/api/v1/jobs/any").json()["error"] == "name_needed"
    assert worker.jobs == []


def test_the_page_starts_what_is_missing_and_leads_back(live: TestClient, worker: FakeWorker) -> None:
    page = live.get(
        "/runs/alpha/jobs?kind=syntax", headers={"HX-Request": "true", "HX-Current-URL": "http://x/here?a=1"}
    )
    assert re.search(
        r'<button id="start-syntax" name="kind" value="syntax"\s+class="primary">compute syntax</button>', page.text
    )
    assert "Takes about 1 minute here." in page.text
    assert "<h2>Not computed yet</h2>" in page.text
    assert '<input type="hidden" name="next" value="/here?a=1">' in page.text
    started = live.post("/runs/alpha/jobs", data={"kind": "syntax", "next": "/here?a=1"}, follow_redirects=False)
    assert (started.status_code, started.headers["location"]) == (303, "/here?a=1")
    assert worker.jobs is not None
    assert worker.jobs[0].kind == "syntax"
    page = live.get("/runs/alpha/jobs?kind=syntax")
    assert page.context["start"] == []
    assert page.context["jobs"][0].said == "waits for its turn"
    assert page.context["heading"] == "Waiting for its turn"


def test_a_job_that_runs_is_asked_for_again_until_its_page_is_loaded_anew(live: TestClient, worker: FakeWorker) -> None:
    running = made_job("one", WorkerJob(run="alpha", kind="syntax"), state="running", progress=HALF)
    worker.jobs = [running]
    page = live.get("/runs/alpha/jobs?kind=syntax")
    assert '<progress max="1" value="0.5"' in page.text
    assert "500 of 1,000 tokens, 50 a second, 10 s left" in page.text
    assert '<meta http-equiv="refresh"' in page.text
    (poll,) = re.findall(r'hx-get="([^"]*)" hx-trigger="every', page.text)
    again = live.get(poll.replace("&amp;", "&"), headers={"HX-Request": "true"})
    assert "HX-Refresh" not in again.headers
    worker.jobs = [running.model_copy(update={"state": "done", "progress": None, "result": "x"})]
    done = live.get(poll.replace("&amp;", "&"), headers={"HX-Request": "true"})
    assert done.headers["HX-Refresh"] == "true"
    assert "hx-trigger" not in done.text
    fresh = live.get("/runs/alpha/jobs?kind=syntax", headers={"HX-Request": "true"})
    assert "HX-Refresh" not in fresh.headers


def test_a_job_that_failed_shows_its_sentence(live: TestClient, worker: FakeWorker) -> None:
    failed = made_job("one", WorkerJob(run="alpha", kind="syntax"), state="failed", detail="<b>no</b> memory")
    worker.jobs = [failed]
    page = live.get("/runs/alpha/jobs")
    assert "&lt;b&gt;no&lt;/b&gt; memory" in page.text
    assert "<progress" not in page.text


def test_a_job_is_stopped_by_a_form(live: TestClient, worker: FakeWorker) -> None:
    worker.jobs = [made_job("one", WorkerJob(run="alpha", kind="syntax"), state="running", progress=HALF)]
    stopped = live.post("/runs/alpha/jobs/one/cancel", data={"next": "//elsewhere.example"}, follow_redirects=False)
    assert (stopped.status_code, stopped.headers["location"]) == (303, "/")
    assert worker.jobs[0].state == "cancelled"
    page = live.get("/runs/alpha/jobs")
    assert "progress kept" in page.text


def test_without_a_worker_the_page_has_nothing_to_offer(reader: TestClient) -> None:
    page = reader.get("/runs/alpha/jobs")
    assert (page.context["jobs"], page.context["start"], page.context["problem"]) == ([], [], None)
    assert "No jobs are queued or running" in page.text


def test_a_stopped_job_keeps_its_progress_and_is_resumed(live: TestClient, worker: FakeWorker) -> None:
    asked = WorkerJob(run="alpha", kind="syntax")
    running = made_job("one", asked, state="running", progress=HALF, stopping=True)
    worker.jobs = [running]
    stopping = live.get("/runs/alpha/jobs?kind=syntax")
    assert stopping.context["jobs"][0].said == "is stopping"
    assert 'id="stop-one"' not in stopping.text
    worker.jobs = [running.model_copy(update={"state": "cancelled", "stopping": False})]
    stopped = live.get("/runs/alpha/jobs?kind=syntax")
    assert stopped.context["jobs"][0].said == "stopped at 50\N{NARROW NO-BREAK SPACE}%, progress kept"
    assert "resume syntax</button>" in stopped.text
    worker.jobs = [made_job("two", asked), *worker.jobs]
    again = live.get("/runs/alpha/jobs?kind=syntax")
    assert [shown.job.id for shown in again.context["jobs"]] == ["two"], "what was stopped goes on there"


def test_a_banner_says_in_one_line_what_is_computed_and_what_is_missing(live: TestClient, worker: FakeWorker) -> None:
    missing = live.get("/runs/alpha/jobs?banner=true")
    assert "Not computed yet: syntax, firing, agreement, concepts." in missing.text
    first = made_job("one", WorkerJob(run="alpha", kind="syntax"), state="running", progress=HALF)
    worker.jobs = [made_job("two", WorkerJob(run="alpha", kind="firing")), first]
    computing = re.sub(r"[ \n]+", " ", live.get("/runs/alpha/jobs?banner=true").text)
    assert "Computing syntax (50\N{NARROW NO-BREAK SPACE}%), then firing." in computing


def test_who_starts_a_job_without_a_name_is_asked_for_one_and_the_job_starts(
    live: TestClient, worker: FakeWorker
) -> None:
    live.headers.pop("X-Keyscope-Person")
    assert '<input name="visitor_name"' in live.get("/runs/alpha/jobs?kind=syntax").text
    asked = live.post(
        "/runs/alpha/jobs", data={"kind": "syntax", "next": "/runs/alpha"}, headers={"Accept": "text/html"}
    )
    assert "What is your name?" in asked.text
    sent = {"kind": "syntax", "next": "/runs/alpha", "visitor_name": "Ada"}
    started = live.post("/runs/alpha/jobs", data=sent, follow_redirects=False)
    assert (started.status_code, started.headers["location"]) == (303, "/runs/alpha")
    assert worker.jobs is not None
    assert [job.kind for job in worker.jobs] == ["syntax"]


@pytest.fixture
def running(live: TestClient, worker: FakeWorker) -> str:
    """The id of a job that runs, and that was looked at."""
    name = str(live.post("/api/v1/jobs", json=BODY).json()["job"]["id"])
    assert worker.jobs is not None
    worker.jobs[0] = worker.jobs[0].model_copy(update={"state": "running", "progress": HALF})
    assert live.get("/api/v1/jobs").json()["jobs"][0]["state"] == "running"
    return name


def test_a_job_outlives_its_server_and_its_worker(live: TestClient, worker: FakeWorker, running: str) -> None:
    assert worker.jobs is not None
    worker.jobs[0] = worker.jobs[0].model_copy(update={"state": "done", "progress": None})
    assert live.get(f"/api/v1/jobs/{running}").json()["job"]["state"] == "done"
    worker.jobs = []
    with TestClient(create_app(live.app.state.settings)) as later:  # type: ignore[attr-defined]
        assert later.get(f"/api/v1/jobs/{running}").json()["job"]["state"] == "done"
        assert [shown.said for shown in later.get("/runs/alpha/jobs").context["jobs"]] == ["is done"]


def test_a_job_whose_worker_ended_before_it_is_lost_and_can_be_resumed(
    live: TestClient, worker: FakeWorker, running: str
) -> None:
    worker.jobs = []
    page = live.get("/runs/alpha/jobs?kind=syntax")
    assert "the worker ended before the job did" in page.text
    assert "resume syntax</button>" in page.text
    job = live.get(f"/api/v1/jobs/{running}").json()["job"]
    assert (job["state"], job["error"], job["progress"]) == ("failed", "job_lost", None)
    assert live.delete(f"/api/v1/jobs/{running}").json()["job"] == job


def test_a_job_that_ended_unseen_is_done_if_its_analysis_is_there(
    live: TestClient, worker: FakeWorker, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = live.app.state.registry.get("alpha")  # type: ignore[attr-defined]
    made = SimpleNamespace(finished=datetime.now(UTC))
    monkeypatch.setattr(run, "analyses", {("syntax", None): made})
    worker.jobs = []
    assert live.get(f"/api/v1/jobs/{running}").json()["job"]["state"] == "done"


def test_a_job_is_believed_in_for_a_while_if_its_worker_does_not_answer(
    live: TestClient, worker: FakeWorker, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = live.app.state.settings.model_copy(update={"worker_urls": []})  # type: ignore[attr-defined]
    with TestClient(create_app(settings)) as without:
        assert without.get(f"/api/v1/jobs/{running}").json()["job"]["state"] == "running"
        refused = without.delete(f"/api/v1/jobs/{running}", headers=NAMED)
        assert (refused.status_code, refused.json()["error"]) == (503, "worker_unavailable")
        monkeypatch.setattr(jobs, "PATIENCE", timedelta(0))
        assert without.get("/api/v1/jobs").json()["jobs"][0]["error"] == "job_lost"


def test_what_concerns_a_job_goes_to_its_worker_and_so_do_other_jobs_of_its_run(
    settings: Settings, worker: FakeWorker
) -> None:
    others = FakeWorker(worker.weights_sha256, worker.keys_per_layer)
    worker.jobs, others.jobs = [], []
    with serving(worker.app) as one, serving(others.app) as other:
        app = create_app(settings.model_copy(update={"worker_urls": [one, other]}))
        with TestClient(app, headers=NAMED) as client:
            first = client.post("/api/v1/jobs", json=BODY).json()["job"]["id"]
            chosen, left = (worker, others) if worker.jobs else (others, worker)
            left.jobs = [made_job(first, WorkerJob(run="alpha", kind="syntax"), state="failed")]  # of another life
            assert client.get(f"/api/v1/jobs/{first}").json()["job"]["state"] == "queued"
            client.post("/api/v1/jobs", json={**BODY, "kind": "firing"})
            assert chosen.jobs is not None
            assert [job.kind for job in chosen.jobs] == ["firing", "syntax"]
            assert client.delete(f"/api/v1/jobs/{first}").json()["job"]["state"] == "cancelled"
            assert left.jobs[0].state == "failed"


def test_jobs_are_told_of_even_if_they_cannot_be_recorded(
    live: TestClient, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise DatabaseUnavailable("the disk is full")

    database = live.app.state.database  # type: ignore[attr-defined]
    monkeypatch.setattr(database, "read", broken)
    monkeypatch.setattr(database, "write", broken)
    started = live.post("/api/v1/jobs", json=BODY)
    assert started.status_code == 202
    assert live.get("/api/v1/jobs").json()["jobs"] == [started.json()["job"]]
