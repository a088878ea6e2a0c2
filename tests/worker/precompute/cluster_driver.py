"""A precompute on a cluster in a process of its own, to be killed.

Usage: python -m tests.worker.precompute.cluster_driver ADDRESS MODEL CORPUS OUT.
"""

import sys
from pathlib import Path

from keyscope.worker.precompute.executors import cluster
from tests.worker.precompute.cluster_actor import FaultyActor
from tests.worker.precompute.corpora import run

if __name__ == "__main__":
    cluster.ModelActor = FaultyActor  # type: ignore[misc]
    address, *places = sys.argv[1:]
    run(*map(Path, places), executor="ray", address=address)
