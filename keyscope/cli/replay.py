"""`keyscope replay`: computing an experiment again from its recipe."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from keyscope.app.settings import Settings as ServerSettings
from keyscope.cli.options import FAILED, CorpusPlace, Device, Json, ModelPlace, RunsDirectory, fill, print_json
from keyscope.contract.recipes import Recipe
from keyscope.contract.tables import SUFFIX
from keyscope.contract.validation import sentence


def replay(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe (.json) from an edit's page", exists=True)],
    runs: RunsDirectory = None,
    model: ModelPlace = None,
    corpus: CorpusPlace = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compute an experiment again and say whether its rows are equal, and where not; exit code 1 if they differ."""
    from keyscope.cli.console import show_progress
    from keyscope.worker.analysis.replay import replay as compute
    from keyscope.worker.analysis.subject import open_subject, source_of_run

    wanted = _read(recipe)
    run = fill(ServerSettings, runs=runs).runs / f"{wanted.run}{SUFFIX}"
    if not run.is_file():
        raise typer.BadParameter(f"there is no run {run}: name the directory of {wanted.run}", param_hint="--runs")
    with show_progress(as_json) as progress:
        source = source_of_run(model, run, device, progress)
        with open_subject(run, source, tuple(corpus or ()), progress, wanted.batch) as subject:
            found = compute(subject, wanted)
    if as_json:
        print_json(equal=found.equal, differences=found.differences, premises=found.premises)
    else:
        for each in (*found.premises, *found.differences):
            typer.echo(each)
        typer.echo("the rows are equal" if found.equal else "the rows are NOT equal")
    if not found.equal:
        raise typer.Exit(FAILED)


def _read(path: Path) -> Recipe:
    try:
        return Recipe.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise typer.BadParameter(f"{path} is not a recipe: {sentence(error.errors())}", param_hint="RECIPE") from error
