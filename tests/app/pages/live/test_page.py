"""The live page as plain forms, with a worker that continues with fixed tokens."""

import asyncio
import html
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import HTMLResponse
from fastapi.testclient import TestClient

from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from keyscope.app.web.render import respond
from keyscope.contract.wire import ErrorAnswer, Span
from tests.fake_worker import FIRST_DIVERGENCE, FakeWorker

FORM = {"run": "alpha", "prompt": "x =\r\n", "max_new_tokens": "9", "temperature": "0.5", "seed": "7"}


def test_the_form_is_filled_from_the_address(reader: TestClient) -> None:
    page = reader.get(
        "/live", params={"run": "alpha", "prompt": "\n\tdef f", "temperature": 0.25, "mask": "L0.K1:0.5"}
    ).text
    # The first line break in a text area is not part of its text.
    assert ">\n\n\tdef f</textarea>" in page
    assert re.search(r'name="temperature"[^>]*value="0.25"', page)
    assert re.search(r'name="factor"[^>]*value="0.5"', page)


def test_other_requests_are_answered_while_the_page_is_drawn(
    reader: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draws(*arguments: Any) -> HTMLResponse:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return respond(*arguments)

    monkeypatch.setattr("keyscope.app.pages.live.page.respond", draws)
    assert reader.get("/live?run=alpha").status_code == 200


def test_without_a_worker_the_page_says_so(reader: TestClient) -> None:
    page = reader.get("/live?run=alpha")
    assert page.context["status"].state == "not_configured"
    assert "no live worker is configured" in page.text


def test_a_worker_with_other_weights_is_named(live: TestClient) -> None:
    page = live.get("/live?run=gated")
    assert page.context["status"].state == "other_weights"
    assert "no live worker serves the weights of gated" in page.text


def test_a_ready_and_a_busy_worker_are_told_apart(live: TestClient, worker: FakeWorker) -> None:
    assert "The worker is ready: toy" in live.get("/live?run=alpha").text


def test_a_busy_worker_is_said_to_be(live: TestClient, worker: FakeWorker) -> None:
    worker.running = True
    assert "The worker is busy" in live.get("/live?run=alpha").text


def test_a_form_without_a_script_shows_both_branches(live: TestClient, worker: FakeWorker) -> None:
    page = live.post("/live", data={**FORM, "key": ["L0.K1"], "factor": ["0"]})
    assert page.status_code == 200
    asked = worker.asked[0]
    assert (asked.prompt, asked.max_new_tokens, asked.temperature, asked.seed) == ("x =\n", 9, 0.5, 7)
    assert list(map(str, asked.masks)) == ["L0.K1:0"]
    baseline, masked = page.context["outcome"].branches.values()
    assert [at for at, token in enumerate(baseline.tokens) if "differs" in token.css] == [FIRST_DIVERGENCE]
    assert [token.text for token in masked.tokens if "first" in token.css] == ["array"]
    assert f"They first differ at token {FIRST_DIVERGENCE + 1}" in page.text
    assert "&lt;b&gt;" in page.text
    assert "<b>" not in page.text
    assert "1 syntax error, line 2" in page.text
    assert re.search(r'data-code="baseline">parses<', page.text)
    assert 'data-code="added"' not in page.text


def streamed(live: TestClient, prompt: str, masks: list[dict[str, Any]]) -> dict[str, Any]:
    """A finished generation as the page's script receives it."""
    answer = live.post("/api/v1/live/generate", json={"run": "alpha", "prompt": prompt, "masks": masks}).json()
    branches = {
        name: [{**token, "branch": name, "index": at} for at, token in enumerate(answer[name]["tokens"])]
        for name in ("baseline", "masked")
    }
    done = {name: answer[name] for name in ("first_divergence", "applied", "elapsed_ms", "code")}
    return {"prompt": prompt, **branches, "done": done | {"text": {name: answer[name]["text"] for name in branches}}}


def test_names_that_came_and_went_are_listed_if_both_branches_parse(live: TestClient) -> None:
    found = streamed(live, "x =\n", [{"key": "L0.K1"}])
    found["done"]["code"]["masked"] |= {"parses": True, "errors": 0, "first_error_line": None}
    assert re.search(r'data-code="added">&lt;array&gt;<', live.post("/live/outcome", json=found).text)


def rows(page: str) -> list[tuple[str, str, str]]:
    """The table of probabilities: token, baseline, masked."""
    (table,) = re.findall(r'id="difference"[^>]*>(.*?)</section>', page, re.DOTALL)
    found = re.findall(r'<span class="tok">(.*?)</span></th>\s*<td class="n">(.*?)</td><td class="n">(.*?)</td>', table)
    return [tuple(html.unescape(cell).replace("\N{NARROW NO-BREAK SPACE}", " ") for cell in row) for row in found]  # type: ignore[misc]


def test_the_probabilities_are_those_of_the_first_difference_the_greatest_change_first(live: TestClient) -> None:
    found = streamed(live, "x =\n", [{"key": "L0.K1"}])
    for branch, rare in (("baseline", -3.0), ("masked", -4.0)):
        only = {"token": f"<{branch}>", "token_id": 90, "logprob": rare}
        found[branch][FIRST_DIVERGENCE]["top"].append(only)
    page = live.post("/live/outcome", json=found).text
    assert "At the first difference" in page
    assert rows(page) == [
        ("zeros", "78 %", "14 %"),
        ("array", "14 %", "78 %"),
        ("<baseline>", "5 %", "< 1.8 %"),
        ("<masked>", "< 5 %", "1.8 %"),
    ]


def test_without_a_difference_the_probabilities_are_those_of_the_first_token(live: TestClient) -> None:
    page = live.post("/live", data=FORM).text
    assert "At the first token" in page
    assert rows(page) == [("np", "78 %", "78 %"), ("zeros", "14 %", "14 %")]


def test_a_branch_that_ended_before_the_difference_has_no_probabilities_there(live: TestClient) -> None:
    found = streamed(live, "x =\n", [{"key": "L0.K1"}])
    del found["masked"][FIRST_DIVERGENCE:]
    assert rows(live.post("/live/outcome", json=found).text) == []


def test_a_stream_is_drawn_as_the_form_without_a_script_draws_it(live: TestClient) -> None:
    fragment = live.post("/live/outcome", json=streamed(live, "x =\n", [{"key": "L0.K1", "factor": 0}]))
    page = live.post("/live", data={**FORM, "key": ["L0.K1"], "factor": ["0"]})
    assert fragment.status_code == 200
    drawn = re.findall(r'<(?:div|section|p)[^>]* id="([^"]+)"|<div id="([^"]+)">', fragment.text)
    assert {"".join(names) for names in drawn} == {"baseline-out", "masked-out", "said", "difference", "code"}
    tokens = re.compile(r'<span class="g[^>]*>')
    assert tokens.findall(fragment.text) == tokens.findall(page.text) != []


def test_an_empty_basket_changes_nothing(live: TestClient) -> None:
    page = live.post("/live", data=FORM)
    assert "Both branches agree on every token." in page.text


def test_a_refusal_of_the_worker_is_shown_in_its_words(live: TestClient, worker: FakeWorker) -> None:
    worker.refusal = (400, ErrorAnswer(error="too_many_tokens", detail="999 new tokens are more than 128"))
    page = live.post("/live", data=FORM)
    assert page.status_code == 200
    assert "999 new tokens are more than 128" in page.text


def test_an_empty_prompt_is_asked_for(live: TestClient, worker: FakeWorker) -> None:
    assert "write a prompt" in live.post("/live", data={**FORM, "prompt": ""}).text
    assert worker.asked == []


@pytest.mark.parametrize(
    ("edit", "basket"),
    [
        ({"add": "l0.k2"}, "L0.K1:0.5,L1.K3:0,L0.K2:0"),
        ({"add": "L0.K1:2, L0.K2:0.25"}, "L1.K3:0,L0.K1:2,L0.K2:0.25"),
        ({"remove": "L0.K1"}, "L1.K3:0"),
        ({}, "L0.K1:0.5,L1.K3:0"),
        ({"all": "20"}, "L0.K1:20,L1.K3:20"),
        ({"all": "0", "remove": "L0.K1"}, "L1.K3:0"),
    ],
)
def test_editing_the_basket_leads_to_its_address(reader: TestClient, edit: dict[str, str], basket: str) -> None:
    form = {"run": "alpha", "prompt": "a\tb", "key": ["L0.K1", "L1.K3"], "factor": ["0.5", "0"], **edit}
    answer = reader.get("/live", params=form, follow_redirects=False)
    assert answer.status_code == 303
    page = reader.get(answer.headers["location"])
    assert str(page.context["frame"].links.basket) == basket
    assert page.context["state"].prompt == "a\tb"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "'nonsense' is not a key"),
        ("L0.K1:much", "L0.K1 cannot be masked: 'much' is not a factor"),
        ("L0.K77", "alpha has no key L0.K77"),
        ("L1.K2, L9.K1", "alpha has no layer 9"),
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_keys_that_cannot_be_added_are_refused_in_their_field(
    reader: TestClient, text: str, reason: str, method: str
) -> None:
    form = {"run": "alpha", "prompt": "kept", "key": "L0.K1", "factor": "0.5", "add": text}
    page = (
        reader.get("/live", params=form)
        if method == "get"
        else reader.post("/live/masks", data=form, headers={"Origin": "http://testserver"})
    )
    assert page.status_code == 422
    assert f"Not added: {reason}" in html.unescape(page.text)
    assert re.search(
        rf'id="add"[^>]*value="{html.escape(text)}" aria-invalid="true" aria-describedby="refusal"', page.text
    )
    assert str(page.context["frame"].links.basket) == "L0.K1:0.5"
    assert ">\nkept</textarea>" in page.text


