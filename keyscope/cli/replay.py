"""`keyscope replay`: computing an experiment again from its recipe."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from keyscope.app.settings import Settings as ServerSettings
from keyscope.cli.options import FAILED, Device, Json, ModelPlace, RunsDirectory, fill, print_json
from keyscope.contract.recipes import Recipe
from keyscope.contract.tables import SUFFIX
from keyscope.contract.validation import sentence
from keyscope.worker.model.source import ModelSource


def replay(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe (.json) from an edit's page", exists=True)],
    runs: RunsDirectory = None,
    model: ModelPlace = None,
    corpus: Annotated[
        list[str] | None, typer.Option(metavar="SRC", help="Where the corpus is; otherwise where the run read it")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compute an experiment again and say whether its rows are equal, and where not; exit code 1 if they differ."""
    from keyscope.cli.console import show_progress
    from keyscope.contract.runfile import open_run, read_manifest
    from keyscope.worker.analysis.replay import replay as compute
    from keyscope.worker.analysis.subject import open_subject
    from keyscope.worker.model.local import place_of_model

    wanted = _read(recipe)
    run = fill(ServerSettings, runs=runs).runs / f"{wanted.run}{SUFFIX}"
    if not run.is_file():
        raise typer.BadParameter(f"there is no run {run}: name the directory of {wanted.run}", param_hint="--runs")
    with open_run(run) as connection:
        manifest = read_manifest(connection)
    with show_progress(as_json) as progress:
        place = place_of_model(model, run, manifest.model, progress)
        source = ModelSource(place, manifest.model.revision, manifest.settings.dtype, device)
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
