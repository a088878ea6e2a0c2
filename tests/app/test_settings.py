from pathlib import Path

import pytest
from pydantic import ValidationError

from keyscope.app.settings import Settings


def test_every_setting_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KEYSCOPE_RUNS", "/data/runs")
    monkeypatch.setenv("KEYSCOPE_PORT", "9000")
    monkeypatch.setenv("KEYSCOPE_WORKER_TOKEN", "s3cret")
    settings = Settings()
    assert settings.runs == Path("/data/runs")
    assert settings.port == 9000
    assert settings.worker_token is not None
    assert settings.worker_token.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings)


def test_several_values_stand_with_commas_between_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KEYSCOPE_WORKER_URLS", "http://one:8001, http://two:8001,")
    monkeypatch.setenv("KEYSCOPE_TRUSTED_PROXIES", "")
    settings = Settings()
    assert settings.worker_urls == ["http://one:8001", "http://two:8001"]
    assert settings.trusted_proxies == []


def test_labels_lie_beside_the_runs_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert Settings(runs=tmp_path).labels_url == f"sqlite:///{tmp_path}/keyscope.sqlite"
    monkeypatch.setenv("KEYSCOPE_DATABASE_URL", "postgresql://host/labels")
    assert Settings(runs=tmp_path).labels_url == "postgresql://host/labels"


@pytest.mark.parametrize("root_path", ["keyscope", "//evil.example", "/a b", "/a//b"])
def test_a_prefix_has_to_be_a_path(root_path: str):
    with pytest.raises(ValidationError, match="root_path"):
        Settings(root_path=root_path)


def test_every_setting_says_what_it_is():
    assert all(field.description for field in Settings.model_fields.values())
