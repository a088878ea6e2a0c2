import re
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from keyscope.app.pages.labels.queue_page import TRIGGERS, Last

QUEUE = "/labels/queue"
SAMPLE = f"{QUEUE}?run=alpha&strategy=sample"
KEYS = "/api/v1/runs/alpha/keys"


def person(client: TestClient, name: str) -> TestClient:
    """The browser of somebody whose name is known."""
    return TestClient(client.app, cookies={"keyscope-person": name}, headers={"Accept": "text/html"})


@pytest.fixture
def ada(client: TestClient) -> TestClient:
    return person(client, "Ada")


@pytest.fixture
def ben(client: TestClient) -> TestClient:
    return person(client, "Ben")


def key_of(answer: Response) -> str:
    return str(answer.context["key"])


def query_of(answer: Response) -> dict[str, list[str]]:
    return parse_qs(urlsplit(str(answer.url)).query)


def send(browser: TestClient, page: Response, **fields: object) -> Response:
    """Send the form of a page as a browser without scripts does, and follow."""
    labels = page.context["labels"]
    form = {"based_on": labels.mine.id if labels.mine else 0, "kind": "syntactic", "action": "save", **fields}
    return browser.post(labels.href, data=form)


def last_of(page: Response) -> Last | None:
    last: Last | None = page.context["last"]
    return last


def test_the_start_lists_runs_strategies_and_lists(ada: TestClient):
    made = ada.post("/api/v1/runs/alpha/lists", json={"name": "odd <ones>", "keys": ["L1.K2"]})
    assert made.status_code == 201, made.text
    page = ada.get(f"{QUEUE}?run=gated&seed=7&blind=true").text
    assert re.findall(r'<option value="(\w+)" (?:selected)?>\w+:', page) == ["alpha", "gated"]
    assert 'value="gated" selected' in page
    assert 'name="seed" min="0" max="2147483647" value="7"' in page
    assert 'name="blind" value="true" checked' in page
    assert "odd &lt;ones&gt; (1)" in page


def test_who_has_no_name_gives_it_in_the_form_and_gets_the_first_key(client: TestClient):
    browser = TestClient(client.app, headers={"Accept": "text/html"})
    page = browser.get(f"{SAMPLE}&people=3&mask=L0.K0:0")
    assert page.status_code == 200
    assert 'name="visitor_name"' in page.text
    assert '<option value="alpha" selected' in page.text
    form = {"run": "alpha", "strategy": "sample", "people": "3", "mask": "L0.K0:0", "list": "", "visitor_name": " Ada "}
    key = browser.post("/labels/queue/start", data=form)
    assert key.status_code == 200
    assert query_of(key)["key"] == [key_of(key)]
    assert (query_of(key)["people"], query_of(key)["mask"]) == (["3"], ["L0.K0:0"])
    assert "visitor_name" not in query_of(key)
    send(browser, key)
    [label] = browser.get(f"{KEYS}/{key_of(key)}/labels").json()["labels"]
    assert label["person"] == "Ada"


def test_who_has_a_name_is_not_asked_again(ada: TestClient):
    assert 'name="visitor_name"' not in ada.get(QUEUE).text
    started = ada.post("/labels/queue/start", data={"run": "alpha", "strategy": "sample", "blind": "true"})
    assert (query_of(started)["blind"], query_of(started)["key"]) == (["True"], [key_of(started)])


def test_two_people_label_a_key_unless_said_otherwise(ada: TestClient, ben: TestClient):
    page = ada.get(QUEUE)
    assert 'name="people" min="1" max="100" value="2"' in page.text
    assert 'name="calibration" min="0" max="1000" value="30"' in page.text
    first = ada.get(SAMPLE)
    send(ada, first)
    assert key_of(ben.get(SAMPLE)) == key_of(first)


def test_a_key_is_shown_with_its_triggers_and_stays_on_reloading(ada: TestClient):
    page = ada.get(f"{SAMPLE}&mask=L0.K0:0")
    assert page.status_code == 200
    assert 0 < len(page.context["cards"]) <= TRIGGERS
    assert query_of(page)["mask"] == ["L0.K0:0"]
    again = ada.get(str(page.url))
    assert key_of(again) == key_of(page)
    assert again.context["holder"] is None


def test_the_tabs_of_a_key_lead_back_to_the_queue(ada: TestClient):
    page = ada.get(SAMPLE)
    for tab in [*page.context["languages"], *page.context["shows"], *page.context["projections"]]:
        assert tab.href.startswith(f"{QUEUE}?")
        assert key_of(ada.get(tab.href)) == key_of(page)


def test_saving_goes_on_to_another_key_and_says_what_was_saved(ada: TestClient):
    first = ada.get(SAMPLE)
    second = send(ada, first, kind="semantic", description="loops <b>", tags="a, b", confidence="0.5")
    assert second.status_code == 200
    assert key_of(second) != key_of(first)
    last = last_of(second)
    assert last is not None
    assert (str(last.label.key), last.label.kind, last.label.description) == (key_of(first), "semantic", "loops <b>")
    assert "loops &lt;b&gt;" in second.text
    [label] = ada.get(f"{KEYS}/{key_of(first)}/labels").json()["labels"]
    assert (label["kind"], label["tags"], label["confidence"], label["person"]) == ("semantic", ["a", "b"], 0.5, "Ada")


