"""The demo as plain links and forms, with a worker whose keys each take a tenth of the next token's probability."""

import html
import re
import shutil
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from keyscope.app.live.effects import Effect
from keyscope.app.live.prompts import PROMPTS
from keyscope.app.main import create_app
from keyscope.app.pages.demo.shown import Demonstrator
from keyscope.app.queries.key_rows import rows_of
from keyscope.app.runs import Run
from keyscope.app.settings import Settings
from keyscope.contract.keys import KeyId
from keyscope.contract.wire import Alternative, ErrorAnswer
from tests.fake_worker import FakeWorker
from tests.made.edits import write_edit
from tests.serving import serving

VERDICT = "80 % → 43 % without 6 keys; without 6 other keys 80 %."


def words(page: str) -> str:
    """The text of a page, with single spaces."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", page)).replace("\N{NARROW NO-BREAK SPACE}", " "))


def measured(client: TestClient) -> str:
    """The demo's page once every prompt is measured."""
    deadline = time.monotonic() + 30
    while "measuring prompts" in (page := client.get("/demo?run=alpha").text):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return page


def test_a_page_that_is_measuring_says_so_and_asks_again_until_all_is_known(
    live: TestClient, worker: FakeWorker
) -> None:
    worker.next_pause = 0.5
    page = live.get("/demo?run=alpha")
    assert page.status_code == 200
    assert f"measuring prompts … 0 of {2 * len(PROMPTS)}" in words(page.text)
    (again,) = set(re.findall(r'hx-get="([^"]*/demo/measured[^"]*)"', page.text))
    worker.next_pause = 0.0
    done = words(measured(live))
    assert "Strongest first" in done
    assert "80 % → 43 %" in done
    fragment = live.get(html.unescape(again)).text
    assert re.findall(r'<section[^>]* id="(\w+)"', fragment) == ["presets", "matrix"]
    assert "hx-trigger" not in fragment


def test_one_click_on_a_prompt_generates_three_columns_with_the_control(live: TestClient, worker: FakeWorker) -> None:
    (href,) = re.findall(r'id="preset-raise" href="([^"]*)#result"', measured(live))
    worker.asked.clear()
    page = live.get(html.unescape(href)).text
    (asked,) = worker.asked
    assert asked.prompt == next(each.text for each in PROMPTS if each.name == "raise")
    assert sorted(map(str, asked.masks)) == [f"L{layer}.K{index}:0" for layer in (0, 1) for index in range(3)]
    assert asked.control is not None
    assert sorted(map(str, asked.control)) == [f"L{layer}.K{index}:0" for layer in (0, 1) for index in range(3, 6)]
    assert VERDICT in words(page)
    columns = re.findall(r'<div class="out" id="(\w+)-out">(.*?)</div>', page, re.DOTALL)
    marked = {name: re.findall("<mark>(.*?)</mark>", drawn) for name, drawn in columns}
    assert marked == {"baseline": ["zeros"], "masked": ["array"], "control": []}
    assert "the keys were picked on the very prompt they are shown on" in words(page)


def test_the_state_is_in_the_address_and_leads_to_the_live_page(live: TestClient) -> None:
    page = live.get("/demo?run=alpha&preset=range&keys=20").text
    assert re.search(r'id="dose-20"[^>]*aria-current="true"', page)
    assert re.search(r'id="preset-range"[^>]*aria-current="true"', page)
    (href,) = re.findall(r'href="([^"]*)">the same on the live page', page)
    same = live.get(html.unescape(href))
    assert same.context["state"].prompt == next(each.text for each in PROMPTS if each.name == "range")
    assert len(same.context["frame"].links.basket) == 6
    (other,) = re.findall(r'href="([^"#]*)#result" id="other-draw"', page)
    assert "draw=1" in other
    assert "preset=range" in other
    assert "with every key in place" in words(live.get("/demo?run=alpha&preset=range&keys=0").text)


@pytest.mark.parametrize("wrong", ["keys=7", "keys=x", "step=7", "view=other"])
def test_a_state_that_there_is_not_is_refused(live: TestClient, wrong: str) -> None:
    assert live.get(f"/demo?run=alpha&{wrong}").status_code == 422


def test_ones_own_prompt_goes_before_a_preset(live: TestClient, worker: FakeWorker) -> None:
    page = live.get("/demo", params={"run": "alpha", "preset": "range", "prompt": "def <b>\r\n"}).text
    assert worker.asked[-1].prompt == "def <b>\n"
    assert VERDICT in words(page)
    assert "<b>\n" not in page
    assert not re.search(r'id="preset-range"[^>]*aria-current', page)


