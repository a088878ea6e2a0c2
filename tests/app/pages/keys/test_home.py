"""The home page: ways in, keys picked by rule, and what to do where there is no run."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from keyscope.app.main import create_app
from keyscope.app.queries.first_keys import clear_keys, varied_keys
from keyscope.app.runs import Run
from keyscope.app.settings import Settings


@pytest.mark.parametrize("run", ["", "alpha", "gated"])
def test_the_ways_in_lead_to_the_run_chosen_or_the_newest(reader: TestClient, run: str) -> None:
    page = reader.get("/", params={"run": run})
    shown = run or reader.app.state.registry.newest().run_id
    assert page.context["frame"].run.run_id == shown
    for href in (f"/runs/{shown}", f"/demo?run={shown}", f"/labels/queue?run={shown}"):
        assert f'<a class="sheet" href="{href}">' in page.text
        assert reader.get(href).status_code == 200
    assert 'href="/?run=alpha"' in page.text, "the other runs can be chosen"


def test_without_a_run_the_page_says_how_to_make_one(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(runs=tmp_path))) as client:
        page = client.get("/")
    assert "There are none yet" in page.text
    assert f"keyscope demo --runs {tmp_path}" in page.text
    assert 'class="doors"' not in page.text


def test_clear_keys_are_alive_of_different_words_and_seen_on_them(alpha: Run) -> None:
    with alpha.reading() as cursor:
        found = clear_keys(cursor, alpha.vocabulary, 4)
    words = [alpha.vocabulary[row.statistics["top_token_id"]].bytes.strip().lower() for row in found]
    assert found
    assert len(set(words)) == len(words)
    for row, word in zip(found, words, strict=True):
        assert row.top is not None
        assert row.top.token.bytes.strip().lower() == word
        assert word.isalpha()
        assert not row.statistics["dead"]


def test_keys_of_one_layer_are_clear_or_varied(alpha: Run) -> None:
    with alpha.reading() as cursor:
        clear, varied = clear_keys(cursor, alpha.vocabulary, 3, 1), varied_keys(cursor, alpha.vocabulary, 3, 1)
    assert {row.key.layer for row in (*clear, *varied)} == {1}
    shares = [row.statistics["distinct_tokens"] for row in varied]
    assert shares == sorted(shares, reverse=True)
