"""The parts of a key's page that a live worker answers, and those about similar keys."""

from collections import Counter

from fastapi.testclient import TestClient

from keyscope.app.queries import key_triggers
from keyscope.app.queries.similar import sharing_promoted, sharing_triggers
from keyscope.app.runs import Run
from keyscope.contract.keys import KeyId, Mask, Scale
from keyscope.contract.wire import ErrorAnswer
from tests.fake_worker import FakeWorker

PAGE = "/runs/alpha/keys/L0.K1"
KEYS = [KeyId(layer, index) for layer in range(2) for index in range(6)]


def test_what_the_model_says_at_a_trigger_stands_beside_what_it_says_without_the_key_and_with_it_loud(
    live: TestClient, worker: FakeWorker, alpha: Run
) -> None:
    part = live.get(f"{PAGE}/examples/go-max-1/prediction").text
    with alpha.reading() as cursor:
        (trigger, *_) = key_triggers(cursor, alpha.windows, KeyId(0, 1), "go", "max")
    text = "".join(alpha.vocabulary.decode(trigger.window.token_ids[: trigger.trigger_index + 1]))
    [asked] = worker.next_asked
    assert asked.masks == [[], [Mask(KeyId(0, 1), Scale(0.0))], [Mask(KeyId(0, 1), Scale(20.0))]]
    assert asked.text == text
    assert ">as it is<" in part
    assert ">without L0.K1<" in part
    assert ">× 20<" in part
    assert "78" in part, "exp(-0.25)"


def test_a_text_is_tried_on_a_key(live: TestClient, worker: FakeWorker) -> None:
    part = live.get(f"{PAGE}/try", params={"text": "for x"}).text
    (asked,) = worker.read
    assert (asked.text, asked.keys) == ("for x", ["L0.K1"])
    assert part.count('<span class="t ') == 3
    assert "largest 1.5, above" in part
    assert live.get(f"{PAGE}/try").text.strip() == "", "nothing is asked of the worker for an empty text"
    assert len(worker.read) == 1


def test_the_neighbours_by_weights_link_to_their_pages(live: TestClient) -> None:
    part = live.get(f"{PAGE}/neighbours?mask=L0.K0:0").text
    for key, amount in (("L0.K2", "+0.75"), ("L0.K3", "\N{MINUS SIGN}0.25"), ("L1.K4", "+0.12")):
        assert f'href="/runs/alpha/keys/{key}?mask=L0.K0%3A0">{key}</a> <span class="n">{amount}' in part


def test_why_a_worker_does_not_answer_stands_in_the_place_of_its_answer(live: TestClient, worker: FakeWorker) -> None:
    worker.refusal = (429, ErrorAnswer(error="queue_full", detail="8 requests are waiting: try again"))
    for path in ("examples/go-max-1/prediction", "try?text=x", "neighbours"):
        answer = live.get(f"{PAGE}/{path}")
        assert (answer.status_code, "8 requests are waiting" in answer.text) == (200, True)


def test_without_a_worker_the_page_says_what_is_missing_and_offers_nothing_that_needs_one(
    reader: TestClient, live: TestClient
) -> None:
    without, with_one = reader.get(PAGE).text, live.get(PAGE).text
    for each in ("/prediction", "/try", "/neighbours"):
        assert each not in without
        assert each in with_one
    assert "keyscope\n  worker" in without
    assert "/similar" in without


def test_an_example_continues_at_the_factor_chosen(reader: TestClient) -> None:
    page = reader.get(f"{PAGE}?mask=L1.K1:0.5")
    titles, addresses = zip(*page.context["cards"][0].onward, strict=True)
    assert titles == ("remove", "× 5", "× 20")
    assert "mask=L1.K1%3A0.5&factor=20" in addresses[2]
    answer = reader.get(f"{PAGE}/examples/go-max-1/live?factor=20&mask=L1.K1:0.5,L0.K1:0", follow_redirects=False)
    assert str(reader.get(answer.headers["location"]).context["frame"].links.basket) == "L1.K1:0.5,L0.K1:20"


def test_keys_alike_share_triggers_or_promoted_tokens(alpha: Run) -> None:
    with alpha.reading() as cursor:
        places, promoted = {}, {}
        for key in KEYS:
            triggers = key_triggers(cursor, alpha.windows, key, None, "max")
            places[key] = {(each.window.window_id, each.trigger_index) for each in triggers}
            value = alpha.numbers(cursor, key).value["normed"]
            promoted[key] = {each.token.token_id for each in value.promoted}
        for found, has in ((sharing_triggers, places), (sharing_promoted, promoted)):
            seen = 0
            for key in KEYS:
                shared = Counter({other: len(has[key] & has[other]) for other in KEYS if other != key})
                expected = sorted((-count, other) for other, count in shared.items() if count)[:3]
                assert [(-each.shared, each.key) for each in found(cursor, key, 3)] == expected
                seen += bool(expected)
            assert seen
