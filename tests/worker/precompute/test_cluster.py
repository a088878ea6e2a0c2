"""A precompute on a Ray cluster of one, two and three nodes gives the rows of one machine, whatever dies on the way.

The tests share one cluster and run in their order: each finds the nodes that the one before has left.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from keyscope.worker.precompute.errors import ClusterUnusable, ShardsFailed
from keyscope.worker.precompute.executors import cluster
from keyscope.worker.precompute.run import precompute
from keyscope.worker.precompute.work import Work
from tests.worker.precompute.cluster_actor import FaultyActor
from tests.worker.precompute.corpora import request, run
from tests.worker.precompute.rows import all_rows
from tests.worker.precompute.test_planned import Notes

pytestmark = pytest.mark.slow
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As many as a node has: sums of other numbers of threads differ in their last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster whose head, where this process is, has one CPU."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        nodes = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        ray.init(nodes.address, log_to_driver=False, logging_level="ERROR")
        yield nodes
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, model: Path, corpus: Path) -> dict[str, list[tuple[object, ...]]]:
    """The rows of the run computed on one machine."""
    return all_rows(run(model, corpus, tmp_path_factory.mktemp("local")))


@pytest.fixture(autouse=True)
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of what is to fail."""
    monkeypatch.setattr(cluster, "ModelActor", FaultyActor)
    (tmp_path / "faults").mkdir()
    return tmp_path / "faults"


def _on_cluster(model: Path, corpus: Path, out: Path, **more: Any) -> tuple[Path, list[str]]:
    notes = Notes()
    return precompute(request(model, corpus, out, executor="ray", **more), notes), notes.texts


def test_one_node_whose_process_is_killed_gives_the_same_rows(
    tmp_path: Path, nodes: Any, model: Path, corpus: Path, rows: Any, faults: Path
) -> None:
    (faults / "die-2").touch()
    path, notes = _on_cluster(model, corpus, tmp_path)
    assert all_rows(path) == rows
    assert not (faults / "die-2").exists()
    assert any("is gone: its shards are computed elsewhere" in text for text in notes)
    assert not list((tmp_path / ".work").iterdir())


def test_a_killed_driver_is_resumed_by_another_on_more_nodes(
    tmp_path: Path, nodes: Any, model: Path, corpus: Path, rows: Any, faults: Path
) -> None:
    (faults / "slow").touch()
    command = [sys.executable, "-m", "tests.worker.precompute.cluster_driver", nodes.address, model, corpus, tmp_path]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        nodes.add_node(**NODE)
        _wait_for(lambda: list(tmp_path.glob(".work/tiny-*/shards/*.json")))
    finally:
        driver.kill()
        driver.wait()
    (faults / "slow").unlink()
    path, notes = _on_cluster(model, corpus, tmp_path, resume=True)
    assert any(text.startswith("continuing after ") for text in notes)
    assert all_rows(path) == rows


def test_three_nodes_of_which_one_is_lost_at_work_give_the_same_rows(
    tmp_path: Path, nodes: Any, model: Path, corpus: Path, rows: Any, faults: Path
) -> None:
    third = nodes.add_node(**NODE)
    (faults / "slow").touch()

    def lose() -> None:
        _wait_for((faults / f"at-{third.node_id}").exists)
        nodes.remove_node(third, allow_graceful=False)

    killer = threading.Thread(target=lose)
    killer.start()
    path, notes = _on_cluster(model, corpus, tmp_path)
    killer.join()
    assert all_rows(path) == rows
    assert any("is gone" in text for text in notes)


def test_a_shard_that_fails_twice_is_named_and_two_nodes_do_the_others(
    tmp_path: Path, nodes: Any, model: Path, corpus: Path, rows: Any, faults: Path
) -> None:
    (faults / "fail-1").touch()
    with pytest.raises(ShardsFailed, match=r"1 of \d+ shards.*python files from part.*ValueError: made up"):
        _on_cluster(model, corpus, tmp_path)
    (state,) = tmp_path.glob(".work/tiny-*/")
    work = Work.at(str(state))
    assert len(work.results()) == len(work.plan.shards) - 1
    assert all_rows(run(model, corpus, tmp_path, resume=True)) == rows


def test_without_ray_or_a_cluster_one_sentence_says_what_to_do(
    tmp_path: Path, model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterUnusable, match=r"keyscope\[cluster\]"):
        _on_cluster(model, corpus, tmp_path)


def _wait_for(there: Any, seconds: float = 240.0) -> None:
    until = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < until
        time.sleep(0.05)
