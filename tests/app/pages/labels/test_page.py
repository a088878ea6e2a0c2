import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from keyscope.app.labels.annotator_agreement import KINDS, LayerKinds
from keyscope.app.main import create_app
from keyscope.app.pages.labels.lists import parse_keys
from keyscope.app.pages.labels.page import kinds_by_layer
from keyscope.app.settings import Settings
from keyscope.contract.keys import KeyId
from tests.app.listening import PATIENCE, Listener, until
from tests.serving import serving

V1 = "/api/v1"
KEY = "/runs/alpha/keys/L1.K2"
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}'


def named(name: str) -> dict[str, str]:
    return {"X-Keyscope-Person": name}


def label(client: TestClient, key: str, person: str, kind: str, **more: object) -> None:
    address = f"{V1}/runs/alpha/keys/{key}/labels"
    assert client.put(address, json={"kind": kind, **more}, headers=named(person)).status_code == 200


def post(client: TestClient, address: str, person: str = "Ada", **form: object) -> httpx.Response:
    return client.post(address, data=form, headers=named(person), follow_redirects=False)


def page(client: TestClient, address: str, person: str = "Ada") -> str:
    answer = client.get(address, headers=named(person))
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.fixture
def disputed(client: TestClient) -> TestClient:
    label(client, "L1.K2", "Ada", "syntactic")
    label(client, "L1.K2", "Ben", "semantic")
    label(client, "L0.K1", "Ada", "mixed")
    label(client, "L0.K1", "Ben", "mixed")
    return client


def test_without_labels_the_page_says_what_to_do(client: TestClient):
    text = page(client, "/labels?run=alpha")
    assert "No labels yet" in text
    assert "/labels/queue?run=alpha" in text


def test_the_page_shows_agreement_with_interval_and_number_of_keys(disputed: TestClient):
    text = page(disputed, "/labels?run=alpha")
    answer = disputed.get(f"{V1}/runs/alpha/labels/agreement").json()
    assert answer["alpha"]["n"] == answer["fleiss"]["n"] == answer["pairs"][0]["kappa"]["n"] == 2
    assert answer["pairs"][0]["kappa"]["value"] == pytest.approx(1 / 3)
    assert "<b>0.333</b>" in text
    assert answer["pairs"][0]["kappa"]["reading"].startswith("fair; 2 keys are too few")
    assert f'<td class="reading">{answer["pairs"][0]["kappa"]["reading"]}</td>' in text
    assert "4 labels by 2 people on 2 of 12 keys" in " ".join(re.sub(r"<[^>]+>", "", text).split())


def test_the_page_says_who_labelled_how_much(disputed: TestClient):
    label(disputed, "L0.K2", "Ben", "mixed")
    text = " ".join(re.sub(r"<[^>]+>", " ", page(disputed, "/labels?run=alpha")).split())
    assert "in all 2 3 today 2 3" in text


def test_fewer_people_may_be_asked_for(disputed: TestClient):
    label(disputed, "L0.K1", "Cyd", "unclear")
    everybody = disputed.get(f"{V1}/runs/alpha/labels/agreement").json()
    two = disputed.get(f"{V1}/runs/alpha/labels/agreement?person=Ada&person=Ben").json()
    assert everybody["fleiss"]["n"] == 1
    assert two["fleiss"]["n"] == 2
    assert everybody["layers"][0] == {
        "layer": 0,
        "n_keys": 6,
        "labelled": 1,
        "by_person": {"Ada": 1, "Ben": 1, "Cyd": 1},
        "kinds": {"syntactic": 0, "semantic": 0, "mixed": 2, "unclear": 1},
    }


def test_a_disagreement_leads_to_the_key_and_shows_its_decision(disputed: TestClient):
    text = page(disputed, "/labels?run=alpha")
    assert f'href="{KEY}#decision"' in text
    assert "1 keys with labels of several kinds, 1 not decided" in text
    assert post(disputed, f"{KEY}/decisions", kind="mixed", description="both", seen=0).status_code == 303
    assert "1 keys with labels of several kinds, 0 not decided" in page(disputed, "/labels?run=alpha")
    answer = disputed.get(f"{V1}/runs/alpha/labels/disagreements").json()
    assert [(each["key"], each["labels"]) for each in answer["disagreements"]] == [
        ("L1.K2", {"Ada": "syntactic", "Ben": "semantic"})
    ]
    assert answer["disagreements"][0]["adjudication"]["kind"] == "mixed"
    assert disputed.get(f"{V1}/runs/alpha/labels/disagreements?open=true").json()["total"] == 0
    assert [each["person"] for each in disputed.get(f"{V1}{KEY}/labels").json()["labels"]] == ["Ada", "Ben"]