@pytest.mark.parametrize(
    ("where", "positions"),
    [
        ({}, "both"),
        ({"positions": "prompt"}, "prompt"),
        ({"positions": "generated", "span": ""}, "generated"),
        ({"positions": "prompt", "span": "3-7"}, Span(first=3, last=7)),
    ],
)
def test_masks_act_where_the_form_says(
    live: TestClient, worker: FakeWorker, where: dict[str, str], positions: object
) -> None:
    page = live.post("/live", data={**FORM, **where}).text
    assert worker.asked[0].positions == positions
    chosen = where.get("positions", "both")
    assert f'<option value="{chosen}" selected>' in page
    assert re.search(rf'name="span"[^>]*value="{where.get("span", "")}"', page)


def test_a_span_that_ends_before_it_starts_is_refused(live: TestClient, worker: FakeWorker) -> None:
    assert "from token 7 to token 3" in live.post("/live", data={**FORM, "span": "7-3"}).text
    assert live.post("/live", data={**FORM, "span": "seven"}).status_code == 422
    assert worker.asked == []


@pytest.mark.parametrize("edit", [{"key": "L0.K1"}, {"mask": "L0.K1:0,L0.K1:1"}])
def test_a_basket_that_cannot_be_read_is_an_error(reader: TestClient, edit: dict[str, str]) -> None:
    assert reader.get("/live", params={"run": "alpha", **edit}).status_code == 422


