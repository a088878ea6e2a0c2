"""The end of a precompute: results are checked, merged, verified by plain transformers and published as one file."""

from collections import Counter
from pathlib import Path

import duckdb

from keyscope.contract.manifest import Manifest, Verification
from keyscope.contract.runfile import SCHEMA_VERSION, create, write_manifest
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.precompute.errors import MixedDevices, ShardsMissing, VerificationFailed
from keyscope.worker.precompute.provenance import provenance
from keyscope.worker.precompute.publish import Publisher
from keyscope.worker.precompute.token_store import open_tokens
from keyscope.worker.precompute.verify import verify
from keyscope.worker.precompute.windows import for_task
from keyscope.worker.precompute.work import Result, Work
from keyscope.worker.progress import Progress

VERIFIED_KEYS = 50
"""Keys recomputed before a run is published, one trigger each."""
_NAMED = 10


def publish(
    model: CodeModel, work: Work, path: Path, scratch: Path, progress: Progress, mixed_devices: bool = False
) -> None:
    """Publish a run whose shards are all computed at `path`.

    Args:
        model: the model as the run reads it.
        work: the planned run.
        path: the run file.
        scratch: folder on this machine for what is copied here.
        progress: listener.
        mixed_devices: whether shards may come from devices of several kinds.

    Raises:
        ShardsMissing: some shards have no result.
        MixedDevices: they were computed on several kinds of devices.
        DamagedResult: a result is not what was written.
        VerificationFailed: recomputed coefficients differ; nothing is published.
        FileExists: there is such a file.
    """
    plan, results = work.plan, work.results()
    missing = [shard.number for shard in plan.shards if shard.number not in results]
    if missing:
        named = ", ".join(map(str, missing[:_NAMED])) + (" …" if len(missing) > _NAMED else "")
        raise ShardsMissing(
            f"{len(missing)} of {len(plan.shards)} shards in {work.storage.url} have no result ({named}): "
            "compute them with keyscope shards, or with keyscope precompute --resume"
        )
    check_devices([results[shard.number] for shard in plan.shards], mixed_devices)
    with progress.stage("checking results", len(results), "shards") as advance:
        shards = []
        for shard in plan.shards:
            shards.append((shard, work.stage(results[shard.number], scratch)))
            advance(1)
    store = for_task(open_tokens(work.tokens(scratch)), model, plan.settings)
    with create(path) as connection:
        publisher = Publisher(connection, model, store, shards, plan.settings)
        with progress.stage("writing the run file", len(model.layers), "layers") as advance:
            publisher.write(advance)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            run_id=plan.run_id,
            model=plan.model,
            corpus=plan.corpus,
            settings=plan.settings,
            provenance=provenance(list(results.values()), plan.started),
        )
        verification = _verified(connection, manifest, model, progress)
        write_manifest(connection, manifest.model_copy(update={"verification": verification}))
    progress.note(f"published {path}")


def check_devices(results: list[Result], mixed: bool) -> None:
    """Check that shards were computed on devices of one kind, unless they may be of several.

    Raises:
        MixedDevices: they were not.
    """
    kinds = Counter(result.device for result in results)
    if len(kinds) > 1 and not mixed:
        counted = ", ".join(f"{count} on {device}" for device, count in kinds.most_common())
        raise MixedDevices(
            f"shards were computed on different devices ({counted}), between which the last bits of sums differ: "
            "use one kind, or accept it with --mixed-devices"
        )


def _verified(
    connection: duckdb.DuckDBPyConnection, manifest: Manifest, model: CodeModel, progress: Progress
) -> Verification:
    settings = manifest.settings
    result = verify(connection, manifest, model.model, VERIFIED_KEYS, 1, settings.seed, progress)
    if not result.passed:
        raise VerificationFailed(
            f"{result.keys} random keys recomputed by plain transformers differ by up to {result.largest_error:.3g}, more than "
            f"the {result.tolerance:.3g} allowed for {settings.dtype}: the run is not published"
        )
    return result
