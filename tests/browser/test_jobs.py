"""Jobs in the browser: progress updates by itself, and the page reloads when the job is done."""

from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.fake_worker import HALF, FakeWorker


def test_progress_moves_and_the_page_is_loaded_anew_when_the_job_is_done(
    visit: Callable[..., Visitor], worker: FakeWorker
) -> None:
    visitor = visit("/runs/alpha/concepts/loops/edits")
    page, job = visitor.page, worker.jobs[0]
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_attribute("value", "0.5")
    worker.jobs = [job.model_copy(update={"progress": HALF.model_copy(update={"done": 750})})]
    expect(bar).to_have_attribute("value", "0.75")
    with page.expect_event("load"):
        worker.jobs = [job.model_copy(update={"state": "done", "progress": None})]
    expect(page.get_by_text("is done")).to_be_visible()
    expect(bar).to_have_count(0)
    visitor.check()


def test_the_button_that_has_the_focus_keeps_it_while_progress_moves(
    visit: Callable[..., Visitor], worker: FakeWorker
) -> None:
    page = visit("/runs/alpha/concepts/loops/edits").page
    stop = page.get_by_role("button", name="stop")
    stop.focus()
    worker.jobs = [worker.jobs[0].model_copy(update={"progress": HALF.model_copy(update={"done": 600})})]
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "0.6")
    expect(stop).to_be_focused()


def test_a_job_is_stopped_where_its_progress_is_shown(visit: Callable[..., Visitor], worker: FakeWorker) -> None:
    visitor = visit("/runs/alpha/concepts/loops/edits", person="Ada")
    visitor.page.get_by_role("button", name="stop").click()
    expect(visitor.page.get_by_text("progress kept")).to_be_visible()
    assert visitor.page.url.endswith("/runs/alpha/concepts/loops/edits")
    assert worker.jobs[0].state == "cancelled"
