import json
import sys

import pytest

from keyscope.worker.corpus.hub import HubDataset
from keyscope.worker.corpus.interface import Record, SourceNotFound, SourceUnreadable, UnsupportedSource
from tests.worker.corpus.trees import LANGUAGES


@pytest.fixture
def folder(tmp_path):
    """A data set in a local folder: one row in a requested language and one in another."""
    rows = [
        {"content": "a = 1\n", "path": "a.py", "repo": "me/one", "lang": "Python"},
        {"content": "int c;", "path": "c.c", "repo": "me/one", "lang": "C"},
    ]
    target = tmp_path / "small-stack"
    target.mkdir()
    (target / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return target


def test_a_local_folder_is_read_like_a_data_set_of_the_hub(folder):
    source = HubDataset(str(folder), None)
    assert source.name == "small-stack"
    assert list(source.records(LANGUAGES)) == [Record("python", "me/one/a.py", b"a = 1\n", "me/one")]


def test_a_configuration_that_does_not_exist_is_an_error_with_its_name(folder):
    with pytest.raises(SourceNotFound, match=r"small-stack:nope cannot be opened: .*nope"):
        list(HubDataset(str(folder), "nope").records(LANGUAGES))


def test_rows_that_break_off_are_an_error(folder):
    (folder / "train.jsonl").write_text('{"content": "a", "path": "a.py"}\n{broken')
    with pytest.raises(SourceUnreadable, match="broke off after"):
        list(HubDataset(str(folder), None).records(LANGUAGES))


def test_without_the_library_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UnsupportedSource, match="pip install datasets"):
        list(HubDataset("someone/data", None).records(LANGUAGES))


def test_the_training_split_is_read_else_the_first(monkeypatch):
    def names(*splits: str) -> list[str]:
        rows = {split: [{"content": "x", "path": f"{split}.py"}] for split in splits}
        monkeypatch.setattr("datasets.load_dataset", lambda name, config, streaming: rows)
        return [record.path for record in HubDataset("someone/data", None).records(LANGUAGES)]

    assert names("test", "train") == ["train.py"]
    assert names("valid", "test") == ["valid.py"]
