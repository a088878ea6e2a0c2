"""The queue and its thread, with work that is not about models."""

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import torch

from keyscope.worker.live.engine import EXIT_DEVICE_FAILED, Engine
from keyscope.worker.live.errors import (
    DeviceFailed,
    InternalError,
    OutOfMemory,
    QueueFull,
    QueueTimeout,
    WorkerStopping,
)
from keyscope.worker.live.metrics import Metrics
from keyscope.worker.live.ticket import Cancelled, Ticket

pytestmark = pytest.mark.anyio
Emit = Callable[[int], None]


class Gate:
    """Work that emits 1 and then waits until it is opened; once opened it emits 2 and ends with 3."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.left = threading.Event()

    def __call__(self, emit: Emit) -> int:
        try:
            emit(1)
            assert self.open.wait(10)
            emit(2)
        finally:
            self.left.set()
        return 3


@asynccontextmanager
async def running_engine(
    queue: int = 4, queue_timeout: float = 10.0
) -> AsyncIterator[tuple[Engine, Metrics, list[int]]]:
    metrics, exit_codes = Metrics(), list[int]()
    engine = Engine(queue, queue_timeout, metrics, exit_codes.append)
    engine.start()
    try:
        yield engine, metrics, exit_codes
    finally:
        engine.close()


def outcomes(metrics: Metrics) -> dict[str, float]:
    return {
        sample.labels["outcome"]: sample.value
        for metric in metrics.requests.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


async def all_events(ticket: Ticket[int]) -> list[int]:
    return [event async for event in ticket]


async def test_work_is_done_one_after_another_in_order_of_arrival() -> None:
    log: list[tuple[str, int]] = []

    def work(number: int) -> Callable[[Emit], int]:
        def run(emit: Emit) -> int:
            log.append(("begin", number))
            emit(10 * number)
            log.append(("end", number))
            return 10 * number + 1

        return run

    async with running_engine(queue=20) as (engine, metrics, _):
        tickets = [engine.submit(work(number), 1) for number in range(8)]
        results = [await all_events(ticket) for ticket in tickets]
    assert results == [[10 * number, 10 * number + 1] for number in range(8)]
    assert log == [(what, number) for number in range(8) for what in ("begin", "end")]
    assert outcomes(metrics) == {"done": 8}


async def test_a_full_queue_refuses_with_both_numbers_and_an_estimate_from_the_running_pace() -> None:
    gate = Gate()
    async with running_engine(queue=2) as (engine, _, _):
        running = engine.submit(gate, size=1000)
        assert await anext(aiter(running)) == 1
        await asyncio.sleep(0.05)
        waiting = [engine.submit(gate, size=1) for _ in range(2)]
        with pytest.raises(QueueFull, match="2 requests are waiting and the queue holds 2") as refusal:
            engine.submit(gate, size=1)
        assert refusal.value.status == 429
        assert 50 <= refusal.value.retry_after <= 500  # one of 1000 events took a good 50 ms
        engine.cancel(waiting[0])
        assert engine.waiting == 1
        engine.submit(gate, size=1)
        gate.open.set()


async def test_a_wait_longer_than_the_timeout_ends_with_both_numbers_and_leaves_the_queue() -> None:
    gate = Gate()
    async with running_engine(queue_timeout=0.05) as (engine, metrics, _):
        running = engine.submit(gate, size=2)
        ticket = engine.submit(gate, size=2)
        with pytest.raises(QueueTimeout, match=r"waited 0\.\d s for its turn, the limit is 0\.05 s") as refusal:
            await engine.turn(ticket)
        assert (refusal.value.status, engine.waiting) == (503, 0)
        assert refusal.value.retry_after >= 1
        gate.open.set()
        assert await all_events(running) == [1, 2, 3]
        assert outcomes(metrics) == {"queue_timeout": 1, "done": 1}


async def test_work_that_has_begun_is_not_timed_out() -> None:
    async with running_engine(queue_timeout=0.02) as (engine, _, _):
        gate = Gate()
        ticket = engine.submit(gate, size=2)
        await engine.turn(ticket)
        await asyncio.sleep(0.05)
        gate.open.set()
        assert await all_events(ticket) == [1, 2, 3]


async def test_cancelled_work_ends_with_its_next_event_and_the_next_begins() -> None:
    first, second = Gate(), Gate()
    second.open.set()
    async with running_engine() as (engine, metrics, _):
        ticket, other = engine.submit(first, 2), engine.submit(second, 2)
        await engine.turn(ticket)
        engine.cancel(ticket)
        first.open.set()
        assert await all_events(other) == [1, 2, 3]
        assert first.left.is_set()
        assert outcomes(metrics) == {"cancelled": 1, "done": 1}


async def test_a_ticket_cancelled_while_it_waits_is_never_begun() -> None:
    gate, never = Gate(), Gate()
    async with running_engine() as (engine, metrics, _):
        running, ticket = engine.submit(gate, 2), engine.submit(never, 2)
        await engine.turn(running)
        engine.cancel(ticket)
        assert engine.waiting == 0
        gate.open.set()
        await all_events(running)
        assert not never.left.is_set()
        assert outcomes(metrics) == {"cancelled": 1, "done": 1}


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
)
async def test_out_of_memory_is_told_and_the_engine_goes_on(error: Exception) -> None:
    def fail(emit: Emit) -> int:
        raise error

    async with running_engine() as (engine, metrics, exit_codes):
        with pytest.raises(OutOfMemory) as refusal:
            await all_events(engine.submit(fail, 1))
        assert (refusal.value.status, refusal.value.retry_after) == (503, 1)
        gate = Gate()
        gate.open.set()
        assert await all_events(engine.submit(gate, 2)) == [1, 2, 3]
        assert outcomes(metrics) == {"out_of_memory": 1, "done": 1}
    assert exit_codes == []


async def test_memory_is_released_after_the_failed_work_has_let_go_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the exception is handled its traceback holds the work's tensors, so releasing then would release nothing."""

    class Tensor:
        pass

    alive: list[bool] = []
    held = weakref.WeakSet[Tensor]()

    def fail(emit: Emit) -> int:
        tensor = Tensor()
        held.add(tensor)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("keyscope.worker.live.engine.release_memory", lambda: alive.append(len(held) > 0))
    async with running_engine() as (engine, _, _):
        with pytest.raises(OutOfMemory):
            await all_events(engine.submit(fail, 1))
    assert alive == [False]


