"""Tests that every page must pass, in both themes and on a telephone."""

from typing import ClassVar, Literal

import pytest

from tests.browser.conftest import TELEPHONE, Visitor


class EveryPage:
    """Subclasses list their pages. They are spread over several modules because each module runs in one process."""

    PAGES: ClassVar[dict[str, str]]

    def test_a_telephone_needs_no_sideways_scrolling(self, telephone: Visitor) -> None:
        assert telephone.page.evaluate("innerWidth") == TELEPHONE
        assert telephone.page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE

    def test_nothing_violates_the_security_policy(self, shown: Visitor) -> None:
        shown.check()

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_axe_finds_no_barrier(self, shown: Visitor, theme: Literal["light", "dark"]) -> None:
        shown.turn(theme)
        assert shown.barriers() == []

    def test_every_control_can_be_seen_when_focused(self, shown: Visitor) -> None:
        for _ in range(12):
            shown.page.keyboard.press("Tab")
            if shown.page.evaluate("document.activeElement === document.body"):
                break
            outline = shown.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", shown.page.evaluate("document.activeElement.outerHTML")
