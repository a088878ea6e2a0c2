"""What team members see of each other's work."""

import json
import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Request, Response, expect

from tests.browser.conftest import TELEPHONE, Site, Visitor

KEY = "/runs/gated/keys/L2.K4"
API = "/api/v1"
ADDRESSES = {
    "labels": "/labels?run=gated",
    "lists": "/lists?run=gated&mask=L2.K4:0",
    "list": "/lists/{list}",
    "activity": "/activity?run=gated",
    "key": KEY,
}


@pytest.fixture(scope="module")
def team(site: Site) -> Iterator[dict[str, int]]:
    """Labels, a disagreement, a comment, a decision and a list by two people; returns ids."""
    with httpx.Client(base_url=site.url) as client:
        for key, kinds in {"L2.K4": ("syntactic", "semantic"), "L0.K1": ("mixed", "mixed")}.items():
            for person, kind in zip(("Ada", "Ben"), kinds, strict=True):
                body = {"kind": kind, "description": "opening brackets"}
                client.put(f"{API}/runs/gated/keys/{key}/labels", json=body, headers=named(person))
        comment = {"text": "see `(`, *@Ben*:\n\n- [one](https://example.com/)\n\n```\n" + "x" * 200 + "\n```"}
        client.post(f"{API}{KEY}/comments", json=comment, headers=named("Ada"))
        client.post(f"{API}{KEY}/adjudications", json={"kind": "mixed", "seen": 0}, headers=named("Ada"))
        body = {"name": "brackets", "keys": ["L2.K4", "L0.K1", "L1.K0"]}
        made = client.post(f"{API}/runs/gated/lists", json=body, headers=named("Ada")).json()
    yield {"list": made["list"]["id"]}
    with httpx.Client(base_url=site.url) as client:
        for key in ("L2.K4", "L0.K1"):
            for person in ("Ada", "Ben"):
                client.delete(f"{API}/runs/gated/keys/{key}/labels", headers=named(person))


