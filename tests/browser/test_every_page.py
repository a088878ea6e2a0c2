"""What a person sees on every page, in both themes and on a telephone."""

from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import TELEPHONE, Site, Visitor, visits
from tests.edits import MadeEdit

ADDRESSES = {
    "runs": "/",
    "overview": "/runs/alpha",
    "search": "/runs/alpha/search?q=return&ranges=mean::5",
    "layer": "/runs/alpha/layers/1?fires_on=return",
    "key": "/runs/alpha/keys/L1.K3?language=python&mask=L1.K3:0",
    "key of a gated model": "/runs/gated/keys/L1.K2?show=min",
    "live": "/live?run=alpha&mask=L1.K3:0,L0.K2:0.5&prompt=def",
    "queue": "/labels/queue",
    "labels": "/labels?run=alpha",
    "lists": "/lists?run=alpha",
    "activity": "/activity?run=alpha",
    "name": "/name",
    "agreement": "/runs/alpha/agreement",
    "firing": "/runs/alpha/firing",
    "agreement not computed": "/runs/gated/agreement",
    "syntax": "/runs/alpha/syntax",
    "lens": "/lens?run=alpha&prompt=def&layer=1&at=1",
    "keys on a text": "/activations?run=alpha&text=def&language=python&first=1&last=2",
    "jobs": "/runs/alpha/jobs",
    "concepts": "/runs/alpha/concepts?name=x&language=python&kind=regex&pattern=def&language=go&kind=regex&pattern=(",
    "concept": "/runs/alpha/concepts/loops?n=3",
    "concept not computed": "/runs/gated/concepts/http",
    "edits": "/runs/alpha/edits",
    "edits of a concept": "/runs/alpha/concepts/loops/edits",
    "edit": f"/runs/alpha/edits/{MadeEdit().name}",
    "error": "/runs/alpha/keys/L9.K9",
}
DOCUMENTATION = "/docs"  # drawn by Swagger UI, whose markup is not ours
EXPECTED = {
    "/runs/alpha/keys/L9.K9": [
        "console: Failed to load resource: the server responded with a status of 404 (Not Found)"
    ]
}


def settle(visitor: Visitor, address: str) -> None:
    """Wait for the charts, and take out the one error that the browser reports by itself."""
    visitor.page.wait_for_load_state("networkidle")
    expect(visitor.page.locator("[data-figure]:not(.js-plotly-plot)")).to_have_count(0)
    visitor.problems[:] = [problem for problem in visitor.problems if problem not in EXPECTED.get(address, [])]


@pytest.fixture(scope="module", params=ADDRESSES.values(), ids=ADDRESSES.keys())
def telephone(request: pytest.FixtureRequest, browser: Browser, site: Site) -> Iterator[Visitor]:
    """Each page as a telephone shows it, opened once for all that is looked at."""
    with visits(browser, site) as visit:
        visitor = visit(request.param, width=TELEPHONE)
        settle(visitor, request.param)
        yield visitor


@pytest.fixture(scope="module")
def shown(telephone: Visitor) -> Visitor:
    """The same page on a wide screen."""
    telephone.widen()
    return telephone


def test_a_telephone_needs_no_sideways_scrolling(telephone: Visitor) -> None:
    assert telephone.page.evaluate("innerWidth") == TELEPHONE
    assert telephone.page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE


def test_the_security_policy_has_nothing_to_stop(shown: Visitor) -> None:
    shown.check()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_barrier(shown: Visitor, theme: Literal["light", "dark"]) -> None:
    shown.turn(theme)
    assert shown.barriers() == []


def test_every_control_can_be_seen_when_focused(shown: Visitor) -> None:
    for _ in range(12):
        shown.page.keyboard.press("Tab")
        if shown.page.evaluate("document.activeElement === document.body"):
            break
        outline = shown.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", shown.page.evaluate("document.activeElement.outerHTML")


def test_the_security_policy_has_nothing_to_stop_in_the_documentation(visit: Callable[..., Visitor]) -> None:
    visitor = visit(DOCUMENTATION)
    settle(visitor, DOCUMENTATION)
    visitor.check()


def test_the_theme_is_the_systems_until_one_is_chosen(visit: Callable[..., Visitor]) -> None:
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


def test_charts_change_with_the_theme(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/runs/alpha")
    settle(visitor, "")
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
