import pytest

from keyscope.contract.cache import default_cache
from keyscope.worker.corpus.gather import GatherSettings


@pytest.mark.parametrize(
    ("chosen", "folder"), [("~/kept", "home/kept"), ("", "home/.cache/keyscope"), (None, "home/.cache/keyscope")]
)
def test_the_cache_is_where_the_environment_says_for_the_corpus_too(monkeypatch, tmp_path, chosen, folder):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if chosen is None:
        monkeypatch.delenv("KEYSCOPE_CACHE", raising=False)
    else:
        monkeypatch.setenv("KEYSCOPE_CACHE", chosen)
    assert default_cache() == tmp_path / folder
    assert GatherSettings(["python"], 1).cache == tmp_path / folder
