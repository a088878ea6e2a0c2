"""A basket too long for an address goes by its id on every page, and by what was put in and taken out since."""

import html
import re
from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from keyscope.app.baskets import save_basket
from keyscope.app.database.engine import Database
from keyscope.app.web.baskets import read_basket, shortened
from keyscope.app.web.links import Basket
from keyscope.contract.keys import InvalidKey, InvalidMask, KeyId, Mask, Scale

KEYS = [KeyId(0, 1), KeyId(1, 2), KeyId(0, 3)]
MASKS = (Mask(KEYS[0]), Mask(KEYS[1], Scale(0.5)), Mask(KEYS[2]))
NEW = KeyId(1, 4)


@pytest.fixture
def saved(client: TestClient) -> str:
    """The id of a saved basket of three keys."""
    masks = [{"key": str(mask.key), "factor": mask.operation.factor} for mask in MASKS]
    return str(client.post("/api/v1/baskets", json={"masks": masks}).json()["id"])


def basket(page: Response) -> Basket:
    assert page.status_code == 200, page.text
    found: Basket = page.context["frame"].links.basket
    return found


def mask_of(address: str) -> str:
    return parse_qs(urlsplit(address).query)["mask"][0]


def keep(database: Database, masks: Sequence[Mask]) -> str:
    return database.write(lambda session: save_basket(session, masks))


def test_a_saved_basket_changed_key_by_key_is_read_as_it_was_written(database: Database):
    name = keep(database, MASKS)
    found = read_basket(database, "alpha", name)
    assert (str(found), found.masks) == (name, MASKS)
    fewer = found.toggled(KEYS[1])
    assert str(fewer) == f"{name},-L1.K2"
    more = fewer.toggled(NEW)
    assert str(more) == f"{name},L1.K4:0,-L1.K2"
    assert str(more.toggled(NEW)) == str(fewer)
    for each in (fewer, more, Basket("alpha", (*MASKS[:1], Mask(KEYS[1], Scale(2.0))), found.saved)):
        again = read_basket(database, "alpha", str(each))
        assert set(again.masks) == set(each.masks)
        assert str(again) == str(each)


def test_what_is_taken_out_and_put_in_again_is_the_saved_basket(database: Database):
    name = keep(database, MASKS)
    again = read_basket(database, "alpha", f"{name},-L0.K1,L0.K1:0")
    assert set(again.masks) == set(MASKS)
    assert str(again) == name


@pytest.mark.parametrize(
    ("changes", "error"),
    [("L0.K1:x", InvalidMask), ("-L0", InvalidKey), ("x", InvalidKey), ("L0.K1:0,L0.K1:1", InvalidMask)],
)
def test_changes_that_cannot_be_read_are_refused(database: Database, changes: str, error: type[Exception]):
    name = keep(database, MASKS)
    with pytest.raises(error):
        read_basket(database, "alpha", f"{name},{changes}")


def test_only_a_basket_that_is_too_long_is_saved(database: Database, monkeypatch: pytest.MonkeyPatch):
    assert shortened(database, Basket("alpha", MASKS)) == Basket("alpha", MASKS)
    monkeypatch.setattr("keyscope.app.web.links.LONGEST_BASKET", 10)
    short = shortened(database, Basket("alpha", MASKS))
    assert str(short) == keep(database, MASKS)
    monkeypatch.undo()
    assert str(shortened(database, short)) == "L0.K1:0,L1.K2:0.5,L0.K3:0", "it is short enough again"


@pytest.mark.parametrize(
    "address",
    ["/runs/alpha", "/runs/alpha/keys/L1.K4", "/runs/alpha/layers/1", "/runs/alpha/search?fires_on=self",
     "/runs/alpha/firing", "/runs/alpha/concepts", "/runs/alpha/findings", "/runs/alpha/edits", "/labels?run=alpha",
     "/lists?run=alpha", "/activity?run=alpha", "/labels/queue?run=alpha", "/?run=alpha", "/live?run=alpha",
     "/lens?run=alpha", "/activations?run=alpha"],
)  # fmt: skip
def test_every_page_of_the_run_carries_a_saved_basket_on(client: TestClient, saved: str, address: str):
    page = client.get(address, params={"mask": saved}, headers={"X-Keyscope-Person": "Ada"})
    assert basket(page).masks == MASKS
    elsewhere = [link for link in re.findall(r'href="([^"]+)"', html.unescape(page.text)) if "mask=" in link]
    assert elsewhere
    of_the_key = {f"{saved},L1.K4:0"} if address.endswith("/keys/L1.K4") else set()
    assert {mask_of(link) for link in elsewhere} == {saved} | of_the_key
    assert "mask 3<span> keys</span>" in page.text or address.startswith("/live")


def test_a_key_is_put_into_a_saved_basket_from_its_page_and_taken_out_again(client: TestClient, saved: str):
    page = client.get("/runs/alpha/keys/L1.K4", params={"mask": saved})
    assert "mask this key" in page.text
    masked = client.get(page.context["mask_href"])
    assert basket(masked).masks == (*MASKS, Mask(NEW))
    assert "mask 4<span> keys</span>" in masked.text
    assert str(basket(client.get(masked.context["mask_href"]))) == saved


def test_a_key_of_a_saved_basket_is_taken_out_from_its_page_and_put_in_again(client: TestClient, saved: str):
    page = client.get("/runs/alpha/keys/L0.K1", params={"mask": saved})
    assert "unmask this key" in page.text
    unmasked = client.get(page.context["mask_href"])
    assert basket(unmasked).masks == MASKS[1:]
    assert "mask this key" in unmasked.text
    assert str(basket(client.get(unmasked.context["mask_href"]))) == saved


