"""Errors of a precompute."""

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.manifest import Manifest, ModelFacts


class OutputUnwritable(KeyscopeError):
    """The disk is full, or the output folder cannot be written."""


class UnfinishedRun(KeyscopeError, status=409):
    """An earlier precompute of the same run was interrupted or is still at work."""


class OutOfDeviceMemory(KeyscopeError):
    """Not even one window fits into the device's memory."""


class KilledForMemory(KeyscopeError):
    """The system killed a worker process that computes one window at a time."""


class WorkerDied(KeyscopeError):
    """A worker process ended by itself."""


class ShardsFailed(KeyscopeError):
    """Some shards cannot be computed; all others are."""


class ShardsMissing(KeyscopeError, status=409):
    """Some shards have no result yet."""


class DamagedResult(KeyscopeError):
    """A stored file is not what was written."""


class MixedDevices(KeyscopeError, status=409):
    """Shards are computed on devices of several kinds."""


class ClusterUnusable(KeyscopeError, status=503):
    """There is no Ray cluster that could compute this run."""


class VerificationFailed(KeyscopeError):
    """Coefficients recomputed with plain transformers differ by more than the tolerance."""


class OtherModel(KeyscopeError, status=409):
    """The model's weights differ from the run's."""


class OtherCorpus(KeyscopeError, status=409):
    """The corpus is not the one the run was computed on."""


class WindowTooLong(KeyscopeError, status=400):
    """The window does not fit into the model's context."""


def check_weights(facts: ModelFacts, run: Manifest) -> None:
    """Check that a model is that of a run.

    Raises:
        OtherModel: its weights are others.
    """
    if facts.weights_sha256 != run.model.weights_sha256:
        raise OtherModel(
            f"{facts.model_id} has weights {facts.weights_sha256[:12]}, but the run {run.run_id} was computed with "
            f"{run.model.weights_sha256[:12]}: name the right model with --model"
        )
