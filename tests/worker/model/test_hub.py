from pathlib import Path

import pytest

from keyscope.worker.model import weights
from keyscope.worker.model.errors import ModelNotFound
from keyscope.worker.model.weights import find_weights


def test_an_unreachable_hub_is_reported_in_one_sentence(monkeypatch, tmp_path: Path) -> None:
    def unreachable(*_args: object, **_more: object) -> None:
        raise weights.HTTPError("Name or service not known")

    monkeypatch.setattr(weights.HfApi, "list_repo_files", unreachable)
    monkeypatch.setattr(weights, "snapshot_download", unreachable)
    with pytest.raises(ModelNotFound, match="the hub did not return it: Name or service not known"):
        find_weights("some/model", None, tmp_path)