DECISIONS = "/labels/decisions?run=alpha"


def test_a_disagreement_is_decided_in_the_table_and_the_next_one_follows(disputed: TestClient):
    for key in ("L0.K3", "L1.K4"):
        label(disputed, key, "Ada", "syntactic")
        label(disputed, key, "Ben", "mixed")
    decided = post(disputed, DECISIONS, key="L0.K3", kind="mixed", description="both", seen=0)
    assert (decided.status_code, decided.headers["location"]) == (303, "/labels?run=alpha#L1.K2")
    assert post(disputed, DECISIONS, key="L1.K4", kind="mixed", seen=0).headers["location"].endswith("#L1.K2")
    assert post(disputed, DECISIONS, key="L1.K2", kind="mixed", seen=0).headers["location"].endswith("#disagreements")
    assert "3 keys with labels of several kinds, 0 not decided" in page(disputed, "/labels?run=alpha")
    assert post(disputed, DECISIONS, key="L0.K3", kind="", seen=1).headers["location"].endswith("#L0.K3"), "reopened"
    assert post(disputed, DECISIONS, key="L9.K9", kind="mixed", seen=0).status_code == 404


def test_a_script_gets_the_decided_row_or_the_decision_of_somebody_else(disputed: TestClient):
    script = {"HX-Request": "true"}
    form = {"key": "L1.K2", "kind": "mixed", "description": "<b>", "seen": 0}
    row = disputed.post(DECISIONS, data=form, headers=named("Ada") | script)
    assert row.status_code == 200
    assert row.text.count("<tr") == 1
    assert "<small>&lt;b&gt;</small>" in row.text
    assert 'name="seen" value="1"' in row.text
    late = disputed.post(DECISIONS, data=form | {"kind": "unclear"}, headers=named("Ben") | script)
    assert late.status_code == 409
    assert "Ada decided mixed" in late.text
    assert late.text.count("<tr") == 1
    assert post(disputed, DECISIONS, "Ben", **form).status_code == 409


def test_who_has_no_name_is_shown_no_form_to_decide(disputed: TestClient):
    assert 'class="decide"' in page(disputed, "/labels?run=alpha")
    assert 'class="decide"' not in disputed.get("/labels?run=alpha").text


def test_two_people_are_set_side_by_side(disputed: TestClient):
    label(disputed, "L0.K1", "Cyd", "unclear")
    text = " ".join(page(disputed, "/labels?run=alpha&first=Ben&second=Cyd").split())
    assert "Ben in rows, Cyd in columns, 1 keys" in text
    assert "Ada in rows, Ben in columns, 2 keys" in page(disputed, "/labels?run=alpha&first=nobody&second=Cyd")


def test_the_figure_has_the_share_of_each_kind(disputed: TestClient):
    figure = disputed.get("/labels/figures/kinds?run=alpha").json()
    shares = {trace["name"]: trace["y"] for trace in figure["data"]}
    assert shares["mixed"] == [1.0, 0.0]
    assert shares["syntactic"] == [0.0, 0.5]


def test_an_automatic_score_stands_beside_the_labels_where_there_is_one():
    layers = [LayerKinds(layer, dict.fromkeys(KINDS, 1)) for layer in range(2)]
    assert len(kinds_by_layer(layers).data) == 4
    score = kinds_by_layer(layers, {0: 0.2, 1: 0.9}).data[-1]
    assert (score.name, list(score.y)) == ("variety of triggers", [0.2, 0.9])