def test_a_label_without_a_kind_is_refused_and_the_key_kept(ada: TestClient):
    page = ada.get(SAMPLE)
    assert send(ada, page, kind="").status_code == 422
    assert ada.get(f"{KEYS}/{key_of(page)}/labels").json()["history"] == []


def test_a_skipped_key_does_not_come_back_today(ada: TestClient, ben: TestClient):
    page, skipped = ada.get(SAMPLE), set()
    while "key" in page.context:
        assert key_of(page) not in skipped
        skipped.add(key_of(page))
        page = send(ada, page, action="skip")
    assert len(skipped) > 6
    assert "Nothing left: you have labelled" in page.text
    assert ada.get(f"{KEYS}/{skipped.pop()}/labels").json()["history"] == []
    assert "key" in ben.get(SAMPLE).context


def test_two_people_have_different_keys(ada: TestClient, ben: TestClient):
    first, second = ada.get(SAMPLE), ben.get(SAMPLE)
    assert key_of(first) != key_of(second)
    intruding = ben.get(str(first.url))
    assert intruding.context["holder"] == "Ada"
    assert "Ada is labelling this key" in intruding.text


def test_the_end_says_that_others_have_the_last_keys(ada: TestClient, ben: TestClient):
    page = ada.get(SAMPLE)
    while (page := ben.get(SAMPLE)).context.get("key"):
        pass
    assert "being labelled by others" in page.text


def test_a_saved_key_is_free_for_others_at_once(ada: TestClient, ben: TestClient):
    page = ada.get(f"{SAMPLE}&people=2")
    send(ada, page)
    assert ben.get(str(page.url)).context["holder"] is None


def test_undo_returns_to_the_key_with_what_was_said(ada: TestClient):
    pages = [ada.get(SAMPLE)]
    for kind in ("syntactic", "semantic"):
        pages.append(send(ada, pages[-1], kind=kind, description=f"it is {kind}"))
    for back, kind in ((1, "semantic"), (0, "syntactic")):
        last = last_of(pages[-1])
        assert last is not None
        pages.append(ada.post(last.undo_href, data={"label": last.label.id}))
        assert key_of(pages[-1]) == key_of(pages[back])
        labels = pages[-1].context["labels"]
        assert labels.mine is None
        assert (labels.start.kind, labels.start.description) == (kind, f"it is {kind}")
        assert "Label removed." in pages[-1].text
    assert last_of(pages[-1]) is None
    history = ada.get(f"{KEYS}/{key_of(pages[0])}/labels").json()["history"]
    assert [label["retracted"] for label in history] == [True]


def test_undo_of_a_changed_label_brings_the_earlier_one_back(ada: TestClient):
    page = ada.get(SAMPLE)
    after = send(ada, page, kind="mixed")
    again = send(ada, ada.get(str(page.url)), kind="unclear")
    last = last_of(again)
    assert last is not None
    back = ada.post(last.undo_href, data={"label": last.label.id})
    assert back.context["labels"].mine.kind == "mixed"
    assert key_of(after) != key_of(back) == key_of(page)


def test_nobody_undoes_what_is_not_theirs_or_has_changed(ada: TestClient, ben: TestClient):
    page = ada.get(SAMPLE)
    last = last_of(send(ada, page))
    assert last is not None
    assert ben.post(last.undo_href, data={"label": last.label.id}).status_code == 404
    assert ada.post(last.undo_href, data={"label": 999}).status_code == 404
    send(ada, ada.get(str(page.url)), kind="mixed")
    assert ada.post(last.undo_href, data={"label": last.label.id}).status_code == 409
    [label] = ada.get(f"{KEYS}/{key_of(page)}/labels").json()["labels"]
    assert label["kind"] == "mixed"


def test_a_stale_form_shows_both_labels_and_saves_none(ada: TestClient):
    page = ada.get(SAMPLE)
    send(ada, page, kind="semantic")
    conflict = send(ada, page, kind="mixed", description="from an old window")
    assert conflict.status_code == 409
    assert "from an old window" in conflict.text
    assert conflict.context["saved"].kind == "semantic"
    [label] = ada.get(f"{KEYS}/{key_of(page)}/labels").json()["history"]
    chosen = send(ada, page, kind="mixed", based_on=label["id"])
    assert chosen.status_code == 200


