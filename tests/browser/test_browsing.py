"""Browsing from layer to key to key by mouse and keyboard."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor


def test_a_bar_of_the_overview_opens_its_layer(visit: Callable[..., Visitor]) -> None:
    page = visit("/runs/alpha?mask=L0.K1:0").page
    bars = page.locator("[data-figure*=firing_rate] .bars path")
    expect(bars).to_have_count(2)
    box = bars.nth(1).bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url(re.compile(r"/runs/alpha/layers/1\?mask=L0\.K1%3A0$"))


def test_a_point_of_the_map_opens_its_key(visit: Callable[..., Visitor]) -> None:
    page = visit("/runs/alpha/layers/0").page
    page.wait_for_selector(".js-plotly-plot .gl-canvas")
    place = page.evaluate("""() => {
        const chart = document.querySelector(".js-plotly-plot");
        const { xaxis, yaxis, _size: size } = chart._fullLayout;
        const { x, y, customdata } = chart._fullData[0];
        const box = chart.getBoundingClientRect();
        return {
            index: customdata[0],
            x: box.x + size.l + xaxis.d2p(x[0]),
            y: box.y + size.t + yaxis.d2p(y[0]),
        };
    }""")
    page.mouse.move(place["x"] - 2, place["y"])
    page.mouse.move(place["x"], place["y"])
    page.wait_for_selector(".hoverlayer .hovertext")
    page.mouse.click(place["x"], place["y"])
    page.wait_for_url(f"**/runs/alpha/keys/L0.K{place['index']}")


def test_filters_change_the_table_and_the_address_without_a_reload(visit: Callable[..., Visitor]) -> None:
    page = visit("/runs/alpha/layers/0?sort=kurtosis&mask=L0.K1:0").page
    page.evaluate("window.stayed = true")
    page.get_by_label("Fires most in").select_option("go")
    expect(page).to_have_url(re.compile(r"language=go"))
    cells = page.locator("#keys tbody tr")
    expect(cells.first).to_contain_text("Go")
    assert "rate_from" not in page.url
    assert "sort=kurtosis" in page.url
    assert "mask=" in page.url
    assert page.evaluate("window.stayed")
    page.go_back()
    expect(page).not_to_have_url(re.compile(r"language=go"))
    expect(cells).to_have_count(24)


def test_a_wrong_filter_is_answered_in_its_place(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/runs/alpha/layers/0")
    page = visitor.page
    page.get_by_label("to", exact=True).evaluate("field => field.removeAttribute('max')")
    page.get_by_label("to", exact=True).fill("250")
    expect(page.locator("#keys #error")).to_contain_text("rate_to")
    expect(page.get_by_label("Fires most in")).to_be_visible()
    visitor.problems.clear()


def test_headers_sort(visit: Callable[..., Visitor]) -> None:
    page = visit("/runs/alpha/layers/0").page
    page.get_by_role("link", name="firing rate", exact=True).click()
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("firing rate")


@pytest.mark.parametrize(("tabs", "tab"), [("Languages", "Go"), ("Which examples", "random"), ("Projection", "raw")])
def test_a_tab_chosen_by_keyboard_keeps_the_focus(visit: Callable[..., Visitor], tabs: str, tab: str) -> None:
    page = visit("/runs/alpha/keys/L0.K1").page
    chosen = page.get_by_role("navigation", name=tabs).get_by_role("link", name=tab)
    chosen.press("Enter")
    expect(chosen).to_have_attribute("aria-current", "true")
    expect(chosen).to_be_focused()


def test_tabs_change_the_examples_without_a_reload(visit: Callable[..., Visitor]) -> None:
    page = visit("/runs/alpha/keys/L0.K1").page
    page.evaluate("window.stayed = true")
    page.get_by_role("navigation", name="Languages").get_by_role("link", name="Go").click()
    expect(page.locator(".trigger .path").first).to_contain_text("main.go")
    expect(page).to_have_url(re.compile("language=go"))
    page.get_by_role("navigation", name="Which examples").get_by_role("link", name="silent").click()
    expect(page).to_have_url(re.compile("show=silent"))
    assert page.evaluate("window.stayed")


def test_a_window_opens_whole_and_closes_again(visit: Callable[..., Visitor]) -> None:
    page = visit("/runs/alpha/keys/L0.K1?language=java").page
    card = page.locator(".trigger").first
    lines = card.locator(".code .ln")
    few = lines.count()
    card.get_by_text("whole window").click()
    expect(card.get_by_text("fewer lines")).to_be_visible()
    assert lines.count() > few
    card.get_by_text("fewer lines").click()
    expect(lines).to_have_count(few)


def test_statistics_explain_themselves(visit: Callable[..., Visitor]) -> None:
    page = visit("/runs/alpha/keys/L0.K1").page
    page.get_by_role("button", name="firing rate").click()
    expect(page.get_by_text("Share of tokens with a coefficient above 0")).to_be_visible()


def test_the_keyboard_walks_from_key_to_key(visit: Callable[..., Visitor]) -> None:
    page = visit("/runs/alpha/keys/L0.K1").page
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/keys/L0.K2")
    page.keyboard.press("ArrowUp")
    page.wait_for_url("**/keys/L1.K2")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**/keys/L1.K1")
    page.keyboard.press("ArrowDown")
    page.wait_for_url("**/keys/L0.K1")


def test_m_puts_a_key_into_the_basket_and_takes_it_out(visit: Callable[..., Visitor]) -> None:
    page = visit("/runs/alpha/keys/L0.K1").page
    page.keyboard.press("m")
    expect(page.locator("#basket")).to_have_text("mask 1 key →")
    page.keyboard.press("m")
    expect(page.locator("#basket")).to_have_count(0)


def test_slash_jumps_and_typing_does_not(visit: Callable[..., Visitor]) -> None:
    page = visit("/runs/alpha/keys/L0.K1").page
    page.keyboard.press("/")
    page.keyboard.type("l1.k2m")
    expect(page.locator("#jump input[name=q]")).to_have_value("l1.k2m")
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    page.wait_for_url("**/keys/L1.K2")


def test_help_opens_by_key_and_shortcuts_can_be_switched_off(visit: Callable[..., Visitor]) -> None:
    page = visit("/runs/alpha/keys/L0.K1").page
    page.keyboard.press("?")
    page.get_by_label("single-key shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_hidden()
    assert page.url.endswith("/keys/L0.K1")


def test_a_label_is_given_by_key_and_form(visit: Callable[..., Visitor]) -> None:
    page = visit("/runs/alpha/keys/L1.K0").page
    page.keyboard.press("2")
    expect(page.get_by_label("semantic")).to_be_checked()
    page.get_by_label("Description").fill("loops")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_role("button", name="save").click()
    expect(page.locator(".head .chip")).to_have_text("Ada: semantic")
    page.get_by_role("button", name="remove").click()
    expect(page.get_by_text("No labels yet.")).to_be_visible()


def test_everything_can_be_read_without_a_script(visit: Callable[..., Visitor]) -> None:
    page = visit("/", script=False).page
    page.get_by_role("region", name="Runs").get_by_role("link", name="alpha").click()
    page.get_by_role("link", name="layer 1").click()
    page.locator("select[name=language]").select_option("go")
    page.get_by_role("button", name="apply").click()
    page.get_by_role("row").nth(1).get_by_role("link").first.click()
    expect(page.locator(".trigger").first).to_be_visible()
    page.get_by_text("whole window").first.click()
    expect(page.get_by_text("fewer lines")).to_be_visible()


def test_a_link_to_a_key_shows_its_card_on_hover_and_focus_until_escape(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/runs/alpha/layers/0")
    page = visitor.page
    link, card = page.get_by_role("link", name="L0.K1", exact=True), page.locator("#key-card")
    link.hover()
    expect(card).to_be_visible()
    expect(card).to_contain_text("L0.K1")
    expect(link).to_have_attribute("aria-describedby", "key-card")
    card.hover()
    page.wait_for_timeout(300)
    expect(card).to_be_visible()
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()
    expect(link).not_to_have_attribute("aria-describedby", "key-card")
    page.mouse.move(0, 0)
    page.keyboard.press("Tab")
    link.focus()
    expect(card).to_be_visible()
    # the card lies over the ends of other links, which axe takes for smaller targets
    assert [each for each in visitor.barriers() if not each.startswith("target-size")] == []
    page.keyboard.press("Tab")
    expect(card).not_to_contain_text("L0.K1")
    visitor.check()


def test_a_touched_link_shows_no_card(visit: Callable[..., Visitor]) -> None:
    page = visit("/runs/alpha/layers/0").page
    page.get_by_role("link", name="L0.K1", exact=True).dispatch_event("pointerover", {"pointerType": "touch"})
    page.wait_for_timeout(500)
    expect(page.locator("#key-card")).to_be_hidden()
