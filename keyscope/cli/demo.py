"""`keyscope demo`."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from keyscope.app.settings import Settings as ServerSettings
from keyscope.cli.options import MODEL, fill


def demo(
    model: Annotated[str, typer.Option(help=MODEL)] = "nano",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the pages; otherwise 8000 or the next free one")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Directory for the run, labels and logs")] = Path("runs"),
    files_per_language: Annotated[
        int | None, typer.Option(min=1, help="Files of each language; otherwise as many as take a few minutes")
    ] = None,
) -> None:
    """Show real keys in the browser: compute a run over installed code, unless it exists, and serve it."""
    from keyscope.app.database.engine import upgrade
    from keyscope.cli.console import show_progress
    from keyscope.cli.demo_run import choose_ports, prepare, services
    from keyscope.cli.supervise import supervise

    for number in (signal.SIGINT, signal.SIGTERM):  # shells start background processes with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    server_port, worker_port = choose_ports(port)
    settings = fill(ServerSettings, runs=runs)
    with show_progress() as progress:
        prepared = prepare(model, runs, files_per_language, progress)
        upgrade(settings.labels_url)
        try:
            supervise(
                services(prepared, runs, server_port, worker_port),
                ready=lambda: progress.note(
                    f"\nKeyscope is ready: http://127.0.0.1:{server_port}   (Ctrl-C stops it)\n"
                ),
                note=progress.note,
            )
        except KeyboardInterrupt:
            progress.note("stopped")
