"""Nothing of a request outlives it: no hook, and not a bit of the model's numbers."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worker.live.driving import NANO, PROMPT, Worker, count_hooks, running_worker, vanish
from tests.worker.live.fresh_logits import logits_sha256

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]


def masks_of(number: int) -> list[dict[str, Any]]:
    return [{"key": f"L{number % 8}.K{(17 * number + i) % 640}", "factor": (number % 5) / 2} for i in range(number)]


async def fail_midway(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for a generation that raises in the middle of a layer of its third pass."""
    block = worker.service.model.layers[5].block
    forward, calls = block.forward, [0]

    def fail(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            raise RuntimeError("broken layer")
        return forward(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(block, "forward", fail)
        assert (await worker.generate(masks=masks_of(9))).status_code == 500
    assert calls == [3]


async def leave_midway(worker: Worker, accept: str) -> None:
    gone = asyncio.Event()
    body = {"prompt": PROMPT, "masks": masks_of(9), "max_new_tokens": 500}
    asked = asyncio.ensure_future(vanish(worker.app, body, accept, gone))
    await worker.until("running == 1")
    await asyncio.sleep(0.05)
    assert count_hooks(worker.service.model.model) > 0
    gone.set()
    await asked
    await worker.until("running == 0")


async def test_after_many_requests_a_failure_and_vanished_clients_the_model_is_as_a_fresh_process_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fresh = subprocess.Popen(
        [sys.executable, "-m", "tests.worker.live.fresh_logits", str(NANO), str(torch.get_num_threads())],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    async with running_worker(queue=100) as worker:
        model = worker.service.model
        assert count_hooks(model.model) == 0
        responses = await asyncio.gather(
            *(worker.generate(masks=masks_of(number), max_new_tokens=2, seed=number) for number in range(100))
        )
        assert {response.status_code for response in responses} == {200}
        await fail_midway(worker, monkeypatch)
        await leave_midway(worker, "text/event-stream")
        await leave_midway(worker, "application/json")
        assert count_hooks(model.model) == 0
        used = logits_sha256(model)
    output, _ = await asyncio.to_thread(fresh.communicate, timeout=60)
    assert used == output.strip()
