import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from keyscope.app.database.engine import Database
from keyscope.app.labels.models import Kind
from keyscope.app.labels.repository import Judgement, Target, put_label
from keyscope.cli.main import cli
from keyscope.contract.keys import KeyId


def labels(command: str, file: Path, *more: object) -> Result:
    return CliRunner().invoke(cli, ["labels", command, str(file), *map(str, more)])


@pytest.fixture
def url(database: Database) -> str:
    target = Target("a" * 64, KeyId(1, 2))
    for kind in (Kind.MIXED, Kind.SEMANTIC):
        database.write(lambda session, kind=kind: put_label(session, target, "Ada", Judgement(kind)))
    return database.url.render_as_string(hide_password=False)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_labels_go_from_one_database_to_another(url: str, tmp_path: Path, ending: str):
    file, other, runs = tmp_path / f"labels.{ending}", f"sqlite:///{tmp_path}/other.sqlite", ("--runs", tmp_path)
    assert labels("export", file, "--database-url", url, *runs).exit_code == 0
    tried = labels("import", file, "--database-url", other, *runs, "--dry-run", "--json")
    done = labels("import", file, "--database-url", other, *runs, "--json")
    again = labels("import", file, "--database-url", other, *runs)
    assert json.loads(tried.stdout)["added"] == json.loads(done.stdout)["added"] == 2
    assert again.stdout == "0 rows added, 0 labels ended, 2 known\n"
    assert labels("export", tmp_path / "again.jsonl", "--database-url", other, *runs, "--current").exit_code == 0
    [row] = (tmp_path / "again.jsonl").read_text().splitlines()
    assert (json.loads(row)["person"], json.loads(row)["kind"]) == ("Ada", "semantic")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_an_import_that_is_refused_names_its_lines(url: str, tmp_path: Path):
    file = tmp_path / "labels.jsonl"
    file.write_text('{"person": "Ada"}\n' * 5)
    refused = labels("import", file, "--database-url", url, "--runs", tmp_path)
    assert refused.exit_code == 1
    assert "5 rows are wrong" in refused.stderr
    assert "line 5" in refused.stderr


def test_a_file_of_another_kind_is_refused(url: str, tmp_path: Path):
    refused = labels("export", tmp_path / "labels.xlsx", "--database-url", url, "--runs", tmp_path)
    assert refused.exit_code == 2
    assert "does not end in .csv" in refused.stderr
    assert not (tmp_path / "labels.xlsx").exists()
