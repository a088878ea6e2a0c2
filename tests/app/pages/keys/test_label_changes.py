import html
import re

import pytest
from fastapi.testclient import TestClient

from keyscope.app.pages.keys.label_box import LabelBox

ADDRESS = "/runs/alpha/keys/L0.K1"
SHA = "a" * 64


def box(client: TestClient, address: str = ADDRESS) -> LabelBox:
    found: LabelBox = client.get(address).context["labels"]
    return found


def give(client: TestClient, address: str = ADDRESS, **fields: object) -> int:
    """Send the form as the page has it, with some fields filled in; answers the status."""
    start = box(client, address)
    based_on = start.mine.id if start.mine else 0
    form = {"based_on": based_on, "kept": start.ticked, "kind": "mixed", "visitor_name": "Ada", **fields}
    status: int = client.post(start.href, data=form, follow_redirects=False).status_code
    return status


@pytest.fixture
def ben(client: TestClient) -> TestClient:
    """Another browser of the same server."""
    return TestClient(client.app, cookies={"keyscope-person": "Ben"})


def test_a_label_is_given_and_its_persons_name_remembered(client: TestClient):
    start = box(client, f"{ADDRESS}?language=go&mask=L0.K1:0")
    form = {
        "visitor_name": " Ada  L ",
        "kind": "syntactic",
        "description": "loops <b>",
        "tags": "a, <i>,, a",
        "confidence": "0.75",
    }
    given = client.post(start.href, data=form, follow_redirects=False)
    assert given.status_code == 303
    assert given.headers["location"] == f"{ADDRESS}?language=go&mask=L0.K1%3A0#labels"
    page = client.get(ADDRESS)
    mine = page.context["labels"].mine
    assert (mine.person, mine.kind, mine.description, mine.confidence) == ("Ada L", "syntactic", "loops <b>", 0.75)
    assert mine.tags == ["a", "<i>"]
    assert "loops &lt;b&gt;" in page.text
    assert "<b>loops" not in page.text
    assert "<i>" not in re.sub(r'<i class="t[^>]*>', "", page.text)


def test_a_known_person_is_not_asked_for_a_name(client: TestClient):
    assert 'name="visitor_name"' in client.get(ADDRESS).text
    give(client)
    assert 'name="visitor_name"' not in client.get(ADDRESS).text
    give(client, visitor_name="Ben", kind="semantic")
    assert [label.person for label in box(client).labels] == ["Ada"]


