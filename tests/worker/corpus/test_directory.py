import os
import subprocess

import pytest

from keyscope.worker.corpus.directory import Directory
from keyscope.worker.corpus.files import MAX_BYTES, Skip, Skipped
from tests.worker.corpus.trees import LANGUAGES, write_tree


def paths(root, **options) -> list[str]:
    return sorted(Directory(root, "tree", **options).paths(LANGUAGES))


def reason_for(source, path) -> Skip:
    with pytest.raises(Skipped) as skipped:
        source.read(path)
    return skipped.value.reason


def test_files_of_the_languages_are_listed_by_relative_path(tmp_path):
    write_tree(tmp_path, {"a.py": "", "B/c.JAVA": "", "B/d/e.go": "", "readme.md": "", "f.pyc": "", ".hidden/g.py": ""})
    assert paths(tmp_path) == [".hidden/g.py", "B/c.JAVA", "B/d/e.go", "a.py"]
    assert sorted(Directory(tmp_path, "tree").paths(["go"])) == ["B/d/e.go"]


def test_version_control_packages_and_virtual_environments_are_left_out(tmp_path):
    files = [".git/hook.py", "node_modules/a/b.py", "env/pyvenv.cfg", "env/lib/c.py", "skip/d.py", "keep/e.py"]
    write_tree(tmp_path, dict.fromkeys(files, ""))
    assert paths(tmp_path, left_out=["skip"]) == ["keep/e.py"]


def test_a_virtual_environment_asked_for_by_name_is_read(tmp_path):
    write_tree(tmp_path, {"pyvenv.cfg": "", "lib/a.py": ""})
    assert paths(tmp_path) == ["lib/a.py"]


def test_links_are_not_followed_but_counted(tmp_path):
    write_tree(tmp_path, {"secret/key.py": "x = 1\n", "tree/a.py": "", "tree/sub/b.py": ""})
    (tmp_path / "tree/sub/loop").symlink_to(tmp_path / "tree")
    (tmp_path / "tree/outside").symlink_to(tmp_path / "secret")
    (tmp_path / "tree/key.py").symlink_to(tmp_path / "secret/key.py")
    (tmp_path / "tree/broken.py").symlink_to(tmp_path / "nowhere")
    assert sorted(paths(tmp_path / "tree")) == ["a.py", Skip.LINK, Skip.LINK, "sub/b.py"]


def test_pipes_and_directories_with_a_suffix_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    write_tree(tmp_path, {"folder.py/a.go": ""})
    assert sorted(paths(tmp_path)) == ["folder.py/a.go", Skip.SPECIAL_FILE]


def test_names_that_are_no_text_are_escaped_and_still_read(tmp_path):
    (tmp_path / "new\nline").mkdir()
    (tmp_path / "new\nline" / os.fsdecode(b"caf\xe9.py")).write_bytes(b"x = 1\n")
    source = Directory(tmp_path, "tree")
    assert list(source.paths(LANGUAGES)) == ["new\\nline/caf\\udce9.py"]
    assert source.read("new\\nline/caf\\udce9.py") == b"x = 1\n"


def test_deep_trees_need_no_deep_stack(tmp_path):
    depth = 1200
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("a.py", os.O_CREAT, dir_fd=here))
    os.close(here)
    try:
        assert paths(tmp_path) == ["d/" * depth + "a.py"]
    finally:
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # pytest's own clean-up would run out of stack


def test_a_file_that_is_gone_or_became_a_link_is_unreadable(tmp_path):
    write_tree(tmp_path, {"a.py": "x = 1\n", "b.py": "", "c.py": ""})
    source = Directory(tmp_path, "tree")
    assert sorted(source.paths(LANGUAGES)) == ["a.py", "b.py", "c.py"]
    (tmp_path / "b.py").unlink()
    (tmp_path / "c.py").unlink()
    (tmp_path / "c.py").symlink_to(tmp_path / "a.py")
    assert reason_for(source, "b.py") == reason_for(source, "c.py") == Skip.UNREADABLE


def test_a_file_that_became_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "a.py")
    assert reason_for(Directory(tmp_path, "tree"), "a.py") == Skip.UNREADABLE


def test_a_directory_that_cannot_be_listed_counts_as_unreadable(tmp_path, monkeypatch):
    write_tree(tmp_path, {"a.py": "", "closed/b.py": ""})
    scandir = os.scandir

    def refuse(path):
        if path.endswith("closed/"):
            raise PermissionError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert paths(tmp_path) == ["a.py", Skip.UNREADABLE]


def test_a_file_up_to_the_limit_is_read(tmp_path):
    write_tree(tmp_path, {"a.py": b"x" * MAX_BYTES, "b.py": b"x" * (MAX_BYTES + 1)})
    source = Directory(tmp_path, "tree")
    assert len(source.read("a.py")) == MAX_BYTES
    assert reason_for(source, "b.py") == Skip.TOO_LARGE