async def test_a_broken_device_ends_the_process_after_everybody_was_told() -> None:
    gate = Gate()

    def fail(emit: Emit) -> int:
        gate.open.wait(10)
        raise RuntimeError("CUDA error: device-side assert triggered")

    async with running_engine() as (engine, _, exit_codes):
        broken, waiting = engine.submit(fail, 1), engine.submit(gate, 2)
        gate.open.set()
        with pytest.raises(DeviceFailed):
            await all_events(broken)
        with pytest.raises(WorkerStopping):
            await all_events(waiting)
        with pytest.raises(WorkerStopping):
            engine.submit(gate, 1)
        assert not engine.alive
    assert exit_codes == [EXIT_DEVICE_FAILED]


async def test_an_unexpected_error_says_nothing_of_its_inside_and_the_engine_goes_on() -> None:
    def fail(emit: Emit) -> int:
        raise ValueError("secret")

    async with running_engine() as (engine, _, exit_codes):
        with pytest.raises(InternalError) as failure:
            await all_events(engine.submit(fail, 1))
        assert "secret" not in failure.value.detail
        gate = Gate()
        gate.open.set()
        assert await all_events(engine.submit(gate, 2)) == [1, 2, 3]
    assert exit_codes == []


async def test_closing_ends_what_runs_and_refuses_what_waits() -> None:
    gate = Gate()
    async with running_engine() as (engine, _, _):
        running, waiting = engine.submit(gate, 2), engine.submit(gate, 2)
        await engine.turn(running)
        asyncio.get_running_loop().call_later(0.05, gate.open.set)
        await asyncio.to_thread(engine.close)
        for ticket in (running, waiting):
            with pytest.raises(WorkerStopping):
                await all_events(ticket)
        with pytest.raises(WorkerStopping):
            engine.submit(gate, 1)


