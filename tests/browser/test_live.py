"""Masking and regenerating in the browser."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from keyscope.contract.wire import ErrorAnswer, Span
from tests.browser.conftest import Visitor
from tests.fake_worker import FakeWorker

MASKED = "/live?run=alpha&prompt=x%20%3D%20&mask=L0.K1:0"


def test_from_the_list_of_runs_to_a_different_generation(visit: Callable[..., Visitor]) -> None:
    page = visit("/").page
    page.get_by_role("region", name="Runs").get_by_role("link", name="alpha").click()
    page.get_by_role("table", name="Most specific keys").get_by_role("link").first.click()
    page.get_by_role("link", name="mask this key").click()
    page.locator("#basket").click()
    page.get_by_role("link", name="numpy").click()
    page.get_by_role("button", name="regenerate").click()
    expect(page.locator("#said")).to_contain_text("They first differ at token 3.")


def test_both_branches_are_streamed_and_their_difference_marked(
    visit: Callable[..., Visitor], worker: FakeWorker
) -> None:
    page = visit(MASKED).page
    page.get_by_role("button", name="regenerate").click()
    expect(page.locator("#said")).to_contain_text("1 key masked at 9 positions")
    expect(page.locator("#baseline-out .out")).to_have_text("x = np.zeros(count)\n<b>&", use_inner_text=True)
    expect(page.locator("#baseline-out .first")).to_have_text("zeros")
    expect(page.locator("#masked-out .differs")).to_have_text(["array"])
    expect(page.locator("#difference")).to_contain_text("zeros")
    assert worker.asked[-1].prompt == "x = "
    assert str(worker.asked[-1].masks[0].key) == "L0.K1"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_barrier_in_what_was_generated(visit: Callable[..., Visitor], theme: str) -> None:
    visitor = visit(MASKED, theme=theme)
    visitor.page.get_by_role("button", name="regenerate").click()
    expect(visitor.page.locator("#difference")).to_be_visible()
    visitor.page.locator("#masked-out .first").hover()
    assert visitor.barriers() == []


def test_a_token_tells_its_alternatives_to_mouse_and_keyboard(visit: Callable[..., Visitor]) -> None:
    page = visit(MASKED).page
    page.get_by_role("button", name="regenerate").click()
    expect(page.locator("#difference")).to_be_visible()
    tip = page.get_by_role("tooltip")
    page.locator("#masked-out .first").hover()
    expect(tip).to_contain_text("token 3 · log-probability −0.250")
    expect(tip).to_contain_text("78 %")
    page.mouse.move(0, 0)
    expect(tip).to_be_hidden()
    page.locator("#baseline-out .g").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(tip).to_contain_text("token 3")
    expect(page.locator("#baseline-out .g").nth(2)).to_be_focused()
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def test_the_address_is_a_permalink(visit: Callable[..., Visitor]) -> None:
    visitor = visit(MASKED)
    page = visitor.page
    page.get_by_label("Prompt", exact=True).fill("def f():\n\treturn ")
    page.get_by_label("temperature", exact=True).fill("0.7")
    page.get_by_label("factor of L0.K1").fill("0.5")
    page.get_by_label("Prompt", exact=True).press("Control+Enter")
    expect(page.locator("#said")).to_contain_text("first differ")
    page.goto(page.url)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("def f():\n\treturn ")
    expect(page.get_by_label("temperature", exact=True)).to_have_value("0.7")
    expect(page.get_by_label("factor of L0.K1")).to_have_value("0.5")


def test_where_masks_act_is_sent_and_kept_in_the_address(visit: Callable[..., Visitor], worker: FakeWorker) -> None:
    page = visit(MASKED).page
    page.get_by_label("masks act on").select_option("generated")
    page.get_by_role("button", name="regenerate").click()
    expect(page.locator("#said")).to_contain_text("first differ")
    assert worker.asked[-1].positions == "generated"
    page.get_by_label("or on tokens").fill("1-2")
    page.get_by_label("or on tokens").press("Control+Enter")
    expect(page.locator("#said")).to_contain_text("first differ")
    page.goto(page.url)
    expect(page.get_by_label("masks act on")).to_have_value("generated")
    expect(page.get_by_label("or on tokens")).to_have_value("1-2")
    assert worker.asked[-1].positions == Span(first=1, last=2)


def test_a_key_that_the_run_lacks_is_refused_in_its_field_and_all_keys_get_one_factor(
    visit: Callable[..., Visitor],
) -> None:
    visitor = visit(MASKED)
    page = visitor.page
    page.get_by_label("add keys").fill("L9.K1")
    page.get_by_label("add keys").press("Enter")
    expect(page.get_by_role("alert").filter(has_text="Not added")).to_contain_text("has no layer 9")
    expect(page.get_by_label("add keys")).to_have_value("L9.K1")
    expect(page.get_by_label("factor of L0.K1")).to_have_count(1)
    visitor.problems.clear()  # the console reports the status 422
    page.get_by_label("add keys").fill("L1.K2")
    page.get_by_label("add keys").press("Enter")
    page.get_by_role("button", name="× 20").click()
    for key in ("L0.K1", "L1.K2"):
        expect(page.get_by_label(f"factor of {key}")).to_have_value("20")


def test_keys_are_added_and_taken_out_without_losing_the_prompt(visit: Callable[..., Visitor]) -> None:
    page = visit(MASKED).page
    page.get_by_label("Prompt", exact=True).fill("kept\n")
    page.get_by_label("add keys").fill("l1.k2:0.5")
    page.get_by_label("add keys").press("Enter")
    expect(page.get_by_label("factor of L1.K2")).to_have_value("0.5")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("kept\n")
    page.get_by_role("button", name="take L0.K1 out").click()
    expect(page.get_by_label("factor of L0.K1")).to_have_count(0)
    assert "mask=L1.K2%3A0.5" in page.url


def test_a_generation_can_be_cancelled(visit: Callable[..., Visitor], worker: FakeWorker) -> None:
    worker.pause = 0.5
    page = visit(MASKED).page
    page.get_by_role("button", name="regenerate").click()
    expect(page.locator("#baseline-out .g").first).to_be_visible()
    page.get_by_role("button", name="cancel").click()
    expect(page.locator("#said")).to_have_text("Cancelled.")
    expect(page.get_by_role("button", name="cancel")).to_be_hidden()


def test_a_refusal_is_shown_in_the_workers_words(visit: Callable[..., Visitor], worker: FakeWorker) -> None:
    worker.refusal = (503, ErrorAnswer(error="queue_full", detail="8 requests wait already, the limit is 8"))
    visitor = visit(MASKED)
    visitor.page.get_by_role("button", name="regenerate").click()
    expect(visitor.page.get_by_role("alert")).to_contain_text("8 requests wait already")
    assert any("503" in problem for problem in visitor.problems)
    visitor.problems.clear()


def test_a_stream_that_breaks_off_says_so_and_the_next_one_works(
    visit: Callable[..., Visitor], worker: FakeWorker
) -> None:
    worker.breaks_after = 2
    page = visit(MASKED).page
    page.get_by_role("button", name="regenerate").click()
    expect(page.get_by_role("alert")).to_contain_text("disconnected in the middle")
    worker.breaks_after = None
    page.get_by_role("button", name="generate again").click()
    expect(page.locator("#said")).to_contain_text("first differ")
    expect(page.get_by_role("alert")).to_be_empty()


def test_the_state_of_the_worker_is_asked_for_again(visit: Callable[..., Visitor], worker: FakeWorker) -> None:
    page = visit(MASKED).page
    expect(page.locator("#status")).to_contain_text("The worker is ready")
    worker.running = True
    expect(page.locator("#status")).to_contain_text("The worker is busy", timeout=12_000)


def test_without_a_script_a_form_does_it(visit: Callable[..., Visitor]) -> None:
    page = visit(MASKED, script=False).page
    page.get_by_role("button", name="regenerate").click()
    expect(page.locator("#masked-out .first")).to_have_text("array")
    assert re.search("They first differ at token 3", page.content())
