"""Working on a plan that is there already, for any scheduler: computing a share of its shards, and publishing the run."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keyscope.contract.tables import SUFFIX
from keyscope.worker.disk import readable_disk_errors
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.local import note_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.twin import twin_of
from keyscope.worker.precompute import leftovers
from keyscope.worker.precompute.corpus import keep_corpus
from keyscope.worker.precompute.errors import UnfinishedRun
from keyscope.worker.precompute.executors.executor import run_shards
from keyscope.worker.precompute.executors.local import LocalExecutor
from keyscope.worker.precompute.finish import publish
from keyscope.worker.precompute.work import Work, own_folder
from keyscope.worker.progress import Progress

REMEDY = "free space or choose another --scratch, then give the command again"


def compute_shards(
    url: str, rank: int, of: int, device: str, scratch: Path | None, progress: Progress, model: str | None = None
) -> int:
    """Compute every shard of a share that has no result yet; return how many shards the share has.

    Args:
        url: of the plan.
        rank: number of the share, from 0.
        of: number of shares.
        device: where the model runs.
        scratch: folder on this machine for what is not finished.
        progress: listener.
        model: where the model is, if elsewhere than planned.

    Raises:
        ShardsFailed: some shards cannot be computed; the others are done.
        OtherModel: the model is not the planned one.
        KeyscopeError: from plan, model, device or disk.
    """
    work = Work.at(url)
    shards = work.plan.shards[rank::of]
    done = work.results(shards)
    if len(done) == len(shards):
        progress.note(f"all {len(shards)} shards of rank {rank} are complete")
        return len(shards)
    with _scratch(work, scratch) as place:
        executor = LocalExecutor(load_planned(work, device, model))
        with executor.session(work, place, progress) as session:
            run_shards(session, work, shards, progress, place)
    return len(shards)


def publish_planned(
    url: str,
    out: Path,
    device: str,
    scratch: Path | None,
    progress: Progress,
    model: str | None = None,
    mixed_devices: bool = False,
) -> Path:
    """Publish a planned run whose shards are all computed, clear up after it, and return its file.

    Args:
        url: of the plan.
        out: folder for the run.
        device: where the model runs.
        scratch: folder on this machine for what is copied here.
        progress: listener.
        model: where the model is, if elsewhere than planned.
        mixed_devices: whether shards may come from devices of several kinds.

    Raises:
        UnfinishedRun: there is no plan, or it is damaged or a twin's.
        ShardsMissing: some shards have no result.
        MixedDevices: they were computed on several kinds of devices.
        VerificationFailed: recomputed coefficients differ; nothing is published.
        KeyscopeError: from plan, model, device or disk.
    """
    work = Work.at(url)
    if work.plan.model.shuffled is not None:
        raise UnfinishedRun(f"{url} plans a twin, which belongs beside its run: publish it with keyscope twin RUN")
    path = out / f"{work.plan.run_id}{SUFFIX}"
    with _scratch(work, scratch) as place:
        if path.exists():
            progress.note(f"{path} is complete")
        else:
            loaded = load_planned(work, device, model)
            publish(loaded, work, path, place, progress, mixed_devices)
            note_model(path, model or work.plan.source, work.plan.model.weights_sha256)
        if work.storage.folder is None:
            keep_corpus(work.tokens(place), path)
        else:
            leftovers.place_corpus(work.tokens(place), path)
    work.sweep()
    return path


def load_planned(work: Work, device: str, model: str | None = None) -> CodeModel:
    """Load the model of a plan, as the run reads it.

    Raises:
        KeyscopeError: as `load_model` does.
    """
    plan = work.plan
    loaded = load_model(ModelSource(model or plan.source, plan.revision, plan.settings.dtype, device))
    if plan.model.shuffled is not None:
        loaded = twin_of(loaded, plan.model.shuffled, in_place=True)
    return loaded.reading(plan.settings.bos, plan.settings.task)


@contextmanager
def _scratch(work: Work, given: Path | None) -> Iterator[Path]:
    """A folder for this process, removed at the end."""
    shared = work.storage.folder
    around = given or (shared / "scratch" if shared else Path(tempfile.gettempdir()) / "keyscope" / work.plan.run_id)
    with readable_disk_errors(around, REMEDY):
        folder = own_folder(around)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