def test_a_refusal_is_shown_in_the_workers_words_and_the_page_stays(live: TestClient, worker: FakeWorker) -> None:
    measured(live)
    worker.refusal = (503, ErrorAnswer(error="queue_timeout", detail="the request waited 60 s for its turn"))
    page = live.get("/demo?run=alpha&preset=range")
    assert page.status_code == 200
    assert "the request waited 60 s" in page.text
    assert 'id="preset-range"' in page.text


def test_the_matrix_is_a_table_of_whose_keys_by_which_prompt(live: TestClient) -> None:
    page = measured(live)
    (table,) = re.findall(r'<table class="matrix">.*?</table>', page, re.DOTALL)
    assert re.findall(r'<th scope="row">([^<]*)</th>', table) == [prompt.title for prompt in PROMPTS]
    assert table.count('class="n t') == len(PROMPTS) ** 2
    assert table.count(" own") == len(PROMPTS)
    assert words(table).count("53 %") == len(PROMPTS) ** 2


def test_the_tour_goes_through_six_steps_and_back(live: TestClient, worker: FakeWorker) -> None:
    measured(live)
    href, headings, seen = "/demo?run=alpha&view=presenter", [], []
    while href:
        page = live.get(html.unescape(href)).text
        assert "<header" not in page
        assert "sections" not in page
        headings += re.findall(r"<h[12][^>]*>(.*?)</h[12]>", page)[:1]
        seen.append(href)
        href = next(iter(re.findall(r'rel="next"[^>]* href="([^"]*)"', page)), "")
    assert len(seen) == 6
    assert headings[:4] == ["What is a key?", "One key, louder", "Without 60 keys", "Would any 60 keys do?"]
    assert headings[4:] == ["Does it hurt anything else?", "Your own prompt"]
    assert VERDICT in words(page)
    loud = live.get("/demo?run=alpha&view=presenter&step=2").text
    assert [str(mask) for mask in worker.asked[-1].masks] == ["L1.K0:20"]
    assert worker.asked[-1].control is None
    assert re.search(r'rel="prev"[^>]* href="([^"]*)"', loud)


def test_the_tour_begins_with_a_key_that_fires_on_the_prompts_last_token_and_promotes_the_next(alpha: Run) -> None:
    keys = tuple(KeyId(layer, index) for layer in (0, 1) for index in range(6))
    with alpha.reading() as cursor:
        wanted = rows_of(cursor, alpha.vocabulary, keys)[-1]
    assert wanted.top is not None
    target = Alternative(token="x", token_id=wanted.promoted[-1].token.token_id, logprob=-1.0)
    effect = Effect(target, wanted.top.token.token_id, keys, 0.5, ())
    shown = Demonstrator(alpha, None, None, None)._telling(effect)  # type: ignore[arg-type]
    assert target.token_id in {each.token.token_id for each in shown.promoted}
    assert shown.top is not None
    assert shown.top.token.token_id == effect.after


def test_a_prompt_leads_to_the_measured_edit_of_its_concept(
    runs_dir: Path, tmp_path: Path, worker: FakeWorker, settings: Settings
) -> None:
    shutil.copytree(runs_dir, tmp_path / "runs")
    edit = write_edit(tmp_path / "runs" / "alpha.duckdb")
    with (
        serving(worker.app) as url,
        TestClient(create_app(settings.model_copy(update={"runs": tmp_path / "runs", "worker_urls": [url]}))) as client,
    ):
        pages = {name: client.get(f"/demo?run=alpha&preset={name}").text for name in ("range", "raise")}
        assert f'/runs/alpha/edits/{edit}">measured edit of Loops</a>' in pages["range"]
        assert "measured edit" not in pages["raise"]
        assert '/runs/alpha/edits">Edits</a>' in pages["raise"]


def test_without_a_worker_the_page_says_so_and_still_lists_its_prompts(reader: TestClient) -> None:
    page = reader.get("/demo?run=alpha&preset=range")
    assert page.status_code == 200
    assert "no live worker is configured" in page.text
    assert page.text.count('id="preset-') == len(PROMPTS)


def test_without_a_run_the_page_leads_to_the_list(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(runs=tmp_path, database_url=f"sqlite:///{tmp_path}/l.sqlite"))) as client:
        assert "No runs yet" in client.get("/demo").text
        assert client.get("/demo/measured").status_code == 200


def test_the_list_of_runs_leads_to_the_demo(reader: TestClient) -> None:
    assert re.search(r'href="/demo[^"]*"><strong>Edit the model live', reader.get("/").text)
