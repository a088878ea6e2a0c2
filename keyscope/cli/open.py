"""`keyscope open`, and what it shares with the demo: a run in the browser, with the worker of its model."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyscope.app.settings import Settings as ServerSettings
from keyscope.cli.options import ModelPlace, RunFile, fill
from keyscope.worker.progress import Progress

if TYPE_CHECKING:
    from keyscope.cli.demo_run import Prepared

Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of the pages; otherwise 8000 or the next free one")
]


def open_in_browser(run: RunFile, model: ModelPlace = None, port: Port = None) -> None:
    """Serve a run with its live page: the web server and the worker of the run's model in one command."""
    from keyscope.cli.console import show_progress
    from keyscope.cli.demo_run import Prepared, choose_ports
    from keyscope.contract.runfile import open_run, read_manifest
    from keyscope.worker.model.local import place_of_model

    with open_run(run) as connection:
        facts = read_manifest(connection).model
    stop_by_interrupt()
    ports = choose_ports(port)
    with show_progress() as progress:
        place = place_of_model(model, run, facts, progress)
        keep_open(Prepared(run, place, facts.revision), ports, run.parent / ".open", progress, f"/runs/{run.stem}")


def stop_by_interrupt() -> None:
    """Let both signals end the command the same way; shells start background processes with SIGINT ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def keep_open(prepared: "Prepared", ports: tuple[int, int], logs: Path, progress: Progress, page: str = "") -> None:
    """Run server and worker until Ctrl-C."""
    from keyscope.app.database.engine import upgrade
    from keyscope.cli.demo_run import services
    from keyscope.cli.supervise import supervise

    runs, site = prepared.run.parent, f"http://127.0.0.1:{ports[0]}"
    upgrade(fill(ServerSettings, runs=runs).labels_url)
    try:
        supervise(
            services(prepared, runs, logs, *ports),
            ready=lambda: progress.note(
                f"\nKeyscope is ready: {site}{page}   (Ctrl-C stops it)\n"
                f"Edit the model:    {site}/demo?run={prepared.run.stem}\n"
            ),
            note=progress.note,
        )
    except KeyboardInterrupt:
        progress.note("stopped")
