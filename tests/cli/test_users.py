import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from keyscope.cli.main import cli


@pytest.fixture(autouse=True)
def _database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYSCOPE_DATABASE_URL", f"sqlite:///{tmp_path}/labels.sqlite")


def users(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["users", *arguments], input=typed)


def listed() -> list[dict[str, object]]:
    people: list[dict[str, object]] = json.loads(users("list", "--json").stdout)["people"]
    return people


def test_people_are_added_listed_changed_and_disabled():
    added = users("add", "Ada", "--role", "admin", "--password-stdin", typed="correct horse battery\n")
    assert added.stdout == "Ada may sign in as admin\n"
    assert "correct horse" not in added.output
    assert users("add", "Ben", typed="correct horse battery\ncorrect horse battery\n").exit_code == 0
    assert users("role", "ben", "viewer").exit_code == 0
    assert users("disable", "Ben").exit_code == 0
    assert listed() == [
        {"name": "Ada", "role": "admin", "disabled": False},
        {"name": "Ben", "role": "viewer", "disabled": True},
    ]
    assert users("list").stdout == "admin     Ada\nviewer    Ben  (disabled)\n"
    assert users("enable", "Ben").exit_code == 0
    assert not listed()[1]["disabled"]


def test_an_invitation_is_a_link_and_makes_the_account():
    link = users("invite", "Zoë K.", "--role", "viewer", "--url", "https://keys.example/team/").stdout.strip()
    assert link.startswith("https://keys.example/team/invitation?name=Zo%C3%AB%20K.#")
    assert listed() == [{"name": "Zoë K.", "role": "viewer", "disabled": False}]
    again = users("invite", "zoë k.").stdout.strip()
    assert again.startswith("http://127.0.0.1:8000/invitation?name=Zo%C3%AB%20K.#")
    assert again.partition("#")[2] != link.partition("#")[2]


@pytest.mark.parametrize(
    ("arguments", "typed", "sentence"),
    [
        (("add", "Ada", "--password-stdin"), "short\n", "a password needs 12 to 500 characters, this one has 5"),
        (("role", "Nobody", "admin"), None, "there is no account 'Nobody'"),
        (("disable", "Nobody"), None, "there is no account 'Nobody'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments: tuple[str, ...], typed: str | None, sentence: str):
    answer = users(*arguments, typed=typed)
    assert answer.exit_code == 1
    assert sentence in answer.stderr


def test_serving_everybody_is_refused_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch):
    answer = CliRunner().invoke(cli, ["serve", "--host", "0.0.0.0"])
    assert answer.exit_code == 1
    assert "KEYSCOPE_ALLOW_OPEN=true" in answer.stderr