def test_a_trigger_is_masked_with_the_saved_basket_and_its_key(client: TestClient, saved: str):
    page = client.get("/runs/alpha/keys/L1.K4", params={"mask": saved})
    links = re.findall(r'href="([^"]+/examples/[^"]+/live\?[^"]+)"', html.unescape(page.text))
    assert links
    live = client.get(links[0])
    assert basket(live).masks == (*MASKS, Mask(NEW))


def test_keys_found_are_masked_with_the_saved_basket(client: TestClient, saved: str):
    page = client.get("/runs/alpha/search", params={"mask": saved, "fires_on": ";"})
    live = basket(client.get(page.context["mask_href"]))
    assert live.masks[: len(MASKS)] == MASKS
    assert len(live) > len(MASKS)


def test_the_form_of_a_label_leads_back_to_the_key_with_the_saved_basket(client: TestClient, saved: str):
    page = client.get("/runs/alpha/keys/L1.K4", params={"mask": saved})
    form = {"kind": "mixed", "visitor_name": "Ada", "based_on": 0}
    answer = client.post(page.context["labels"].href, data=form, follow_redirects=False)
    assert answer.headers["location"] == f"/runs/alpha/keys/L1.K4?mask={saved}#labels"
    jump = client.get("/find", params={"q": "L0.K2", "run": "alpha", "mask": saved}, follow_redirects=False)
    assert jump.headers["location"] == f"/runs/alpha/keys/L0.K2?mask={saved}"


def test_a_new_list_starts_with_all_keys_of_a_saved_basket(client: TestClient, saved: str):
    text = client.get("/lists", params={"run": "alpha", "mask": saved}, headers={"X-Keyscope-Person": "Ada"}).text
    assert "L0.K1:0,L1.K2:0.5,L0.K3:0</textarea>" in text
    assert "The 3 keys of the basket are filled in" in text


def test_a_saved_basket_is_changed_by_name_and_factor_on_the_live_page(client: TestClient, saved: str):
    added = client.get("/live", params={"run": "alpha", "mask": saved, "add": "L1.K4:2"}, follow_redirects=False)
    assert mask_of(added.headers["location"]) == f"{saved},L1.K4:2"
    form = {"run": "alpha", "prompt": "x = ", "key": list(map(str, KEYS)), "factor": [0, 0, 0.5], "remove": "L0.K1"}
    fewer = client.post("/live/masks", data=form, follow_redirects=False).headers["location"]
    assert fewer == "/live?run=alpha&prompt=x+%3D+&mask=L1.K2%3A0%2CL0.K3%3A0.5"


def test_a_basket_too_long_for_an_address_goes_by_its_id(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("keyscope.app.web.links.LONGEST_BASKET", 10)
    ada = {"X-Keyscope-Person": "Ada"}
    form = {"run": "alpha", "name": "brackets", "keys": "L1.K2 L0.K1 L0.K3"}
    made = client.post("/lists", data=form, headers=ada, follow_redirects=False).headers["location"]
    masked = client.post(made.replace("?", "/mask?"), headers=ada, follow_redirects=False).headers["location"]
    assert re.fullmatch(r"/live\?run=alpha&mask=[0-9a-f]{20}", masked)
    page = client.get(masked)
    assert re.findall(r'name="key" value="([^"]+)"', page.text) == ["L1.K2", "L0.K1", "L0.K3"]
    assert 'formmethod="get" formaction="/live"' not in page.text, "an address cannot hold what the form lists"
    edit = {"run": "alpha", "prompt": "x = ", "key": ["L1.K2", "L0.K1", "L0.K3"], "factor": [0, 0, 0.5]}
    fewer = client.post("/live/masks", data={**edit, "remove": "L0.K1"}, follow_redirects=False).headers["location"]
    assert re.fullmatch(r"/live\?run=alpha&prompt=x\+%3D\+&mask=[0-9a-f]{20}", fewer)
    assert basket(client.get(fewer)).masks == (Mask(KEYS[1]), Mask(KEYS[2], Scale(0.5)))
    lens = client.post("/live/masks", data={**edit, "onward": "lens"}, follow_redirects=False).headers["location"]
    assert re.fullmatch(r"/lens\?run=alpha&prompt=x\+%3D\+&mask=[0-9a-f]{20}", lens)
    assert len(basket(client.get(lens))) == 3


@pytest.mark.parametrize("address", ["/runs/alpha/keys/L0.K1", "/live?run=alpha", "/lens?run=alpha", "/runs/alpha"])
def test_a_basket_that_nobody_saved_is_named(client: TestClient, address: str):
    answer = client.get(address, params={"mask": "0" * 20}, headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "there is no saved basket" in answer.text


def test_an_edit_is_measured_with_every_mask_of_a_saved_basket(client: TestClient, saved: str):
    page = client.get("/runs/alpha/concepts/numpy/edits", params={"mask": saved})
    assert page.context["form"].mask == "L0.K1:0,L1.K2:0.5,L0.K3:0"


def test_an_address_that_puts_a_key_in_or_takes_it_out_says_what_the_basket_would(database: Database):
    name = keep(database, MASKS)
    for text in ("", "L0.K1:0", "L0.K1:0.5,L1.K4:0", name, f"{name},L0.K1:2,L1.K4:0,-L1.K2", f"{name},-L0.K1"):
        found = read_basket(database, "alpha", text)
        for key in (*KEYS, NEW):
            for address, meant in (
                (found.address_with(key), found.holding(key)),
                (found.address_toggled(key), found.toggled(key)),
            ):
                again = read_basket(database, "alpha", address)
                assert (set(again.masks), str(again)) == (set(meant.masks), str(meant)), (text, address)
