"""The labelling queue by keyboard, also when the server answers late or not at all."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import TELEPHONE, WIDE, Visitor

Visit = Callable[..., Visitor]
SAMPLE = "/labels/queue?run=alpha&strategy=sample"
API = "/api/v1/runs/alpha/keys"


def key_of(page: Page) -> str:
    return page.locator("h1").inner_text()


def labels_of(page: Page, key: str, person: str) -> list[dict[str, Any]]:
    """All labels a person has given a key, latest first."""
    history = page.request.get(f"{page.url.split('/labels')[0]}{API}/{key}/labels").json()["history"]
    return [label for label in history if label["person"] == person]


def settled(visitor: Visitor) -> Page:
    """The page, once the next key has loaded."""
    visitor.page.wait_for_load_state("networkidle")
    return visitor.page


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_keys_are_labelled_skipped_and_undone_by_keyboard_alone(visit: Visit) -> None:
    visitor = visit(SAMPLE, person="Keyboard")
    page = settled(visitor)
    first = key_of(page)
    press(page, "3", "d")
    page.keyboard.type("12 loops, dusk")
    press(page, "t")  # goes into the field, which takes every key except Escape
    press(page, "Escape", "t")
    page.keyboard.type("odd")
    press(page, "Enter")
    expect(page.locator("h1")).not_to_have_text(first)
    expect(page.locator("#last")).to_contain_text("12 loops, duskt")
    [label] = labels_of(page, first, "Keyboard")
    assert (label["kind"], label["description"], label["tags"]) == ("mixed", "12 loops, duskt", ["odd"])

    settled(visitor)
    second = key_of(page)
    press(page, "s")
    expect(page.locator("h1")).not_to_have_text(second)
    assert labels_of(page, second, "Keyboard") == []

    settled(visitor)
    press(page, "1", "Enter")
    expect(page.locator("#last")).to_contain_text("syntactic")
    settled(visitor)
    third = page.locator("#last a").inner_text()
    press(page, "u")
    expect(page.locator("h1")).to_have_text(third)
    expect(page.get_by_label("syntactic")).to_be_checked()
    assert [label["retracted"] for label in labels_of(page, third, "Keyboard")] == [True]
    settled(visitor)
    press(page, "u")
    expect(page.locator("h1")).to_have_text(first)
    expect(page.get_by_label("Description")).to_have_value("12 loops, duskt")


def test_a_kind_has_to_be_chosen(visit: Visit) -> None:
    visitor = visit(SAMPLE, person="Hasty")
    page = settled(visitor)
    key = key_of(page)
    press(page, "Enter")
    assert key_of(page) == key
    assert page.locator("input[name=kind]:invalid").count() == 4
    assert labels_of(page, key, "Hasty") == []


def test_the_next_key_is_on_screen_before_the_label_is_saved(visit: Visit) -> None:
    visitor = visit(SAMPLE, person="Swift")
    page = settled(visitor)
    held: list[Route] = []
    page.route(
        "**/labels/queue?*", lambda route: held.append(route) if route.request.method == "POST" else route.continue_()
    )
    first = key_of(page)
    press(page, "2", "Enter")
    expect(page.locator("h1")).not_to_have_text(first)
    expect(page.locator("#last")).to_have_text(f"Saving your label of {first} …")
    assert labels_of(page, first, "Swift") == []
    [route] = held
    route.continue_()
    expect(page.locator("#last")).to_contain_text("semantic")
    assert len(labels_of(page, first, "Swift")) == 1
    page.go_back()
    expect(page.locator("h1")).to_have_text(first)


def test_a_label_that_was_not_saved_comes_back_with_its_key(visit: Visit) -> None:
    visitor = visit(SAMPLE, person="Unlucky")
    page = settled(visitor)
    first = key_of(page)
    page.route(
        "**/labels/queue?*", lambda route: route.abort() if route.request.method == "POST" else route.continue_()
    )
    press(page, "4", "d")
    page.keyboard.type("precious words")
    press(page, "Enter")
    expect(page.locator("#queue-problem")).to_contain_text(f"your label of {first} is not saved")
    assert key_of(page) == first
    expect(page.get_by_label("Description")).to_have_value("precious words")
    expect(page.get_by_label("unclear")).to_be_checked()
    visitor.problems.clear()
    page.unroute("**/labels/queue?*")
    press(page, "Enter")
    expect(page.locator("#last")).to_contain_text("precious words")
    assert len(labels_of(page, first, "Unlucky")) == 1


def test_two_versions_of_a_label_are_shown_to_choose_from(visit: Visit) -> None:
    visitor = visit(SAMPLE, person="Twice")
    page = settled(visitor)
    key = key_of(page)
    there = page.url.split("/labels")[0] + f"{API}/{key}/labels"
    page.request.put(
        there, data={"kind": "semantic", "description": "elsewhere"}, headers={"X-Keyscope-Person": "Twice"}
    )
    press(page, "1", "Enter")
    expect(page.locator("#conflict")).to_contain_text("elsewhere")
    visitor.problems.clear()
    page.get_by_role("button", name="save this one instead").click()
    expect(page.locator("#last")).to_contain_text("syntactic")
    assert [label["kind"] for label in labels_of(page, key, "Twice")] == ["syntactic", "semantic"]


def test_keys_are_given_back_when_the_queue_is_left(visit: Visit) -> None:
    visitor = visit(SAMPLE, person="Brief")
    page = settled(visitor)
    lease = page.url.split("/labels")[0] + page.locator("#queue").get_attribute("data-lease")
    other = {"X-Keyscope-Person": "Waiting"}
    assert page.request.put(lease, headers=other).status == 409
    page.goto(page.url.split("/labels")[0] + "/")
    for _ in range(100):
        if page.request.put(lease, headers=other).ok:
            break
        page.wait_for_timeout(100)
    assert page.request.put(lease, headers=other).status == 200
    page.request.delete(lease, headers=other)


def test_evidence_ticked_on_several_tabs_is_saved(visit: Visit) -> None:
    visitor = visit("/runs/alpha/keys/L1.K5?language=python", person="Thorough")
    page = visitor.page
    page.get_by_label("evidence").first.check()
    page.get_by_role("link", name="Java").click()
    expect(page.get_by_role("link", name="Java")).to_have_attribute("aria-current", "true")
    page.get_by_label("evidence").first.check()
    page.get_by_role("link", name="Python").click()
    expect(page.get_by_role("link", name="Python")).to_have_attribute("aria-current", "true")
    expect(page.get_by_label("evidence").first).to_be_checked()
    press(page, "1")
    page.get_by_role("button", name="save").click()
    expect(page.locator(".trigger .mark")).to_have_text(["✓ Thorough"])
    history = page.request.get(page.url.split("/runs")[0] + f"{API}/L1.K5/labels").json()["history"]
    assert len(history[0]["evidence"]) == 2


@pytest.mark.parametrize("address", [SAMPLE, "/runs/alpha/keys/L1.K5?view=code"])
def test_examples_are_marked_as_evidence_by_keyboard(visit: Visit, address: str) -> None:
    visitor = visit(address, person="Fingers")
    page = settled(visitor)
    ticks = page.get_by_label("evidence")
    press(page, "e")
    expect(ticks.nth(0)).to_be_checked()
    press(page, "j", "j", "e")
    expect(ticks.nth(2)).to_be_checked()
    expect(page.locator(".trigger").nth(2)).to_have_class("trigger current")
    expect(page.locator(".trigger").nth(2)).to_be_focused()
    expect(page.locator(".trigger.current")).to_have_count(1)
    press(page, "k", "e", "e", "k", "e")
    assert [tick.is_checked() for tick in ticks.all()[:3]] == [False, False, True]
    visitor.check()


def test_the_example_nearest_the_top_is_current(visit: Visit) -> None:
    visitor = visit(SAMPLE, person="Scroller")
    page = settled(visitor)
    expect(page.locator(".trigger").nth(0)).to_have_class("trigger current")
    page.locator(".trigger").nth(3).evaluate("example => example.scrollIntoView()")
    expect(page.locator(".trigger").nth(3)).to_have_class("trigger current")
    first = key_of(page)
    press(page, "1", "Enter")
    expect(page.locator("h1")).not_to_have_text(first)
    expect(page.locator(".trigger").nth(0)).to_have_class("trigger current")


def test_folded_numbers_stay_folded(visit: Visit) -> None:
    visitor = visit(SAMPLE, person="Folder")
    page = settled(visitor)
    first, before = key_of(page), page.locator("#examples").bounding_box()
    page.locator("#numbers > summary").click()
    page.locator("h1").focus()
    press(page, "1", "Enter")
    expect(page.locator("h1")).not_to_have_text(first)
    expect(page.locator("#numbers")).not_to_have_attribute("open", "")
    after = page.locator("#examples").bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] > before["width"] + 200


def test_the_progress_moves_along(visit: Visit) -> None:
    visitor = visit(SAMPLE, person="Counter")
    page = settled(visitor)
    expect(page.locator("#progress")).to_contain_text("0 labelled")
    press(page, "1", "Enter")
    expect(page.locator("#progress")).to_contain_text("1 labelled")


def test_tags_are_completed_one_by_one(visit: Visit) -> None:
    visitor = visit("/runs/alpha/keys/L1.K6", person="Tagger")
    url = visitor.site.url + f"{API}/L1.K7/labels"
    visitor.page.request.put(url, data={"kind": "mixed", "tags": ["numpy"]}, headers={"X-Keyscope-Person": "Tagger"})
    visitor.page.reload()
    visitor.page.get_by_label("Tags").press_sequentially("loops, nu")
    values = visitor.page.locator("#known-tags option").evaluate_all("options => options.map(({ value }) => value)")
    assert "loops, numpy" in values


@pytest.mark.parametrize(("theme", "width"), [("light", WIDE), ("dark", TELEPHONE)])
def test_the_queue_has_no_barrier_and_fits(visit: Visit, theme: str, width: int) -> None:
    visitor = visit(f"{SAMPLE}&blind=true", person="Axel", theme=theme, width=width)
    page = settled(visitor)
    press(page, "1", "Enter")
    expect(page.locator("#last")).to_contain_text("syntactic")
    assert visitor.barriers() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_queue_works_without_scripts(visit: Visit) -> None:
    page = visit("/labels/queue", person="Plain", script=False).page
    page.get_by_role("button", name="start").click()
    first = key_of(page)
    page.get_by_label("semantic").check()
    page.get_by_role("button", name="save and next").click()
    assert key_of(page) != first
    page.get_by_role("button", name="undo").click()
    assert key_of(page) == first
    page.get_by_role("button", name="skip").click()
    assert key_of(page) != first
