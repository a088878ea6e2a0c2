"""`keyscope demo`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from keyscope.cli.open import Port, keep_open, stop_by_interrupt
from keyscope.cli.options import MODEL


def demo(
    model: Annotated[str, typer.Option(help=MODEL)] = "nano",
    port: Port = None,
    runs: Annotated[Path, typer.Option(help="Directory for the run, labels and logs")] = Path("runs"),
    files_per_language: Annotated[
        int | None, typer.Option(min=1, help="Files of each language; otherwise as many as take a few minutes")
    ] = None,
    analyses: Annotated[bool, typer.Option(help="Compute analyses in the background, while the pages are open")] = True,
    accept_licence: Annotated[
        bool,
        typer.Option("--accept-licence", help="Accept the licence of the model, if it has one that must be accepted"),
    ] = False,
) -> None:
    """Show real keys in the browser: compute a run over installed code, unless it exists, and serve it."""
    from keyscope.cli.console import Lines, show_progress
    from keyscope.cli.demo_run import choose_ports, prepare
    from keyscope.worker.model.known import locate_model

    stop_by_interrupt()
    ports = choose_ports(port)

    def accept(terms: str) -> bool:
        typer.echo(terms, err=True)
        return accept_licence or (sys.stdin.isatty() and typer.confirm("Do you accept them?", err=True))

    # before there are progress bars, which would hide the question
    locate_model(model, Lines(sys.stderr), accept)
    with show_progress() as progress:
        prepared = prepare(model, runs, files_per_language, progress)
        keep_open(prepared, ports, runs / ".demo", progress, analyses=analyses)