def test_labels_that_cannot_be_read_are_said_so(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    from keyscope.app.database.engine import DatabaseUnavailable

    def unavailable(*_: object) -> None:
        raise DatabaseUnavailable("the labels database is away")

    monkeypatch.setattr("keyscope.app.pages.labels.page.agreement.load", unavailable)
    assert "the labels database is away" in page(client, "/labels?run=alpha")


def test_comments_are_written_changed_and_taken_back(client: TestClient):
    assert post(client, f"{KEY}/comments", text="opens **calls**, @Ben").headers["location"].endswith("#comment-1")
    text = page(client, KEY)
    assert "opens <strong>calls</strong>" in text
    assert '<b class="mention">@Ben</b>' in text
    assert "/comments/1/change" in text
    assert "/comments/1/change" not in page(client, KEY, "Ben")
    assert post(client, f"{KEY}/comments/1/change", text="closes them", seen=1).status_code == 303
    stale = post(client, f"{KEY}/comments/1/change", text="again", seen=1)
    assert stale.status_code == 409
    assert "closes them" in html.unescape(stale.text)
    assert post(client, f"{KEY}/comments/1/change", "Ben", text="mine", seen=2).status_code == 403
    versions = client.get(f"{V1}{KEY}/comments/1/versions").json()["versions"]
    assert [each["text"] for each in versions] == ["opens **calls**, @Ben", "closes them"]
    assert post(client, f"{KEY}/comments/1/delete").status_code == 303
    assert "No comments yet" in page(client, KEY)


def test_the_api_writes_changes_and_takes_back_comments(client: TestClient):
    address = f"{V1}{KEY}/comments"
    written = client.post(address, json={"text": "`a` <b>"}, headers=named("Ada")).json()["comment"]
    assert written["html"] == "<p><code>a</code> &lt;b&gt;</p>\n"
    changed = client.put(f"{address}/{written['id']}", json={"text": "b", "version": 1}, headers=named("Ada")).json()
    assert (changed["comment"]["text"], changed["comment"]["version"]) == ("b", 2)
    assert client.get(address).json()["comments"] == [changed["comment"]]
    stale = client.put(f"{address}/{written['id']}", json={"text": "c", "version": 1}, headers=named("Ada"))
    assert (stale.status_code, stale.json()["error"]) == (409, "comment_changed")
    assert client.delete(f"{address}/{written['id']}", headers=named("Ada")).json() == {"ok": True}
    assert client.get(address).json()["comments"] == []
    assert client.post(address, json={"text": "a\0"}, headers=named("Ada")).status_code == 422


def test_who_has_not_said_their_name_is_asked_for_it(client: TestClient):
    text = client.get(KEY).text
    assert "Set your name" in text
    assert f'action="{KEY}/comments"' not in text
    refused = client.post(f"{KEY}/comments", data={"text": "x"})
    assert refused.status_code == 422


def test_a_decision_is_opened_again(client: TestClient):
    assert post(client, f"{KEY}/decisions", kind="mixed", seen=0).status_code == 303
    assert post(client, f"{KEY}/decisions", kind="semantic", seen=0).status_code == 409
    assert post(client, f"{KEY}/decisions", kind="", seen=1).status_code == 303
    assert "Reopened." in page(client, KEY)
    found = client.get(f"{V1}{KEY}/adjudications").json()["adjudications"]
    assert [(each["number"], each["kind"]) for each in found] == [(2, None), (1, "mixed")]


def make_list(client: TestClient, **more: object) -> str:
    form = {"run": "alpha", "name": "brackets", "keys": "L1.K2, l0.k1\nL0.K3:0.5", **more}
    answer = post(client, "/lists", **form)
    assert answer.status_code == 303, answer.text
    address, _, query = str(answer.headers["location"]).partition("?")
    assert query == "run=alpha"
    return address


def test_a_list_is_made_from_pasted_names_and_shown(client: TestClient):
    address = make_list(client)
    text = page(client, address)
    assert re.findall(r'href="/runs/alpha/keys/(L\d\.K\d)"', text) == ["L1.K2", "L0.K1", "L0.K3"]
    assert "brackets" in page(client, "/lists?run=alpha")
    assert "brackets" not in page(client, "/lists?run=gated")
    assert address in page(client, KEY)


def test_a_list_shows_triggers_promoted_tokens_and_labels(client: TestClient):
    label(client, "L1.K2", "Ada", "semantic", description='"odd"')
    address = make_list(client)
    answer = client.get(f"{address}?run=alpha", headers=named("Ada"))
    rows = [each.row for each in answer.context["entries"]]
    assert [str(row.key) for row in rows] == ["L1.K2", "L0.K1", "L0.K3"]
    assert rows[0].top is not None
    assert answer.text.count('<span class="line"') + answer.text.count(">no trigger<") == 3
    assert answer.text.count('<span class="toks">') == 3
    assert answer.text.count(">Ada: semantic<") == 1


def test_a_long_list_is_read_page_by_page(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("keyscope.app.pages.labels.lists.PAGE", 2)
    address = f"{make_list(client)}?run=alpha"
    first = page(client, address)
    assert "L1.K2" in first
    assert "L0.K3" not in first
    assert f'href="{address}&amp;offset=2"' in first
    assert "3 to 3 of 3" in page(client, f"{address}&offset=2")


def test_a_list_starts_with_the_basket(client: TestClient):
    assert "L0.K1:0.5,L1.K2:0</textarea>" in page(client, "/lists?run=alpha&mask=L0.K1:0.5,L1.K2")


def test_entries_are_noted_moved_and_taken_out(client: TestClient):
    address = make_list(client)
    assert post(client, f"{address}/entry", key="L0.K1", action="note", note="a note", seen=1).status_code == 303
    assert post(client, f"{address}/entry", key="L0.K1", action="note", note="other", seen=1).status_code == 409
    assert post(client, f"{address}/entry", key="L0.K3", action="up", place=2, order=1).status_code == 303
    assert post(client, f"{address}/entry", key="L1.K2", action="down", place=0, order=1).status_code == 409
    assert post(client, f"{address}/entry", key="L1.K2", action="remove").status_code == 303
    keys = client.get(f"{V1}{address}").json()["keys"]
    assert [(each["key"], each["note"]) for each in keys] == [("L0.K3", ""), ("L0.K1", "a note")]


def test_a_key_moves_by_one_place_though_another_was_taken_out_meanwhile(client: TestClient):
    address = make_list(client, keys=" ".join(f"L0.K{index}" for index in range(6)))
    shown = {"place": 3, "order": 1}
    assert post(client, f"{address}/entry", "Ben", key="L0.K0", action="remove").status_code == 303
    assert post(client, f"{address}/entry", key="L0.K3", action="down", **shown).status_code == 303
    keys = [each["key"] for each in client.get(f"{V1}{address}").json()["keys"]]
    assert keys == ["L0.K1", "L0.K2", "L0.K4", "L0.K3", "L0.K5"]


def test_keys_are_added_by_form_and_must_exist(client: TestClient):
    address = make_list(client)
    assert post(client, f"{address}/keys", "Ben", keys="L1.K0", note="new").status_code == 303
    assert post(client, f"{address}/keys", keys="L9.K9").status_code == 404
    assert post(client, "/lists", run="alpha", name="x", keys="L9.K9").status_code == 404
    assert post(client, f"{address}/keys", keys="what").status_code == 422
    assert [each["person"] for each in client.get(f"{V1}{address}").json()["keys"]] == ["Ada", "Ada", "Ada", "Ben"]


def test_a_list_is_renamed_made_private_put_away_and_brought_back(client: TestClient):
    address = make_list(client)
    assert post(client, address, name="other", private="true", seen=1).status_code == 303
    assert client.get(address, headers=named("Ben")).status_code == 404
    assert post(client, address, name="third", seen=1).status_code == 409
    assert post(client, f"{address}/put-away").status_code == 303
    assert client.get(address, headers=named("Ada")).status_code == 404
    assert "restore" in page(client, "/lists?run=alpha")
    assert post(client, f"{address}/restore").status_code == 303
    assert '<h1 class="list-name">other</h1>' in page(client, address)


def test_the_api_makes_fills_and_changes_lists(client: TestClient):
    made = client.post(f"{V1}/runs/alpha/lists", json={"name": "a", "keys": ["L0.K1"]}, headers=named("Ada")).json()
    address = f"{V1}/lists/{made['list']['id']}"
    body: dict[str, Any] = {"keys": ["L0.K1", "L1.K2"], "note": "n"}
    assert client.post(f"{address}/keys", json=body, headers=named("Ben")).json()["added"] == 1
    note = {"note": "first", "version": 1}
    assert client.put(f"{address}/keys/L0.K1/note", json=note, headers=named("Ben")).json() == {"ok": True}
    place = {"place": 1, "version": 1}
    assert client.put(f"{address}/keys/L0.K1/place", json=place, headers=named("Ben")).json() == {"ok": True}
    renamed = client.patch(address, json={"name": "b", "shared": True, "version": 2}, headers=named("Ada")).json()
    assert (renamed["list"]["name"], renamed["list"]["version"]) == ("b", 3)
    assert [(each["key"], each["note"]) for each in renamed["keys"]] == [("L1.K2", "n"), ("L0.K1", "first")]
    assert client.delete(f"{address}/keys/L1.K2", headers=named("Ben")).json() == {"ok": True}
    assert [each["id"] for each in client.get(f"{V1}/lists").json()["lists"]] == [made["list"]["id"]]
    assert client.get(f"{V1}/runs/gated/lists").json()["lists"] == []
    assert client.delete(address, headers=named("Ada")).json() == {"ok": True}
    assert client.get(address).status_code == 404
    assert client.post(f"{address}/restore", headers=named("Ada")).json()["list"]["n_keys"] == 1
    unknown = client.post(f"{V1}/runs/alpha/lists", json={"name": "a", "keys": ["L9.K1"]}, headers=named("Ada"))
    assert unknown.status_code == 404


def test_the_keys_of_a_list_are_masked(client: TestClient):
    address = make_list(client)
    masked = post(client, f"{address}/mask").headers["location"]
    assert masked == "/live?run=alpha&mask=L1.K2%3A0%2CL0.K1%3A0%2CL0.K3%3A0"


def test_names_are_read_however_they_are_separated():
    expected = [KeyId(1, 2), KeyId(0, 3), KeyId(2, 4)]
    assert parse_keys(" L1.K2;l0.k3\n\tL2.K4:0.5,, ") == expected
    assert parse_keys("") == []


def test_activity_shows_what_happened_and_is_narrowed(disputed: TestClient):
    post(disputed, f"{KEY}/comments", "Ben", text="look, @Ada")
    post(disputed, f"{KEY}/decisions", kind="mixed", seen=0)
    make_list(disputed)
    text = page(disputed, "/activity?run=alpha")
    order = [text.index(words) for words in ("created the list", "decided on", "commented on", "labelled")]
    assert order == sorted(order)
    assert f'href="{KEY}#comment-1"' in text
    assert "decided on" not in page(disputed, "/activity?run=alpha&person=Ben")
    mine = page(disputed, "/activity?run=alpha&mine=true")
    assert "commented on" in mine
    assert "</a> labelled <a" not in mine
    assert "</a> labelled <a" in text
    assert "Nothing matches the filter" in page(disputed, "/activity?run=alpha&mine=true", "Ben")
    assert "No activity yet" in page(disputed, "/activity?run=gated")
    events = disputed.get(f"{V1}/activity?limit=2").json()
    assert [each["what"] for each in events["events"]] == ["list", "adjudication"]
    more = disputed.get(f"{V1}/activity", params={"before": events["next"]}).json()
    assert [each["what"] for each in more["events"]] == ["comment", "label", "label", "label", "label"]
    assert more["next"] is None


def test_nobody_in_particular_is_mentioned_by_nothing(disputed: TestClient):
    text = disputed.get("/activity?run=alpha&mine=true").text
    assert "Set your name</a> to see comments that mention you" in text
    assert "</a> labelled <a" not in text


def test_hostile_text_in_every_field_stays_text(client: TestClient):
    name = HOSTILE[:100]
    label(client, "L1.K2", "Ada", "syntactic", description=HOSTILE, tags=["<script>alert(2)</script>"])
    label(client, "L1.K2", name, "semantic", description=HOSTILE)
    assert (
        post(client, f"{KEY}/comments", name, text=f'{HOSTILE} [x](javascript:alert(1)) @"{HOSTILE[1:60]}"').status_code
        == 303
    )
    assert post(client, f"{KEY}/decisions", name, kind="mixed", description=HOSTILE, seen=0).status_code == 303
    assert post(client, f"{KEY}/decisions", name, kind="semantic", description=HOSTILE, seen=1).status_code == 303
    listed = make_list(client, name=name)
    assert post(client, f"{listed}/entry", name, key="L1.K2", action="note", note=HOSTILE, seen=1).status_code == 303
    weights = client.get(f"{V1}/runs/alpha").json()["weights_sha256"]
    row = {
        "person": name,
        "key": "L0.K3",
        "kind": "mixed",
        "description": HOSTILE,
        "tags": ["<svg onload=alert(3)>"],
        "weights_sha256": weights,
        "created_at": "2026-01-01T00:00:00Z",
    }
    taken = client.post(f"{V1}/labels/import?format=jsonl", content=json.dumps(row).encode(), headers=named("Ada"))
    assert taken.json()["added"] == 1, taken.text
    for address in (
        KEY,
        "/runs/alpha/keys/L0.K3",
        "/labels?run=alpha",
        "/lists?run=alpha",
        listed,
        "/activity?run=alpha",
    ):
        for person in ("Ada", name):
            text = page(client, address, person)
            assert "alert" in text, f"{address} shows none of it"
            assert not re.search(r"<script>|<img|<svg onload|javascript:alert\(1\)\"", text), address
            assert "49" not in re.findall(r"onerror=alert\(1\)&gt;(\S*)", text)


def test_hostile_addresses_of_the_team_are_escaped(client: TestClient):
    label(client, "L1.K2", "Ada", "syntactic")
    for address in ("/labels?run=alpha", "/lists?run=alpha", "/activity?run=alpha"):
        for parameter in ("first", "second", "person", "before", "mask", "run"):
            text = client.get(f"{address}&{parameter}=", params={parameter: HOSTILE}).text
            assert "<script>alert" not in text
            assert "<img" not in text


@pytest.fixture
def two_servers(settings: Settings, runs_dir: Path, tmp_path: Path) -> Iterator[tuple[Any, str, TestClient]]:
    """Two servers over one database: one that is listened to, and one on which others work."""
    app = create_app(settings)
    with serving(app) as url, TestClient(create_app(settings)) as elsewhere:
        yield app, url, elsewhere


def test_an_open_page_hears_of_changes_made_on_another_server(two_servers: tuple[Any, str, TestClient]):
    app, url, elsewhere = two_servers
    state = re.search(r'data-state="([^"]*)"', httpx.get(url + KEY, timeout=PATIENCE).text)
    assert state is not None
    listener = Listener(f"{url}{KEY}/events?since={state[1]}")
    listener.start()
    assert listener.opened.wait(PATIENCE)
    until(lambda: app.state.changes.watched == 1)
    label(elsewhere, "L1.K2", "Ben", "mixed")
    until(lambda: len(listener.events) == 1)
    assert post(elsewhere, f"{KEY}/comments", "Ben", text="hello").status_code == 303
    until(lambda: len(listener.events) == 2)
    label(elsewhere, "L1.K3", "Ben", "mixed")
    now = re.search(r'data-state="([^"]*)"', httpx.get(url + KEY, timeout=PATIENCE).text)
    assert now is not None
    assert listener.events[-1] == now[1]
    assert len(listener.events) == 2, "what the page knew, and other keys, are no changes"
    listener.client.close()


def test_a_page_that_missed_a_change_hears_of_it_at_once(two_servers: tuple[Any, str, TestClient]):
    _, url, elsewhere = two_servers
    label(elsewhere, "L1.K2", "Ben", "mixed")
    listener = Listener(f"{url}{KEY}/events?since=nothing")
    listener.start()
    until(lambda: len(listener.events) == 1)
    listener.client.close()


def test_nobody_is_listened_for_after_they_left(two_servers: tuple[Any, str, TestClient]):
    app, url, _ = two_servers
    with httpx.stream("GET", f"{url}{KEY}/events", timeout=PATIENCE) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        until(lambda: app.state.changes.watched == 1)
    until(lambda: app.state.changes.watched == 0)
