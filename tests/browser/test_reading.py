"""The lens and the keys that fire on a text."""

from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.conftest import Visitor


def test_the_grid_is_walked_by_arrow_keys_and_a_cell_lists_its_keys(visit: Callable[..., Visitor]) -> None:
    page = visit("/lens?run=alpha&prompt=def").page
    cells = page.locator("#grid .cell")
    tip = page.locator("#token-tip")
    expect(cells.last).to_have_attribute("tabindex", "0")
    cells.last.focus()
    expect(tip).to_be_visible()
    expect(tip).to_contain_text("layer 1 after")
    page.keyboard.press("ArrowUp")
    expect(cells.nth(2)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(cells.nth(1)).to_be_focused()
    expect(tip).to_contain_text("the model’s own token has rank 2")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator("#writers tbody tr")).to_have_count(6)
    expect(cells.nth(1)).to_have_attribute("aria-current", "true")
    assert "layer=0" in page.url


def test_without_scripts_cells_are_links_with_tooltips(visit: Callable[..., Visitor]) -> None:
    page = visit("/lens?run=alpha&prompt=def", script=False).page
    cell = page.locator("#grid .cell").nth(4)
    assert (cell.get_attribute("title") or "").startswith("layer 1 after")
    cell.click()
    expect(page.locator("#writers tbody tr")).to_have_count(6)


def test_a_key_found_on_a_text_is_masked_and_regenerated_without(visit: Callable[..., Visitor]) -> None:
    page = visit("/activations?run=alpha&text=def&language=python").page
    page.get_by_role("link", name="module").click()
    expect(page.get_by_role("heading", name="Keys at tokens 0 to 2, by layer")).to_be_visible()
    page.locator("#looked tbody tr").filter(has_text="L1.K1").get_by_role("link", name="mask", exact=True).click()
    expect(page.locator("#basket")).to_contain_text("mask 1 key")
    row = page.locator("#looked tbody tr").filter(has_text="L1.K1")
    row.get_by_role("link", name="regenerate without").click()
    expect(page.get_by_role("heading", name="Mask and regenerate")).to_be_visible()
    expect(page.locator("#masks")).to_contain_text("L1.K1")


def test_a_token_to_explain_is_typed(visit: Callable[..., Visitor]) -> None:
    page = visit("/activations?run=alpha&text=def").page
    page.get_by_label("explain this token").fill("nonsense")
    page.get_by_role("button", name="apply").click()
    expect(page.get_by_role("alert")).to_contain_text("the tokenizer has no token 'nonsense'")