def test_a_masked_key_that_the_run_has_not_is_named(reader: TestClient) -> None:
    assert "alpha has no key L0.K77" in reader.get("/live?run=alpha&mask=L0.K77:0").text


def test_the_examples_keep_run_settings_and_basket(reader: TestClient) -> None:
    page = reader.get("/live?run=alpha&seed=5&mask=L0.K1:0")
    for _, examples in page.context["examples"]:
        for _, href in examples:
            assert "seed=5" in href
            assert "mask=L0.K1%3A0" in href
    assert [language for language, _ in page.context["examples"]] == ["python", "java", "go"]


def test_without_a_run_the_page_leads_to_the_list(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(runs=tmp_path, database_url=f"sqlite:///{tmp_path}/l.sqlite"))) as client:
        page = client.get("/live")
    assert page.status_code == 200
    assert "No runs yet" in html.unescape(page.text)


def test_the_keys_behind_the_next_token_are_listed_and_masked_together(live: TestClient) -> None:
    page = live.get("/live", params={"run": "alpha", "prompt": "x = ", "behind": 4, "mask": "L1.K0:0.5"}).text
    (section,) = re.findall(r'<section class="sheet" id="behind".*?</section>', page, re.DOTALL)
    assert re.findall(r">(L[01]\.K\d)</a>( masked)?", section) == [
        ("L1.K0", " masked"),
        ("L1.K1", ""),
        ("L1.K2", ""),
        ("L0.K0", ""),
    ]
    assert "&lt;zeros&gt;" in section
    assert "+3" in section
    mask_all = html.unescape(re.findall(r'href="([^"]*)">mask all 4<', section)[0])
    assert "mask=L1.K0%3A0.5%2CL1.K1%3A0%2CL1.K2%3A0%2CL0.K0%3A0" in mask_all
    assert "behind" not in mask_all
    again = live.get(mask_all).text
    assert 'id="behind"' not in again
    assert again.count('name="factor"') == 4


def test_twenty_sixty_or_two_hundred_keys_behind_the_next_token_can_be_listed(reader: TestClient) -> None:
    page = reader.get("/live?run=alpha").text
    assert re.findall(r'name="behind"\s*value="(\d+)"', page) == ["20", "60", "200"]


def test_the_keys_behind_nothing_are_not_asked_for(live: TestClient, worker: FakeWorker) -> None:
    worker.refusal = (429, ErrorAnswer(error="queue_full", detail="9 requests are waiting"))
    assert 'id="behind"' not in live.get("/live", params={"run": "alpha", "behind": 4}).text
    page = live.get("/live", params={"run": "alpha", "behind": 4, "prompt": "x"}).text
    assert "9 requests are waiting" in page