def test_a_label_is_taken_back_and_the_change_undone(client: TestClient):
    give(client, kind="semantic")
    assert give(client, action="retract") == 303
    assert box(client).labels == []
    assert give(client, action="undo") == 303
    assert [label.kind for label in box(client).labels] == ["semantic"]
    history = box(client).history
    assert [event.taken_back for event in history] == [False, True, False]
    assert [event.moment for event in history] == sorted((event.moment for event in history), reverse=True)
    assert "removed" in client.get(ADDRESS).text


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"kind": "mixed", "visitor_name": ""}, "enter yours"),
        ({"visitor_name": "Ada"}, "choose syntactic"),
        ({"kind": "mixed", "visitor_name": "Ada", "confidence": "2"}, "confidence"),
        ({"kind": "mixed", "visitor_name": "Ada", "evidence": "nothing"}, "evidence"),
        ({"kind": "mixed", "visitor_name": "Ada", "tags": "x" * 51}, "tags"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused(client: TestClient, fields: dict[str, str], shown: str):
    answer = client.post(f"{ADDRESS}/label", data=fields, headers={"Accept": "text/html"})
    assert answer.status_code == 422
    assert shown in answer.text
    assert box(client).history == []


def test_a_stale_form_saves_nothing_and_shows_both_labels(client: TestClient):
    give(client, kind="syntactic", description="first")
    opened = box(client).mine
    assert opened is not None
    give(client, kind="semantic", description="from another <window>")
    stale = {"kind": "mixed", "description": "mine & new", "tags": "x,y", "evidence": f"{SHA}:4", "based_on": opened.id}
    answer = client.post(f"{ADDRESS}/label", data=stale, headers={"Accept": "text/html"})
    assert answer.status_code == 409
    assert "from another &lt;window&gt;" in answer.text
    assert "mine &amp; new" in answer.text
    assert [event.label.description for event in box(client).history] == ["from another <window>", "first"]
    chosen = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', answer.text))
    form = {name: html.unescape(value) for name, value in chosen.items()}
    assert client.post(answer.context["save_href"], data=form, follow_redirects=False).status_code == 303
    mine = box(client).mine
    assert mine is not None
    assert (mine.kind, mine.description, mine.tags, mine.places) == ("mixed", "mine & new", ["x", "y"], [f"{SHA}:4"])


def test_a_form_for_a_first_label_is_stale_once_there_is_one(client: TestClient):
    give(client)
    answer = client.post(f"{ADDRESS}/label", data={"kind": "semantic", "based_on": "0"})
    assert answer.status_code == 409
    assert len(box(client).history) == 1


@pytest.mark.parametrize("action", ["retract", "undo"])
def test_what_changed_meanwhile_is_not_taken_back(client: TestClient, action: str):
    give(client)
    answer = client.post(f"{ADDRESS}/label", data={"action": action, "based_on": "99"}, headers={"Accept": "text/html"})
    assert answer.status_code == 409
    assert len(box(client).labels) == 1


def test_the_conflict_is_a_fragment_for_htmx(client: TestClient):
    give(client)
    stale = {"kind": "semantic", "based_on": "0"}
    answer = client.post(f"{ADDRESS}/label", data=stale, headers={"HX-Request": "true"})
    assert answer.status_code == 409
    assert "<!doctype" not in answer.text
    assert 'id="conflict"' in answer.text


def test_evidence_is_the_trigger_token_in_its_file(client: TestClient):
    page = client.get(f"{ADDRESS}?language=python")
    triggers = client.get(f"/api/v1{ADDRESS}").json()["triggers"]
    first = next(trigger for trigger in triggers if trigger["language"] == "python" and trigger["polarity"] == "max")
    bos = 1 if first["token_ids"][0] == triggers[-1]["token_ids"][0] else 0
    place = f"{first['file_sha256']}:{first['start'] + first['trigger_index'] - bos}"
    assert page.context["cards"][0].place == place
    assert bos == 1, "the run has a BOS, which is no token of the file"


def test_evidence_is_marked_beside_its_trigger_with_the_peoples_names(client: TestClient, ben: TestClient):
    address = f"{ADDRESS}?language=python&view=code"
    places = [card.place for card in client.get(address).context["cards"]]
    give(client, address, evidence=places[:2])
    give(ben, address, evidence=places[:1])
    labels = box(ben, address)
    assert labels.marks == {places[0]: "Ada, Ben", places[1]: "Ada"}
    assert labels.ticked == places[:1]
    page = ben.get(address).text
    assert "✓ Ada, Ben" in page
    assert page.count(" checked> evidence") == 1


def test_evidence_on_other_tabs_stays(client: TestClient):
    python, java = (f"{ADDRESS}?language={language}" for language in ("python", "java"))
    there = [card.place for card in client.get(python).context["cards"]]
    here = [card.place for card in client.get(java).context["cards"]]
    give(client, python, evidence=there[:2], shown=there)
    give(client, java, evidence=here[:1], shown=here)
    assert box(client).ticked == [*there[:2], here[0]]
    give(client, python, evidence=there[1:2], shown=there)
    assert box(client).ticked == [here[0], there[1]]


def test_tags_are_suggested_from_other_keys(client: TestClient, ben: TestClient):
    give(client, tags="loops, <numpy>")
    page = ben.get("/runs/alpha/keys/L1.K1")
    assert page.context["labels"].tags == ["<numpy>", "loops"]
    assert '<option value="&lt;numpy&gt;">' in page.text
