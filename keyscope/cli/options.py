"""What commands share: options, settings filled from them, output and exit codes."""

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from keyscope.app.settings import Settings as ServerSettings
from keyscope.contract.validation import reason
from keyscope.worker.live.settings import WorkerSettings

FAILED = 1
INTERRUPTED = 130

M = TypeVar("M", bound=BaseModel)


def setting(model: type[BaseModel], name: str, shown: str | bool = True, **more: Any) -> Any:
    """Return an option whose help and default are those of a model's field; `shown` is another default's description."""
    field = model.model_fields[name]
    if shown is True:
        shown = False if field.is_required() or field.default in (None, "") else str(field.default)
    return typer.Option(help=field.description or name.replace("_", " ").capitalize(), show_default=shown, **more)


def fill(kind: type[M], /, **given: object) -> M:
    """Build settings from the options that were given; the environment and the defaults supply the rest.

    Raises:
        typer.BadParameter: a value is wrong; names its option, or its variable of the environment.
    """
    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        variable = f"{kind.model_config.get('env_prefix', '')}{name.upper()}"
        is_option = given.get(name) is not None or first["type"] == "missing"
        hint = f"--{name.replace('_', '-')}" if is_option else variable
        raise typer.BadParameter(reason(first), param_hint=hint) from error


def complain(sentence: str) -> None:
    """Print a sentence in red on stderr."""
    typer.secho(sentence, fg=typer.colors.RED, err=True)


def interrupted(advice: str) -> typer.Exit:
    """Print how to continue after Ctrl-C; return the exit to raise."""
    complain(f"interrupted; {advice}")
    return typer.Exit(INTERRUPTED)


def print_json(**fields: object) -> None:
    """Print one JSON object on stdout."""
    typer.echo(json.dumps({"ok": True} | fields, default=str))


def _stop_with_input(wanted: bool) -> None:
    if wanted:  # as a callback of the option, so the watch starts before anything slow is imported
        from keyscope.cli.supervise import stop_with_input

        stop_with_input()


MODEL = "nano, smollm2, gemma3, a local folder, a GGUF file or a hub name"
RunFile = Annotated[Path, typer.Argument(metavar="RUN", help="Run file (.duckdb)", exists=True, dir_okay=False)]
ModelPlace = Annotated[
    str | None, typer.Option("--model", help="Where the model is; otherwise the one named in the manifest")
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs")]
RunsDirectory = Annotated[Path | None, setting(ServerSettings, "runs")]
DatabaseUrl = Annotated[str | None, setting(ServerSettings, "database_url")]
CorpusPlace = Annotated[
    list[str] | None,
    typer.Option("--corpus", metavar="SRC", help="Where the corpus is; otherwise where the run read it"),
]
Device = Annotated[str, setting(WorkerSettings, "device")]
Batch = Annotated[int | None, typer.Option(min=1, help="Windows in one forward pass")]
Scratch = Annotated[
    Path | None,
    typer.Option(
        help="Folder on each machine's own disk for what is not finished", show_default="in the folder of work"
    ),
]
MixedDevices = Annotated[
    bool, typer.Option("--mixed-devices", help="Accept shards from different devices: the last bits of sums may differ")
]
StopWithInput = Annotated[bool, typer.Option("--stop-with-input", hidden=True, callback=_stop_with_input)]
