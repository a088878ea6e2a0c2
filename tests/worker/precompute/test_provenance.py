import subprocess
from pathlib import Path

import pytest

from keyscope.worker.precompute.provenance import code_commit


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "start")
    return tmp_path


def module_in(folder: Path) -> Path:
    module = folder / "worker" / "precompute" / "provenance.py"
    module.parent.mkdir(parents=True)
    module.touch()
    return module


def test_a_checkout_is_known_by_its_commit_also_through_the_packages_link(repository: Path) -> None:
    module = module_in(repository)
    (repository / "keyscope").mkdir()
    (repository / "keyscope" / "worker").symlink_to("../worker")
    linked = repository / "keyscope" / "worker" / "precompute" / "provenance.py"
    assert code_commit(module) == code_commit(linked) == git(repository, "rev-parse", "HEAD")


def test_an_installation_inside_a_repository_has_no_commit_of_ours(repository: Path) -> None:
    assert code_commit(module_in(repository / ".venv" / "lib" / "site-packages" / "keyscope")) is None


def test_outside_of_a_repository_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert code_commit(module_in(tmp_path)) is None