async def test_an_estimate_counts_everything_ahead_at_the_pace_of_the_last_work() -> None:
    def one_event(emit: Emit) -> int:
        threading.Event().wait(0.1)
        emit(1)
        return 2

    gate = Gate()
    async with running_engine(queue_timeout=0.05) as (engine, _, _):
        await all_events(engine.submit(one_event, 1))
        assert engine.events_per_second == pytest.approx(10, rel=0.5)
        running, others = engine.submit(gate, 41), [engine.submit(gate, 100) for _ in range(2)]
        assert await anext(aiter(running)) == 1
        with pytest.raises(QueueTimeout) as refusal:
            await engine.turn(others[0])
        assert 14 <= refusal.value.retry_after <= 28  # 40 + 100 events at a good 0.1 s
        gate.open.set()


def borrow(engine: Engine, log: list[str], batches: int, wanted: Callable[[], bool] = lambda: True) -> None:
    """Use the model in a thread of its own for some batches, giving way after each."""
    with engine.lend(wanted) as give_way:
        for number in range(batches):
            log.append(f"batch {number} begins")
            threading.Event().wait(0.02)
            log.append(f"batch {number} ends")
            give_way()


async def test_a_borrower_gives_way_after_its_batch_and_goes_on_when_nobody_waits() -> None:
    log: list[str] = []

    def request(name: str) -> Callable[[Emit], int]:
        def work(emit: Emit) -> int:
            log.append(f"{name} begins")
            threading.Event().wait(0.02)
            log.append(f"{name} ends")
            return 1

        return work

    async with running_engine() as (engine, _, _):
        borrower = asyncio.create_task(asyncio.to_thread(borrow, engine, log, 10))
        while "batch 1 begins" not in log:
            await asyncio.sleep(0.001)
        tickets = [engine.submit(request(name), 1) for name in ("first", "second")]
        for ticket in tickets:
            assert await all_events(ticket) == [1]
        await borrower
    assert log[::2] == [line.replace("ends", "begins") for line in log[1::2]], "two used the model at once"
    assert log.index("first begins") == log.index("batch 1 ends") + 1
    assert log.index("second begins") == log.index("first ends") + 1
    assert log[-1] == "batch 9 ends"


async def test_a_request_never_waits_for_more_than_the_batch_that_is_being_done() -> None:
    log: list[str] = []
    async with running_engine() as (engine, _, _):
        borrower = asyncio.create_task(asyncio.to_thread(borrow, engine, log, 30))
        for _ in range(5):
            await asyncio.sleep(0.03)
            batches = len(log)
            await all_events(engine.submit(lambda emit: 1, 1))
            assert len(log) - batches <= 2  # at most the end of one batch, and the beginning of the next
        await borrower


async def test_a_borrower_that_waits_is_woken_when_it_is_not_wanted_any_more() -> None:
    gate, log, unwanted = Gate(), list[str](), threading.Event()
    async with running_engine() as (engine, _, _):
        running = engine.submit(gate, 2)
        await engine.turn(running)
        borrower = asyncio.create_task(asyncio.to_thread(borrow, engine, log, 1, lambda: not unwanted.is_set()))
        await asyncio.sleep(0.05)
        unwanted.set()
        engine.wake()
        with pytest.raises(Cancelled):
            await asyncio.wait_for(borrower, 5)
        gate.open.set()
        assert await all_events(running) == [1, 2, 3]
    assert log == []


async def test_closing_takes_the_model_from_a_borrower() -> None:
    log: list[str] = []
    async with running_engine() as (engine, _, _):
        borrower = asyncio.create_task(asyncio.to_thread(borrow, engine, log, 1000))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(engine.close)
        with pytest.raises(Cancelled):
            await asyncio.wait_for(borrower, 5)
