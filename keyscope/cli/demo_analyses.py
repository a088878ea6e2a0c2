"""The analyses of a demo run, computed in the background by its worker and followed in one line of progress."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError

from keyscope.contract.analyses.files import analysis_files
from keyscope.contract.runfile import open_run
from keyscope.contract.twin import TWIN, TWIN_KINDS, twin_path
from keyscope.contract.wire import ACTIVE_JOB, ErrorAnswer, Job, JobAnswer, JobsAnswer, WorkerJob
from keyscope.worker.progress import Progress

POLL_SECONDS = 2.0
STEP = 5
"""Percent between two reports of an analysis's progress."""
WANTED: tuple[tuple[str, dict[str, Any]], ...] = (
    (TWIN, {}),
    ("concepts,firing", {}),
    ("syntax", {}),
    ("edit", {"picker": "causal"}),
    ("agreement", {}),
)
"""Kinds of analysis with their settings, in the order in which visitors open their pages; after the twin, to have it too.

Some share forward passes. What is edited is chosen when the concepts are computed.
"""
EDITED = ("numpy", "http", "file-io", "error-handling", "loops")
"""Concepts worth editing, the most telling first."""
ENOUGH_FILES = 20
"""Files with a concept from which keys are picked; with fewer, an edit says little."""
_CONCEPTS = """
    SELECT name, held_out_sites, sum(files_with) FROM concepts JOIN concept_languages USING (concept)
    GROUP BY ALL ORDER BY held_out_sites DESC, name"""


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """Where a worker listens, and the secret it asks for."""

    url: str
    token: str


def compute_analyses(
    run: Path, worker: WorkerPlace, progress: Progress, wait: Callable[[float], None] = time.sleep
) -> None:
    """Have the worker compute those analyses of a run that it does not have, and report until the last one ends.

    A worker that goes away ends the report with a note; what it has done is kept for the next start.
    """
    twin = twin_path(run)
    there = {kind for kind, _, _ in analysis_files(run)} | ({TWIN} if twin.is_file() else set())
    of_twin = {kind for kind, _, _ in analysis_files(twin)}
    there -= set(TWIN_KINDS) - of_twin
    wanted = [([kind for kind in kinds.split(",") if kind not in there], settings) for kinds, settings in WANTED]
    missing = [each for each in wanted if each[0]]
    if not missing:
        return
    headers = {"Authorization": f"Bearer {worker.token}"}
    try:
        with httpx.Client(base_url=worker.url, headers=headers, timeout=30, trust_env=False) as client:
            titles = [_title(kinds) for kinds, _ in missing]
            progress.note(f"analyses are being computed, live requests first: {', '.join(titles)}")
            for number, ((kinds, settings), title) in enumerate(zip(missing, titles, strict=True), 1):
                chosen = {"concept": edited_concept(run), **settings} if kinds == ["edit"] else settings
                job = _submit(client, run, ",".join(kinds), chosen, progress)
                if job is not None:
                    _follow(client, job, f"{title} ({number} of {len(missing)})", progress, wait)
        progress.note("all pages are filled")
    except (httpx.HTTPError, ValidationError) as error:
        progress.note(f"the analyses are no longer followed, because the worker does not answer: {error}")


def in_background(run: Path, worker: WorkerPlace, progress: Progress) -> None:
    """`compute_analyses` in a thread of its own, which ends with the process."""
    threading.Thread(target=compute_analyses, args=(run, worker, progress), name="analyses", daemon=True).start()


def edited_concept(run: Path) -> str:
    """The name of the concept to edit: the first of `EDITED` that enough files have, or else the commonest."""
    connection = open_run(run)
    try:
        found = connection.execute(_CONCEPTS).fetchall()
    finally:
        connection.close()
    known = {name: files for name, _, files in found}
    return next((name for name in EDITED if known.get(name, 0) >= ENOUGH_FILES), found[0][0] if found else EDITED[0])


def _submit(client: httpx.Client, run: Path, kind: str, settings: dict[str, Any], progress: Progress) -> Job | None:
    response = client.post("jobs", json=WorkerJob(run=run.stem, kind=kind, settings=settings).model_dump(mode="json"))
    if response.is_success:
        return JobAnswer.model_validate_json(response.content).job
    progress.note(f"{kind} is not computed: {ErrorAnswer.model_validate_json(response.content).detail}")
    return None


def _title(kinds: list[str]) -> str:
    return " and ".join(kinds)


def _follow(client: httpx.Client, job: Job, title: str, progress: Progress, wait: Callable[[float], None]) -> None:
    """Report a job until it ends, as percent of each of its stages."""
    with ExitStack() as stages:
        stage, done = "", 0
        advance: Callable[[float], None] = lambda _percent: None  # noqa: E731
        while (now := _state_of(client, job)) is not None and now.state in ACTIVE_JOB:
            if now.progress is not None and now.progress.stage != stage:
                stages.close()
                stage, done = now.progress.stage, 0
                advance = stages.enter_context(progress.stage(f"{title}, {stage}", 100, "%"))
            if now.progress is not None and now.progress.total:
                percent = int(100 * now.progress.done / now.progress.total)
                if percent - done >= STEP:
                    advance(percent - done)
                    done = percent
            wait(POLL_SECONDS)
    if now is not None and now.state == "failed":
        progress.note(f"{_title(job.kinds)} failed: {now.detail}")


def _state_of(client: httpx.Client, job: Job) -> Job | None:
    """The job as it is now; None if the worker has forgotten it, for it was restarted."""
    found = JobsAnswer.model_validate_json(client.get("jobs", params={"run": job.run}).raise_for_status().content)
    return next((each for each in found.jobs if each.id == job.id), None)
