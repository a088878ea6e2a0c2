"""The card of a key, shown beside links to it."""

from fastapi.testclient import TestClient

from keyscope.app.queries import key_triggers
from keyscope.app.runs import Run
from keyscope.contract.keys import KeyId


def test_the_card_of_a_key_shows_its_strongest_triggers_without_the_page_around_them(
    reader: TestClient, alpha: Run
) -> None:
    with alpha.reading() as cursor:
        triggers = key_triggers(cursor, alpha.windows, KeyId(1, 3), None, "max")
    card = reader.get("/runs/alpha/keys/L1.K3/card")
    assert '<b class="mono">L1.K3</b>' in card.text
    assert card.text.count('<div class="stack">') == min(4, len(triggers))
    assert "<html" not in card.text


def test_a_browser_keeps_a_card_and_asks_whether_it_still_holds(reader: TestClient) -> None:
    card = reader.get("/runs/alpha/keys/L1.K3/card")
    again = reader.get("/runs/alpha/keys/L1.K3/card", headers={"If-None-Match": card.headers["ETag"]})
    assert again.status_code == 304


def test_a_key_that_does_not_exist_has_no_card(reader: TestClient) -> None:
    assert reader.get("/runs/alpha/keys/L9.K9/card").status_code == 404


def test_blind_labelling_shows_no_card_of_the_key_to_label(client: TestClient) -> None:
    client.headers["X-Keyscope-Person"] = "Ada"
    queue = "/labels/queue?run=alpha&strategy=sample&key=L0.K1"
    assert "data-no-card" not in client.get(queue).text
    assert "data-no-card" in client.get(f"{queue}&blind=true").text
