"""The demo in the browser: from its address to three generations, and the tour by keyboard."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import TELEPHONE, Site, Visitor
from tests.fake_worker import FakeWorker

MEASURED = "Strongest first"


def test_one_click_shows_a_different_generation_beside_its_control(visit: Callable[..., Visitor]) -> None:
    page = visit("/").page
    page.get_by_role("link", name="edit the model live").click()
    expect(page.locator("#presets")).to_contain_text(MEASURED)  # the page asked again until all was measured
    expect(page.locator("#matrix td").first).to_contain_text("%")
    page.get_by_role("link", name="range").click()
    expect(page.locator("#masked-out mark")).to_have_text("array")
    expect(page.locator("#baseline-out mark")).to_have_text("zeros")
    expect(page.locator("#control-out mark")).to_have_count(0)
    expect(page.locator(".verdict")).to_contain_text("other keys")
    assert "preset=range" in page.url
    page.reload()
    expect(page.locator("#masked-out mark")).to_have_text("array")
    page.go_back()
    expect(page.locator("#masked-out")).to_have_count(0)


def test_a_prompt_can_be_chosen_while_the_others_are_measured(
    visit: Callable[..., Visitor], site: Site, worker: FakeWorker
) -> None:
    worker.next_pause = 1.0
    (site.runs / "alpha.duckdb").touch()  # as good as a new run: nothing is measured yet
    page = visit("/demo?run=alpha").page
    expect(page.locator("#presets")).to_contain_text("measuring prompts")
    page.get_by_role("link", name="range").click()
    expect(page.locator("#masked-out mark")).to_have_text("array")
    expect(page.locator("#matrix")).to_contain_text("measuring")
    worker.next_pause = 0.0
    expect(page.locator("#presets")).to_contain_text(MEASURED)
    expect(page.locator("#masked-out mark")).to_have_text("array")


def test_the_slider_changes_the_dose_and_the_address(visit: Callable[..., Visitor], worker: FakeWorker) -> None:
    page = visit("/demo?run=alpha&preset=range").page
    page.get_by_label("Number of keys to remove").press("ArrowLeft")
    expect(page.locator(".doses [aria-current]")).to_have_text("20")
    assert "keys=20" in page.url
    assert len(worker.asked[-1].masks) == 6  # the fake worker knows no more


def test_on_a_telephone_the_result_comes_into_view(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/demo?run=alpha", width=TELEPHONE)
    visitor.page.get_by_role("link", name="range").click()
    expect(visitor.page.locator(".verdict")).to_be_in_viewport()
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE


def test_the_tour_goes_on_by_arrow_and_space_and_types_into_its_last_step(visit: Callable[..., Visitor]) -> None:
    page = visit("/demo?run=alpha&view=presenter&preset=range").page
    for number, key in enumerate(("ArrowRight", " ", "ArrowRight", " ", "ArrowRight"), start=2):
        page.keyboard.press(key)
        expect(page.get_by_text(f"{number} of 6")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("5 of 6")).to_be_visible()
    page.keyboard.press("ArrowRight")
    field = page.get_by_label("Prompt")
    field.fill("def f")
    field.press(" ")
    field.press("ArrowLeft")
    expect(field).to_have_value("def f ")
    page.get_by_role("button", name="generate").click()
    expect(page.locator("#masked-out")).to_contain_text("def f")
    assert page.locator(".out").first.evaluate("(out) => getComputedStyle(out).fontSize") == "24px"


@pytest.mark.parametrize("step", [1, 2, 4, 5, 6])
def test_axe_finds_no_barrier_in_the_tour(visit: Callable[..., Visitor], step: int) -> None:
    visitor = visit(f"/demo?run=alpha&view=presenter&step={step}")
    visitor.page.wait_for_load_state("networkidle")
    assert visitor.barriers() == []
    visitor.turn("dark")
    assert visitor.barriers() == []


def test_every_control_of_the_demo_can_be_touched(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/demo?run=alpha&preset=range", width=TELEPHONE)
    small = visitor.page.evaluate(
        """() => [...document.querySelectorAll("main :is(a:not(.note a), button, summary, input)")]
            .map((each) => [each.outerHTML.slice(0, 80), each.getBoundingClientRect()])
            .filter(([, { width, height }]) => width && Math.min(width, height) < 24).map(([name]) => name)"""
    )
    assert small == []
