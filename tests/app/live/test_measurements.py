"""Measuring the prompts to try on a run, with a worker whose keys each take a tenth of the next token's probability."""

import asyncio
from collections.abc import Iterator

import pytest

from keyscope.app.live import measurements as module
from keyscope.app.live.client import Workers
from keyscope.app.live.directory import Directory
from keyscope.app.live.measurements import Measured, Measurements
from keyscope.app.runs import Run
from keyscope.contract.keys import KeyId
from keyscope.contract.wire import ErrorAnswer
from tests.fake_worker import FakeWorker
from tests.serving import serving

BUSY = (503, ErrorAnswer(error="queue_timeout", detail="the request waited 60 s for its turn"))


@pytest.fixture
def workers(worker: FakeWorker) -> Iterator[Workers]:
    with serving(worker.app) as url:
        yield Workers(Directory([url]), token=None, timeout=30)


async def finished(measurements: Measurements, run: Run) -> Measured:
    async with asyncio.timeout(30):
        while (measured := measurements.of(run)).running:
            await asyncio.sleep(0.01)
    return measured


def test_every_prompt_is_measured_once_with_control_and_by_the_keys_of_all(
    alpha: Run, workers: Workers, worker: FakeWorker
) -> None:
    async def check() -> None:
        measurements = Measurements(workers)
        measured = await finished(measurements, alpha)
        names = [prompt.name for prompt in measured.prompts]
        assert {prompt.language for prompt in measured.prompts} == {"python", "java", "go"}
        assert set(measured.effects) == set(names)
        for effect in measured.effects.values():
            assert effect.keys[0] == KeyId(1, 0)
            assert effect.baseline == pytest.approx(0.8)
            assert [dose.masked for dose in effect.doses] == pytest.approx([0.8 * 0.9**6] * 3)
            assert [dose.control for dose in effect.doses] == pytest.approx([0.8] * 3)
            assert effect.size == pytest.approx(0.8 - 0.8 * 0.9**6)
            assert effect.dose(0).masked == effect.baseline
        assert set(measured.left) == {(whose, on) for whose in names for on in names}
        assert list(measured.left.values()) == pytest.approx([0.9**6] * len(names) ** 2)
        asked = len(worker.next_asked)
        assert asked == measured.steps == measured.done == 2 * len(names)
        assert measurements.of(alpha) is measured
        await measurements.effect(alpha, measured.prompts[0].text, draw=0)
        assert len(worker.next_asked) == asked
        await measurements.effect(alpha, measured.prompts[0].text, draw=1)
        assert len(worker.next_asked) == asked + 1
        await measurements.close()
        await workers.close()

    asyncio.run(check())


def test_a_measurement_that_stopped_tells_why_and_goes_on_later(
    alpha: Run, workers: Workers, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        measurements = Measurements(workers)
        worker.refusal = BUSY
        measured = await finished(measurements, alpha)
        assert measured.problem == BUSY[1].detail
        worker.refusal = None
        assert not measurements.of(alpha).running
        monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
        again = await finished(measurements, alpha)
        assert (again.problem, again.done) == (None, again.steps)
        await measurements.close()
        await workers.close()

    asyncio.run(check())


def test_the_prompts_with_the_greatest_effect_come_first_and_unmeasured_ones_last(alpha: Run, workers: Workers) -> None:
    async def check() -> None:
        measured = await finished(Measurements(workers), alpha)
        first, second, third = measured.prompts[:3]
        weak = measured.effects[first.name]
        del measured.effects[second.name]
        measured.effects[first.name] = type(weak)(
            weak.target,
            weak.after,
            weak.keys,
            weak.baseline,
            tuple(type(dose)(dose.keys, 0.7, 0.8) for dose in weak.doses),
        )
        assert measured.ranked[0] == third
        assert measured.ranked[-2:] == [first, second]
        await workers.close()

    asyncio.run(check())
