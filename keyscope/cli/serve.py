"""`keyscope serve` and `keyscope worker`: the two HTTP servers."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keyscope.app.settings import Settings as ServerSettings
from keyscope.cli.options import DatabaseUrl, RunsDirectory, StopWithInput, fill, setting
from keyscope.contract.errors import KeyscopeError
from keyscope.worker.live.settings import WorkerSettings

if TYPE_CHECKING:
    from fastapi import FastAPI


class NoRunsFolder(KeyscopeError):
    """The folder with the run files is not there."""


SHUTDOWN_SECONDS = 5
"""How long open streams may take to end when a server stops."""


def serve(
    runs: RunsDirectory = None,
    host: Annotated[str | None, setting(ServerSettings, "host")] = None,
    port: Annotated[int | None, setting(ServerSettings, "port")] = None,
    worker_url: Annotated[list[str] | None, typer.Option(help="Address of a live worker; repeatable")] = None,
    database_url: DatabaseUrl = None,
    root_path: Annotated[str | None, setting(ServerSettings, "root_path")] = None,
    stop_with_input: StopWithInput = False,
) -> None:
    """Serve the pages and the JSON API; needs no torch."""
    from keyscope.app.accounts.exposure import check_exposure
    from keyscope.app.main import create_app

    settings = fill(
        ServerSettings,
        runs=runs,
        host=host,
        port=port,
        worker_urls=worker_url or None,
        database_url=database_url,
        root_path=root_path,
    )
    _check_runs(settings)
    check_exposure(settings)
    _listen(create_app(settings), settings.host, settings.port)


def worker(
    model: Annotated[str | None, setting(WorkerSettings, "model")] = None,
    revision: Annotated[str | None, setting(WorkerSettings, "revision")] = None,
    dtype: Annotated[str | None, setting(WorkerSettings, "dtype")] = None,
    device: Annotated[str | None, setting(WorkerSettings, "device")] = None,
    runs: Annotated[Path | None, setting(WorkerSettings, "runs")] = None,
    host: Annotated[str | None, setting(WorkerSettings, "host")] = None,
    port: Annotated[int | None, setting(WorkerSettings, "port")] = None,
    stop_with_input: StopWithInput = False,
) -> None:
    """Serve a model: generations with masks for the live page, and analyses of runs."""
    from keyscope.worker.live.server import create_worker_app

    settings = fill(
        WorkerSettings,
        model=model,
        revision=revision,
        dtype=dtype,
        device=device,
        runs=runs,
        host=host,
        port=port,
    )
    place = _place_of(Path(settings.model), settings)
    _listen(create_worker_app(settings.model_copy(update=place)), settings.host, settings.port)


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


def _check_runs(settings: ServerSettings) -> None:
    # only the default is made where it is missing: another name that leads nowhere is mistyped
    if settings.runs != ServerSettings.model_fields["runs"].default and not settings.runs.is_dir():
        raise NoRunsFolder(
            f"there is no folder {settings.runs.absolute()}: correct --runs or KEYSCOPE_RUNS, or create the folder first"
        )


def _listen(app: "FastAPI", host: str, port: int) -> None:
    import uvicorn

    startup = _Startup(app)
    try:
        uvicorn.run(startup, host=host, port=port, proxy_headers=False, timeout_graceful_shutdown=SHUTDOWN_SECONDS)
    finally:
        if startup.error is not None:
            raise startup.error


class _Startup:
    """Keeps an error meant for people that ends the application's startup, and its traceback out of the log."""

    def __init__(self, app: "FastAPI") -> None:
        self.app = app
        self.error: KeyscopeError | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_briefly(message: Any) -> None:
            # Starlette sends `lifespan.startup.failed` with a traceback from inside its except block
            expected = isinstance(sys.exception(), KeyscopeError)
            await send(message | {"message": ""} if expected else message)

        try:
            await self.app(scope, receive, send_briefly if scope["type"] == "lifespan" else send)
        except KeyscopeError as error:
            if scope["type"] != "lifespan":
                raise
            self.error = error
