"""An actor of the cluster that fails as it is told: by files in the folder `faults` beside the folder of work.

`slow` makes it wait before each shard, and a file named as its node appears when it has begun one. `die-N` kills its
process at shard N, once; `fail-N` has shard N fail each time.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

from keyscope.worker.precompute.executors.actor import ModelActor
from keyscope.worker.precompute.executors.runner import Finished
from keyscope.worker.precompute.plan import Shard


class FaultyActor(ModelActor):
    def compute(self, task: Any, shard: Shard, floors: Any, batch: int | None) -> Finished:
        assert task[0].storage.folder is not None
        faults: Path = task[0].storage.folder.parents[1] / "faults"
        if (faults / "slow").exists():
            (faults / f"at-{self._node_id}").touch()
            time.sleep(1)
        if (faults / f"die-{shard.number}").exists():
            (faults / f"die-{shard.number}").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (faults / f"fail-{shard.number}").exists():
            raise ValueError("made up")
        return super().compute(task, shard, floors, batch)
