from contextlib import contextmanager

import pytest

from keyscope.worker.corpus.archives import TarArchive, ZipArchive
from keyscope.worker.corpus.directory import Directory
from keyscope.worker.corpus.hub import HubDataset
from keyscope.worker.corpus.interface import SourceNotFound, UnsupportedSource
from keyscope.worker.corpus.sources import open_source, open_sources
from keyscope.worker.corpus.tables import JsonLines, Parquet
from tests.worker.corpus.trees import write_tree, write_zip


@contextmanager
def opened(scratch, *texts):
    with open_sources([str(text) for text in texts], ("python",), scratch, scratch, lambda _: None) as sources:
        yield sources


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.TAR", TarArchive),
        ("a.tar.gz", TarArchive),
        ("a.tgz", TarArchive),
        ("a.tar.xz", TarArchive),
        ("a.jsonl", JsonLines),
        ("a.jsonl.gz", JsonLines),
        ("a.jsonl.zst", JsonLines),
        ("a.parquet", Parquet),
    ],
)
def test_the_name_of_a_file_tells_its_kind(tmp_path, name, kind):
    (tmp_path / name).touch()
    source = open_source(str(tmp_path / name), tmp_path)
    assert type(source) is kind
    assert source.name == name
    if isinstance(source, TarArchive):
        source.close()


def test_directories_zips_and_data_sets_are_told_apart(tmp_path):
    for name in ("a.zip", "b.whl", "c.JAR"):
        source = open_source(str(write_zip(tmp_path / name, {})), tmp_path)
        assert type(source) is ZipArchive
        source.close()
    assert type(open_source(str(tmp_path), tmp_path)) is Directory
    hub = open_source("hf:someone/data:go", tmp_path)
    assert type(hub) is HubDataset
    assert hub.name == "someone/data"


def test_names_carry_no_machine_path_and_are_unique(tmp_path):
    for side in ("left", "right"):
        write_tree(tmp_path / side / "src", {"a.py": ""})
    with opened(tmp_path, tmp_path / "left/src", tmp_path / "right/src/", tmp_path / "left/src") as sources:
        assert [source.name for source in sources.sources] == ["src", "src-2"]


def test_the_current_directory_goes_by_its_name(tmp_path, monkeypatch):
    write_tree(tmp_path / "project", {"a.py": ""})
    monkeypatch.chdir(tmp_path / "project")
    assert open_source(".", tmp_path).name == "project"


def test_a_path_that_does_not_exist_is_named_with_what_is_accepted(tmp_path):
    with pytest.raises(SourceNotFound, match=r"no '.*nowhere': a source is a directory, an archive .* or demo"):
        open_source(str(tmp_path / "nowhere"), tmp_path)
    with pytest.raises(SourceNotFound):
        open_source("x" * 5000, tmp_path)


@pytest.mark.parametrize("name", ["a.py", "a.7z", "a.json"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(UnsupportedSource, match=f"{name}' cannot be read as a corpus"):
        open_source(str(tmp_path / name), tmp_path)


@pytest.mark.parametrize("text", ["hf:", "hf::go"])
def test_a_data_set_needs_a_name(tmp_path, text):
    with pytest.raises(UnsupportedSource, match="hf:NAME:CONFIG"):
        open_source(text, tmp_path)


@pytest.mark.parametrize("text", ["demo:", "demo:many", "demo:0", "demo:-5"])
def test_the_size_of_demo_files_is_a_number(tmp_path, text):
    with pytest.raises(UnsupportedSource, match="demo:BYTES"), opened(tmp_path, text):
        pass


def test_archives_are_closed_when_a_later_source_fails(tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(ZipArchive, "close", lambda self: closed.append(self.name))
    write_zip(tmp_path / "a.zip", {})
    with pytest.raises(SourceNotFound), opened(tmp_path, tmp_path / "a.zip", tmp_path / "nowhere"):
        pass
    assert closed == ["a.zip"]
