"""Where on this machine the model of a run is: a note beside the run, which is no part of it and may be deleted."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from keyscope.contract.manifest import ModelFacts
from keyscope.contract.whole import write_whole
from keyscope.worker.model.errors import ModelNotFound
from keyscope.worker.model.known import locate_model
from keyscope.worker.progress import Progress


class _Note(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str
    weights_sha256: str


def note_model(run: Path, model_id: str, weights_sha256: str) -> None:
    """Note where a run's model is, unless it is one of the hub's."""
    place = Path(model_id).expanduser()
    if place.exists():
        note = _Note(model=str(place.resolve()), weights_sha256=weights_sha256)
        write_whole(_note_of(run), note.model_dump_json(indent=2) + "\n")


def model_of_run(run: Path, facts: ModelFacts, progress: Progress) -> str:
    """The model a run was computed with: its folder or file on this machine, or its hub name.

    Whoever loads it checks its weights against the run's.

    Raises:
        ModelNotFound: it was a local model and is not where it was.
        DownloadFailed: a model known by name cannot be downloaded.
    """
    try:
        note = _Note.model_validate_json(_note_of(run).read_text("utf-8"))
    except (OSError, ValueError):
        note = None
    if note is not None and note.weights_sha256 == facts.weights_sha256 and Path(note.model).exists():
        return note.model
    found = locate_model(facts.model_id, progress)
    if facts.revision is None and not Path(found).exists():
        raise ModelNotFound(
            f"{run.name} was computed with the local model {facts.model_id}, which is not found on this machine: "
            "name its folder or GGUF file with --model"
        )
    return found


def place_of_model(named: str | None, run: Path, facts: ModelFacts, progress: Progress) -> str:
    """The model that somebody named, else that of the run; see `model_of_run`."""
    return model_of_run(run, facts, progress) if named is None else locate_model(named, progress)


def _note_of(run: Path) -> Path:
    return run.with_suffix(".local.json")
