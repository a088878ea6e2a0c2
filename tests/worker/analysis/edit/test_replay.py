"""A recipe computed again in a fresh process has equal rows, and other rows after something is changed."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from keyscope.app.analyses.edits.recipe import recipe_of
from keyscope.app.queries.edits import list_edits
from keyscope.app.runs import Run
from keyscope.cli.main import cli
from keyscope.contract.analyses.edit import EDIT_KEYS
from keyscope.contract.recipes import Recipe
from keyscope.worker.analysis.replay import compare
from keyscope.worker.analysis.subject import Subject
from tests.processes import KEYSCOPE
from tests.worker.analysis.edit.conftest import edit


@pytest.fixture
def recipe(subject: Subject, run_path: Path) -> Recipe:
    edit(subject, draws=2, tokens=1000)
    run = Run(run_path, ())
    with run.reading() as cursor:
        (found,) = list_edits(cursor)
        return recipe_of(run, cursor, found)


def words_of(recipe: dict[str, Any], run: Path, model: Path) -> list[str]:
    """The arguments of the command that replays a recipe."""
    path = run.parent / "recipe.json"
    path.write_text(json.dumps(recipe))
    return ["replay", str(path), "--runs", str(run.parent), "--model", str(model), "--json"]


def test_a_recipe_gives_equal_rows_in_a_fresh_process_and_others_after_a_change(
    run_path: Path, planted: tuple[Path, Path], recipe: Recipe
) -> None:
    told = recipe.model_dump(mode="json")
    assert set(told["rests_on"]) == {"run", "concepts"}
    fresh = [*KEYSCOPE, *words_of(told, run_path, planted[0])]
    done = subprocess.run(fresh, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer == {"ok": True, "equal": True, "differences": [], "premises": []}
    told["settings"]["seed"] = 1
    told["rests_on"]["concepts"] = "0" * 64
    result = CliRunner().invoke(cli, words_of(told, run_path, planted[0]))  # a second fresh process would show no more
    assert result.exit_code == 1
    answer = json.loads(result.stdout.splitlines()[-1])
    assert not answer["equal"]
    assert any(each.startswith("edit_effects: ") and " rows differ, first " in each for each in answer["differences"])
    assert len(answer["premises"]) == 1
    assert answer["premises"][0].startswith("concepts has sha256 ")


def test_what_differs_is_told_with_its_place_and_size() -> None:
    row = {"edit": "a", "rank": 1, "layer": 0, "index": 2, "factor": 0.0, "centre": 1.0, "spread": float("nan")}
    other = {**row, "rank": 2}
    assert compare(EDIT_KEYS, [row, other], [row, {**other, "centre": 1.5}]) == (
        "edit_keys: 1 of 2 rows differ, first centre at rank 2: 1.0 was, 1.5 is; numbers differ by at most 0.5"
    )
    assert compare(EDIT_KEYS, [row], [other]) == "edit_keys: 1 rows are gone; 1 are new"
