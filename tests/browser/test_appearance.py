"""Themes and help, and the pages that differ from all others: errors and the API documentation."""

from collections.abc import Callable
from typing import ClassVar

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.browser.every_page import EveryPage

DOCUMENTATION = "/docs"  # Swagger UI, whose markup is not ours
NOT_FOUND = "console: Failed to load resource: the server responded with a status of 404 (Not Found)"


class TestErrors(EveryPage):
    PAGES: ClassVar = {"error": "/runs/alpha/keys/L9.K9"}


@pytest.fixture(scope="module")
def telephone(telephone: Visitor) -> Visitor:
    """The page without the error that the browser itself reports for a 404."""
    assert telephone.problems == [NOT_FOUND]
    telephone.problems.clear()
    return telephone


def test_low_contrast_is_found_in_the_dark(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/", theme="dark")
    visitor.page.locator("h1").evaluate("title => title.style.color = 'rgb(40 40 40)'")
    [barrier] = visitor.barriers()
    assert barrier.startswith("color-contrast: ")


def test_nothing_in_the_documentation_violates_the_security_policy(visit: Callable[..., Visitor]) -> None:
    visitor = visit(DOCUMENTATION)
    visitor.settle()
    visitor.check()


def test_the_theme_follows_the_system_until_one_is_chosen(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/", theme="dark")
    page = visitor.page
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Light or dark").click()
    light = page.evaluate(background)
    assert light != dark
    page.reload()
    assert page.evaluate(background) == light
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate(background) == dark


def test_a_chart_says_that_it_is_loading_until_it_is_drawn(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/")
    page = visitor.page
    page.route("**/figures/*", lambda _held: None)
    visitor.open("/runs/alpha")
    chart = page.locator("[data-figure*=firing_rate]")
    expect(chart).to_have_text("Loading chart …", use_inner_text=True)
    page.unroute_all()  # what was held goes on
    expect(chart.locator(".bars path").first).to_be_attached()


def test_without_scripts_a_chart_says_where_its_numbers_are(visit: Callable[..., Visitor]) -> None:
    chart = visit("/runs/alpha", script=False).page.locator("[data-figure*=firing_rate]")
    expect(chart).to_have_text("Charts need JavaScript; the table below has these numbers.", use_inner_text=True)


def test_charts_change_with_the_theme(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/runs/alpha")
    visitor.settle()
    bar = visitor.page.locator(".js-plotly-plot .bars path").first
    light = bar.evaluate("bar => getComputedStyle(bar).fill")
    visitor.page.get_by_role("button", name="Light or dark").click()
    expect(bar).not_to_have_css("fill", light)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_barrier_in_help_and_explanations(visit: Callable[..., Visitor], theme: str) -> None:
    visitor = visit("/runs/alpha/keys/L1.K3", theme=theme)
    visitor.page.get_by_role("button", name="kurtosis", exact=True).click()
    assert visitor.barriers() == []
    visitor.page.keyboard.press("Escape")
    visitor.page.get_by_role("button", name="Keyboard and help").click()
    assert visitor.barriers() == []
