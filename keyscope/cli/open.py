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


def keep_open(
    prepared: "Prepared",
    ports: tuple[int, int],
    logs: Path,
    progress: Progress,
    page: str = "",
    analyses: bool = False,
) -> None:
    """Run server and worker until Ctrl-C; with `analyses`, those the run does not have are computed meanwhile."""
    from keyscope.app.database.engine import upgrade
    from keyscope.cli.demo_analyses import WorkerPlace, in_background
    from keyscope.cli.demo_run import HOST, services
    from keyscope.cli.supervise import supervise

    run, site = prepared.run, f"http://{HOST}:{ports[0]}"
    upgrade(fill(ServerSettings, runs=run.parent).labels_url)
    both = services(prepared, run.parent, logs, *ports)
    secret = both[0].environment["KEYSCOPE_WORKER_TOKEN"]

    def ready() -> None:
        progress.note(
            f"\nKeyscope is ready: {site}{page}   (Ctrl-C stops it)\n{_first_key(run, site)}"
            f"Edit the model:    {site}/demo?run={run.stem}\n"
            f"Label its keys:    {site}/labels/queue?run={run.stem}\n"
        )
        if analyses:
            in_background(run, WorkerPlace(f"http://{HOST}:{ports[1]}", secret), progress)

    try:
        supervise(both, ready, progress.note)
    except KeyboardInterrupt:
        progress.note("stopped")


def _first_key(run: Path, site: str) -> str:
    """A line with the address of a key that is easy to read; empty if the run has none."""
    from keyscope.app.queries.first_keys import clear_keys
    from keyscope.app.runs import Registry

    registry = Registry(run.parent)
    opened = registry.get(run.stem)
    with opened.reading() as cursor:
        found = clear_keys(cursor, opened.vocabulary, 1)
    registry.close()
    return "".join(f"Look at a key:     {site}/runs/{run.stem}/keys/{row.key}\n" for row in found)