BE_HIDDEN = """(hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def is_stream(message: Request | Response) -> bool:
    return "/events?" in message.url


def named(person: str) -> dict[str, str]:
    return {"X-Keyscope-Person": person}


def settled(visitor: Visitor) -> Visitor:
    expect(visitor.page.locator("[data-figure]:not(.js-plotly-plot)")).to_have_count(0)
    for details in visitor.page.locator("#discussion details").all():
        details.evaluate("details => details.open = true")
    return visitor


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
def test_where_a_team_works_a_telephone_needs_no_sideways_scrolling_and_axe_finds_no_barrier(
    visit: Callable[..., Visitor], team: dict[str, int], address: str
) -> None:
    visitor = settled(visit(address.format(**team), width=TELEPHONE, person="Ada"))
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE
    visitor.widen()
    assert visitor.barriers() == []
    visitor.turn("dark")
    assert visitor.barriers() == []


def test_what_others_say_appears_on_an_open_page_and_leaves_half_typed_forms_alone(
    visit: Callable[..., Visitor], site: Site, team: dict[str, int]
) -> None:
    page = visit(KEY, person="Ada").page
    expect(page.locator("#comments .comment")).to_have_count(1)
    mine = page.locator("#comment-form textarea")
    mine.fill("half a thou")
    page.locator("#comments summary").first.click()
    changing = page.locator("#comments-said textarea").first
    changing.fill("other words")
    page.locator("#label-form [name=description]").fill("half a label")
    changing.focus()
    client = httpx.Client(base_url=site.url, headers=named("Ben"))
    client.post(f"{API}{KEY}/comments", json={"text": "I am **here**"})
    client.put(f"{API}{KEY}/labels", json={"kind": "unclear", "description": "another thought"})
    expect(page.locator("#comments .comment")).to_have_count(2)
    expect(page.locator("#comments-said")).to_contain_text("I am here")
    expect(page.locator("#labels-said")).to_contain_text("another thought")
    expect(page.locator("#label-chips")).to_contain_text("Ben: unclear")
    expect(page.locator("#changes-said")).to_contain_text("have changed")
    expect(mine).to_have_value("half a thou")
    expect(changing).to_have_value("other words")
    expect(changing).to_be_focused()
    expect(page.locator("#label-form [name=description]")).to_have_value("half a label")
    page.get_by_role("button", name="comment", exact=True).click()
    expect(page.locator("#comments .comment")).to_have_count(3)
    expect(page.locator("#comments-said")).to_contain_text("half a thou")


def test_a_page_out_of_sight_listens_to_nothing(visit: Callable[..., Visitor], team: dict[str, int]) -> None:
    page = visit("/", person="Ada").page
    with page.expect_response(is_stream):
        page.goto(page.url.rstrip("/") + KEY)
    with page.expect_event("requestfailed", is_stream):
        page.evaluate(BE_HIDDEN, True)
    with page.expect_request(is_stream):
        page.evaluate(BE_HIDDEN, False)


def test_disagreements_are_decided_one_after_another_in_their_table(
    visit: Callable[..., Visitor], team: dict[str, int], site: Site
) -> None:
    keys = ("L0.K2", "L0.K3")
    with httpx.Client(base_url=site.url) as client:
        for key in keys:
            for person, kind in (("Ada", "syntactic"), ("Ben", "semantic")):
                client.put(f"{API}/runs/gated/keys/{key}/labels", json={"kind": kind}, headers=named(person))
        visitor = visit("/labels?run=gated", person="Ada")
        page = visitor.page
        page.get_by_label("kind of L0.K2").select_option("mixed")
        page.get_by_label("why L0.K2 is of this kind").fill("both")
        page.get_by_label("why L0.K2 is of this kind").press("Enter")
        expect(page.get_by_label("kind of L0.K3")).to_be_focused()
        expect(page.locator('[id="L0.K2"]')).to_contain_text("mixed Ada both")
        late = {"kind": "unclear", "seen": 0}
        client.post(f"{API}/runs/gated/keys/L0.K3/adjudications", json=late, headers=named("Ben"))
        page.keyboard.press("s")
        page.locator('[id="L0.K3"]').get_by_role("button", name="decide").click()
        expect(page.locator('[id="L0.K3"]').get_by_role("alert")).to_contain_text("Ben decided unclear")
        assert visitor.barriers() == []
        visitor.problems.clear()
        for key in keys:
            for person in ("Ada", "Ben"):
                client.delete(f"{API}/runs/gated/keys/{key}/labels", headers=named(person))


def test_a_list_is_filled_from_a_key_ordered_and_masked(
    visit: Callable[..., Visitor], site: Site, team: dict[str, int]
) -> None:
    page = visit("/runs/gated/keys/L1.K3", person="Ada").page
    page.get_by_text("add to a list", exact=True).click()
    page.locator("#lists select").select_option("brackets")
    page.get_by_role("button", name="add", exact=True).click()
    page.locator("#lists").get_by_role("link", name="brackets").click()
    expect(page.locator("tbody th a")).to_have_text(["L2.K4", "L0.K1", "L1.K0", "L1.K3"])
    page.get_by_role("button", name="L1.K3 up").click()
    expect(page.locator("tbody th a")).to_have_text(["L2.K4", "L0.K1", "L1.K3", "L1.K0"])
    page.get_by_label("note on L0.K1").fill("look here")
    page.get_by_label("note on L0.K1").press("Enter")
    expect(page.get_by_label("note on L0.K1")).to_have_value("look here")
    page.get_by_role("button", name="mask these keys").click()
    expect(page.get_by_label("factor of L1.K3")).to_have_value("0")
    expect(page.locator(".masks tbody tr")).to_have_count(4)


def row_of(person: str) -> str:
    """A label as one line of an import file, for weights that no run has."""
    row = {"person": person, "key": "L0.K0", "kind": "mixed", "weights_sha256": "f" * 64}
    return json.dumps(row | {"created_at": "2026-01-01T00:00:00Z"})


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_file_is_checked_and_then_imported_without_being_chosen_again(
    visit: Callable[..., Visitor], theme: str
) -> None:
    visitor = visit("/labels/import", width=TELEPHONE, theme=theme, person="Ada")
    page = visitor.page
    chosen = page.get_by_label("File, .csv")
    rows = f"{row_of(theme)}\n{row_of('Zoë ' + theme)}\n"
    chosen.set_input_files({"name": "team.jsonl", "mimeType": "", "buffer": f"{rows}no JSON".encode()})
    page.get_by_role("button", name="check", exact=True).click()
    expect(page.get_by_role("row", name="3 it is not JSON")).to_be_visible()
    visitor.problems[:] = [problem for problem in visitor.problems if "422" not in problem]
    assert visitor.barriers() == []
    chosen.set_input_files({"name": "team.jsonl", "mimeType": "", "buffer": rows.encode()})
    page.get_by_role("button", name="check", exact=True).click()
    expect(page.locator("#outcome")).to_contain_text("would be added")
    assert visitor.barriers() == []
    page.get_by_role("button", name="import", exact=True).click()
    expect(page.locator("#outcome")).to_contain_text("team.jsonl is imported")
    expect(page.locator("#outcome dd").first).to_have_text("2")
    assert page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE


def test_a_file_too_large_is_told_before_it_is_sent_and_another_forgets_what_was_checked(
    visit: Callable[..., Visitor],
) -> None:
    page = visit("/labels/import", person="Ada").page
    chosen = page.get_by_label("File, .csv")
    chosen.set_input_files({"name": "team.jsonl", "mimeType": "", "buffer": row_of("Cyd").encode()})
    page.get_by_role("button", name="check", exact=True).click()
    expect(page.get_by_role("button", name="import", exact=True)).to_be_visible()
    chosen.set_input_files({"name": "big.csv", "mimeType": "", "buffer": b"x" * 8_400_000})
    expect(page.get_by_role("button", name="import", exact=True)).to_have_count(0)
    told = "big.csv has 8,400,000 bytes, the limit is 8,000,000: split it"
    assert chosen.evaluate("input => input.validationMessage") == told


def test_a_file_is_imported_without_scripts_too(visit: Callable[..., Visitor]) -> None:
    page = visit("/labels/import", script=False, person="Ada").page
    file = {"name": "team.jsonl", "mimeType": "", "buffer": row_of("Dee").encode()}
    page.get_by_label("File, .csv").set_input_files(file)
    page.get_by_role("button", name="check", exact=True).click()
    expect(page.get_by_text("Choose the same file again")).to_be_visible()
    page.get_by_label("File, .csv").set_input_files(file)
    page.get_by_role("button", name="import", exact=True).click()
    expect(page.locator("#outcome")).to_contain_text("team.jsonl is imported")


def test_the_keys_selected_on_a_layer_s_map_become_a_list(visit: Callable[..., Visitor]) -> None:
    page = visit("/runs/alpha/layers/0", person="Ada").page
    chart = page.locator(".js-plotly-plot")
    expect(chart.locator(".gl-canvas").first).to_be_attached()
    form = page.locator("#chosen")
    expect(form).to_be_hidden()
    chart.hover()
    chart.locator('.modebar-btn[data-title="Box Select"]').click()
    area = chart.locator(".nsewdrag").first.bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + 3, area["y"] + 3)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] - 3, area["y"] + area["height"] - 3, steps=4)
    page.mouse.up()
    expect(form.locator("output")).to_have_text("24 keys")
    page.get_by_label("Name of a new list").fill("the whole layer")
    page.get_by_role("button", name="make a list").click()
    expect(page.get_by_role("heading", name="the whole layer")).to_be_visible()
    assert page.get_by_role("link", name=re.compile(r"^L0\.K\d+$")).count() == 24
