"""The `keyscope` command: its groups of commands, and how errors become sentences and exit codes."""

import os
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from keyscope.cli import db, demo, labels, models, open, replay, runs, serve, shards, users
from keyscope.cli.options import FAILED, INTERRUPTED, complain
from keyscope.contract.errors import KeyscopeError


class Commands(TyperGroup):
    """Turns errors meant for people into one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyscopeError as error:
            complain(error.detail)
            raise typer.Exit(FAILED) from error
        except KeyboardInterrupt as error:
            complain("interrupted")
            raise typer.Exit(INTERRUPTED) from error


cli = typer.Typer(
    cls=Commands,
    help="Browse, label and mask the feed-forward neurons (keys) of code language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    demo.demo,
    runs.precompute,
    shards.shards,
    shards.publish,
    runs.verify,
    runs.inspect,
    runs.analyse,
    runs.twin,
    runs.report,
    replay.replay,
    serve.serve,
    serve.worker,
    models.models,
):
    cli.command()(command)
cli.command("open")(open.open_in_browser)
for name, group in {"db": db.group, "users": users.group, "labels": labels.group}.items():
    cli.add_typer(group, name=name)


def main() -> None:
    """Run the `keyscope` command."""
    # idle OpenMP threads that spin take the cores from everybody else: on a busy machine torch gets ten times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for variable in ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        os.environ.setdefault(variable, "1")  # progress bars of libraries would break into ours
    cli()


@cli.callback(invoke_without_command=True)
def _root(wants_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if wants_version:
        typer.echo(version("keyscope"))
        raise typer.Exit
