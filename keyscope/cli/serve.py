"""`keyscope serve` and `keyscope worker`: the two HTTP servers."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from keyscope.app.settings import Settings as ServerSettings
from keyscope.cli.options import DatabaseUrl, RunsDirectory, StopWithInput, fill, setting
from keyscope.contract.errors import KeyscopeError
from keyscope.worker.live.settings import WorkerSettings


class NoRunsFolder(KeyscopeError):
    """The folder with the run files is not there."""


def serve(
    runs: RunsDirectory = None,
    host: Annotated[str | None, setting(ServerSettings, "host")] = None,
    port: Annotated[int | None, setting(ServerSettings, "port")] = None,
    processes: Annotated[int | None, setting(ServerSettings, "processes")] = None,
    worker_url: Annotated[list[str] | None, typer.Option(help="Address of a live worker; repeatable")] = None,
    database_url: DatabaseUrl = None,
    root_path: Annotated[str | None, setting(ServerSettings, "root_path")] = None,
    log_format: Annotated[str | None, setting(ServerSettings, "log_format")] = None,
    stop_with_input: StopWithInput = False,
) -> None:
    """Serve the pages and the JSON API; needs no torch."""
    from keyscope.app.accounts.exposure import check_exposure
    from keyscope.serving.listening import listen

    settings = fill(
        ServerSettings,
        runs=runs,
        host=host,
        port=port,
        processes=processes,
        worker_urls=worker_url or None,
        database_url=database_url,
        root_path=root_path,
        log_format=log_format,
    )
    _check_runs(settings)
    check_exposure(settings)
    with _counting_together() if settings.processes > 1 else contextlib.nullcontext():
        from keyscope.app.main import create_app, prepare_labels

        if settings.processes > 1:
            prepare_labels(settings)
        listen(
            create_app(settings),
            settings.host,
            settings.port,
            settings.processes,
            settings.log_format,
            settings.shutdown_seconds,
        )


def worker(
    model: Annotated[str | None, setting(WorkerSettings, "model")] = None,
    revision: Annotated[str | None, setting(WorkerSettings, "revision")] = None,
    dtype: Annotated[str | None, setting(WorkerSettings, "dtype")] = None,
    device: Annotated[str | None, setting(WorkerSettings, "device")] = None,
    runs: Annotated[Path | None, setting(WorkerSettings, "runs")] = None,
    host: Annotated[str | None, setting(WorkerSettings, "host")] = None,
    port: Annotated[int | None, setting(WorkerSettings, "port")] = None,
    register_with: Annotated[str | None, setting(WorkerSettings, "register_with")] = None,
    address: Annotated[str | None, setting(WorkerSettings, "address")] = None,
    log_format: Annotated[str | None, setting(WorkerSettings, "log_format")] = None,
    stop_with_input: StopWithInput = False,
) -> None:
    """Serve a model: generations with masks for the live page, and analyses of runs."""
    from keyscope.serving.listening import listen
    from keyscope.worker.live.guard import check_exposure

    settings = fill(
        WorkerSettings,
        model=model,
        revision=revision,
        dtype=dtype,
        device=device,
        runs=runs,
        host=host,
        port=port,
        register_with=register_with,
        address=address,
        log_format=log_format,
    )
    check_exposure(settings)
    place = _place_of(Path(settings.model), settings)

    from keyscope.worker.live.server import create_worker_app  # imports torch, which takes seconds

    app = create_worker_app(settings.model_copy(update=place))
    listen(
        app,
        settings.host,
        settings.port,
        log_format=settings.log_format,
        shutdown_seconds=settings.shutdown_seconds,
    )


def _place_of(run: Path, settings: WorkerSettings) -> dict[str, str | None]:
    """Where the model to serve is, if it is named by a run or a short name."""
    from keyscope.cli.console import show_progress
    from keyscope.contract.runfile import open_run, read_manifest
    from keyscope.contract.tables import SUFFIX
    from keyscope.worker.model.known import locate_model
    from keyscope.worker.model.local import model_of_run

    with show_progress() as progress:
        if run.suffix != SUFFIX or not run.is_file():
            return {"model": locate_model(settings.model, progress)}
        with open_run(run) as connection:
            facts = read_manifest(connection).model
        return {"model": model_of_run(run, facts, progress), "revision": settings.revision or facts.revision}


@contextlib.contextmanager
def _counting_together() -> Iterator[None]:
    """A folder in which several processes count their requests; Prometheus' client looks for it when it is imported."""
    with tempfile.TemporaryDirectory(prefix="keyscope-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield


def _check_runs(settings: ServerSettings) -> None:
    # only the default is made where it is missing: another name that leads nowhere is mistyped
    if settings.runs != ServerSettings.model_fields["runs"].default and not settings.runs.is_dir():
        raise NoRunsFolder(
            f"there is no folder {settings.runs.absolute()}: correct --runs or KEYSCOPE_RUNS, or create the folder first"
        )