def test_blind_hides_what_others_say_until_ones_own_is_saved(ada: TestClient, ben: TestClient):
    page = ben.get(f"{SAMPLE}&people=2")
    card = page.context["cards"][0]
    send(ben, page, kind="semantic", description="secret words", evidence=card.place, shown=card.place, tags="hidden")
    send(ben, ben.get(str(page.url)), kind="mixed", description="secret words", evidence=card.place)
    address = f"{SAMPLE}&people=2&key={key_of(page)}"
    assert "secret words" in ada.get(address).text
    blind = ada.get(f"{address}&blind=true")
    assert "secret words" not in blind.text
    assert "✓ Ben" not in blind.text
    assert blind.context["labels"].history == []
    assert "Others’ labels appear once you save yours" in blind.text
    saved = send(ada, blind, kind="syntactic")
    last = last_of(saved)
    assert last is not None
    assert [label.person for label in last.others] == ["Ben"]
    assert "secret words" in saved.text
    assert query_of(saved)["blind"] == ["True"]


def test_a_confidence_comes_back_in_the_words_it_was_given_in(ada: TestClient):
    after = send(ada, ada.get(SAMPLE), confidence="0.5")
    assert "<small>likely</small>" in after.text
    last = last_of(after)
    assert last is not None
    given = {"kind": "mixed", "confidence": 0.4}
    assert ada.put(f"{KEYS}/{last.label.key}/labels", json=given).status_code == 200
    again = ada.get(f"{SAMPLE}&key={last.label.key}").text
    assert "40\u202f% sure</option>" in again
    assert "<small>40\u202f% sure</small>" in again


def test_the_queue_says_how_far_one_is(ada: TestClient, ben: TestClient):
    page = ada.get(SAMPLE)
    before = page.context["progress"]
    assert (before.labelled, before.of, before.seconds) == (0, "of the sample left", None)
    saved = ada.post(page.context["labels"].href, data={"kind": "mixed"}, headers={"HX-Request": "true"})
    assert f"1 labelled · {before.left - 1} of the sample left" in " ".join(saved.text.split())
    for _ in range(2):
        page = send(ada, ada.get(SAMPLE))
    assert page.context["progress"].labelled == 3
    assert page.context["progress"].seconds < 120
    assert ben.get(SAMPLE).context["progress"].left == before.left


def test_a_script_is_told_of_the_label_alone(ada: TestClient):
    page = ada.get(SAMPLE)
    script = {"HX-Request": "true"}
    answer = ada.post(page.context["labels"].href, data={"kind": "mixed", "based_on": "0"}, headers=script)
    assert answer.status_code == 200
    assert answer.text.strip().startswith('<div id="last">')
    assert key_of(page) in answer.text
    following = ada.get(page.context["next_href"], headers=script)
    assert "<!doctype" not in following.text
    assert f'<h1 tabindex="-1">{key_of(page)}</h1>' not in following.text
    assert following.text.count("<h1") == 1


def test_a_queue_that_makes_no_sense_is_refused(ada: TestClient):
    for address, status in (
        (f"{QUEUE}?run=nowhere&strategy=sample", 404),
        (f"{QUEUE}?run=alpha&strategy=luck", 422),
        (f"{QUEUE}?run=alpha&strategy=list", 422),
        (f"{QUEUE}?run=alpha&strategy=list&list=99", 404),
        (f"{SAMPLE}&key=L9.K9", 404),
        (f"{SAMPLE}&key=nonsense", 422),
        (f"{SAMPLE}&people=0", 422),
        (f"{SAMPLE}&seed=-1", 422),
        (f"{SAMPLE}&last=99999999999", 422),
    ):
        assert ada.get(address).status_code == status, address


def test_programs_take_renew_skip_and_give_back_keys(client: TestClient):
    ada, ben = ({"X-Keyscope-Person": name} for name in ("Ada", "Ben"))
    first = client.post("/api/v1/runs/alpha/queue", json={}, headers=ada).json()
    second = client.post("/api/v1/runs/alpha/queue", json={"strategy": "impact"}, headers=ben).json()
    assert first["key"] != second["key"]
    lease = f"{KEYS}/{first['key']}/lease"
    assert client.put(lease, headers=ada).json()["expires_at"] > "2026"
    refused = client.put(lease, headers=ben)
    assert refused.status_code == 409
    assert refused.json()["error"] == "key_leased"
    assert "Ada is labelling" in refused.json()["detail"]
    client.delete(lease, headers=ben)
    assert client.put(lease, headers=ben).status_code == 409
    client.delete(lease, headers=ada)
    assert client.put(lease, headers=ben).status_code == 200
    client.put(f"{KEYS}/{second['key']}/skip", headers=ben)
    assert client.put(f"{KEYS}/{second['key']}/lease", headers=ada).status_code == 200
    keys = set()
    while key := client.post("/api/v1/runs/alpha/queue", json={"people": 3}, headers=ben).json()["key"]:
        keys.add(key)
    assert keys.isdisjoint({first["key"], second["key"]})


@pytest.mark.parametrize(
    "body", [{"strategy": "luck"}, {"people": 0}, {"seed": -1}, {"strategy": "list"}, {"unknown": 1}]
)
def test_a_request_for_a_key_that_makes_no_sense_is_refused(client: TestClient, body: dict[str, object]):
    answer = client.post("/api/v1/runs/alpha/queue", json=body, headers={"X-Keyscope-Person": "Ada"})
    assert answer.status_code == 422
