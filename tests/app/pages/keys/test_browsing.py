"""Runs, layers and keys as a person finds their way through them."""

import html
import re
import shutil
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from fastapi.testclient import TestClient

from keyscope.app.main import create_app
from keyscope.app.pages.keys.key import KeyDrawing
from keyscope.app.queries import LayerSort, fires_on, key_triggers, layer_page, layers_firing_on
from keyscope.app.runs import Run
from keyscope.app.settings import Settings
from keyscope.app.web import formats
from keyscope.app.web.key_table import pager
from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import Manifest

KEY_LINK = re.compile(r'<th scope="row"><a class="mono" href="[^"]*/keys/(L\d+\.K\d+)')


def keys_of(page: str) -> list[str]:
    """The keys in the table, without those a layer's page suggests above it."""
    return KEY_LINK.findall(page.rpartition('id="keys-content"')[2])


def test_a_page_behind_the_last_row_shows_none_and_leads_back_to_the_last_page(reader: TestClient) -> None:
    page = reader.get("/runs/alpha/layers/0?offset=5000")
    shown = page.context["pager"]
    assert (shown.first, shown.last, shown.total) == (0, 0, 6)
    assert "none of 6 keys" in page.text
    assert "That page does not exist; the last one is" in page.text
    assert "passes the filters" not in page.text
    assert keys_of(page.text) == []
    assert "offset=5000" not in shown.previous
    assert len(keys_of(reader.get(shown.previous).text)) == 6


@pytest.mark.parametrize(
    ("offset", "shown", "expected"),
    [
        (0, 10, (25, 1, 10, None, "10")),
        (10, 10, (25, 11, 20, "0", "20")),
        (20, 5, (25, 21, 25, "10", None)),
        (5, 10, (25, 6, 15, "0", "15")),
        (70, 0, (25, 0, 0, "20", None)),
    ],
)
def test_pages_follow_each_other_from_the_first_row_to_the_last(
    offset: int, shown: int, expected: tuple[int, int, int, str | None, str | None]
) -> None:
    found = pager(25, shown, offset, 10, lambda **changes: str(changes["offset"]))
    assert (found.total, found.first, found.last, found.previous, found.next) == expected


def test_an_empty_directory_says_how_to_make_a_run(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(runs=tmp_path, database_url=f"sqlite:///{tmp_path}/l.sqlite"))) as client:
        page = client.get("/").text
    assert "keyscope precompute" in page
    assert str(tmp_path) in page


def test_a_file_that_is_no_run_is_listed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "broken.duckdb").write_text("nothing")
    with TestClient(create_app(Settings(runs=tmp_path, database_url=f"sqlite:///{tmp_path}/l.sqlite"))) as client:
        page = client.get("/").text
    assert "broken" in page
    assert "is not a run file" in page


def test_the_overview_says_what_the_run_is(reader: TestClient, alpha: Run) -> None:
    page = reader.get("/runs/alpha").text
    manifest = alpha.manifest
    assert manifest.model.weights_sha256 in page
    assert "minified" in page
    assert re.search(r"verified</span>: 12 keys against plain transformers, largest error 3e-6", page)
    assert re.search(r"12 keys in 2 layers, read over\s+393 tokens of", page)


def test_the_random_key_is_one_of_the_run(reader: TestClient) -> None:
    for _ in range(5):
        answer = reader.get("/runs/alpha/random", follow_redirects=False)
        assert re.fullmatch(r"/runs/alpha/keys/L[01]\.K[0-5]", answer.headers["location"])


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort", ["kurtosis", "index", "top_language", "dead", "vocab_kurtosis"])
def test_a_layer_is_sorted_as_the_address_says(reader: TestClient, alpha: Run, sort: str, order: str) -> None:
    with alpha.reading() as cursor:
        wanted = layer_page(cursor, alpha.vocabulary, 1, sort=LayerSort(sort, order)).rows  # type: ignore[arg-type]
    page = reader.get(f"/runs/alpha/layers/1?sort={sort}&order={order}").text
    assert keys_of(page) == [str(row.key) for row in wanted]
    if sort != "index":
        assert f'aria-sort="{order}ending"' in page


@pytest.mark.parametrize(("order", "arrow", "other"), [("desc", "↓", "asc"), ("asc", "↑", None)])
def test_a_column_sorts_downwards_first_and_then_upwards(
    reader: TestClient, order: str, arrow: str, other: str | None
) -> None:
    page = reader.get(f"/runs/alpha/layers/0?sort=mean&order={order}&columns=activity").text
    found = re.findall(r'<th scope="col"[^>]*><a\s+href="([^"]+)"[^>]*>([^<]+)', page)
    orders = {name: dict(parse_qsl(urlsplit(html.unescape(href)).query)).get("order") for href, name in found}
    # Downwards is what an address without an order means.
    assert orders[f"mean {arrow}"] == other
    assert orders["skewness"] is None


def test_a_layer_is_narrowed_by_rate_and_language_and_token(reader: TestClient, alpha: Run) -> None:
    with alpha.reading() as cursor:
        rows = layer_page(cursor, alpha.vocabulary, 0).rows
    rates = sorted(float(row.statistics["firing_rate"] or 0) for row in rows)
    page = reader.get(
        "/runs/alpha/layers/0", params={"rate_from": 100 * rates[3] - 1e-4, "rate_to": "", "language": ""}
    )
    assert len(keys_of(page.text)) == 3
    only = reader.get("/runs/alpha/layers/0?language=go").text
    assert set(keys_of(only)) == {str(row.key) for row in rows if row.statistics["top_language"] == "go"}


def test_a_token_filter_counts_the_keys_of_every_layer_and_offers_tokens_alike(reader: TestClient, alpha: Run) -> None:
    with alpha.reading() as cursor:
        token = fires_on(cursor, alpha.vocabulary, KeyId(0, 0))[0].token
        counts = layers_firing_on(cursor, alpha.vocabulary, token.notation)
    page = reader.get("/runs/alpha/layers/0", params={"fires_on": token.notation})
    assert "L0.K0" in keys_of(page.text)
    assert len(keys_of(page.text)) == counts[0]
    assert [choice.title for choice in page.context["firing_layers"]] == [f"L{n}: {keys}" for n, keys in counts.items()]
    assert [choice.title for choice in page.context["similar"] if choice.current] == [formats.token(token)]


def test_an_unknown_token_is_said_to_be_none(reader: TestClient) -> None:
    page = reader.get("/runs/alpha/layers/0", params={"fires_on": "nosuchtoken"}).text
    assert "The tokenizer has no token" in page
    assert keys_of(page) == []


def test_a_layer_is_paged(reader: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyscope.app.pages.keys.layer.PAGE_SIZE", 4)
    first = reader.get("/runs/alpha/layers/0").text
    assert len(keys_of(first)) == 4
    after = html.unescape(re.search(r'rel="next" href="([^"]+)"', first)[1])  # type: ignore[index]
    second = reader.get(after).text
    assert len(keys_of(second)) == 2
    assert 'rel="next"' not in second
    assert not set(keys_of(first)) & set(keys_of(second))


def test_the_exports_of_a_layer_carry_its_filters(reader: TestClient) -> None:
    page = reader.get("/runs/alpha/layers/0", params={"rate_from": 5, "fires_on": "\\n", "sort": "mean"}).text
    href = html.unescape(re.search(r'href="([^"]*export[^"]*format=csv[^"]*)"', page)[1])  # type: ignore[index]
    assert "min_firing_rate=0.05" in href
    answer = reader.get(href)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")


def test_a_key_starts_with_its_strongest_examples_of_all_languages(reader: TestClient, alpha: Run) -> None:
    with alpha.reading() as cursor:
        wanted = key_triggers(cursor, alpha.windows, KeyId(0, 1), polarity="max")
    page = reader.get("/runs/alpha/keys/L0.K1")
    assert [card.coefficient for card in page.context["cards"]] == sorted(
        (each.coefficient for each in wanted), reverse=True
    )
    assert [(tab.title, tab.count) for tab in page.context["languages"] if tab.current] == [
        ("all languages", len(wanted))
    ]


@pytest.mark.parametrize("address", ["/runs/alpha/keys/L0.K1", "/runs/alpha/keys/L0.K1?language=python"])
def test_a_run_of_one_language_has_one_tab_for_it(
    reader: TestClient, alpha: Run, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(Manifest, "languages", property(lambda _: ["python"]))
    tabs = reader.get(address).context["languages"]
    assert [(tab.title, tab.current, tab.href) for tab in tabs] == [("Python", True, "/runs/alpha/keys/L0.K1")]


def test_a_key_shows_its_first_examples_and_the_others_on_request(
    reader: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeyDrawing, "shown", 2)
    page = reader.get("/runs/alpha/keys/L0.K1")
    assert len(page.context["cards"]) == 2
    assert f"show all {page.context['n_examples']}" in page.text
    everything = reader.get(page.context["all_href"])
    assert len(everything.context["cards"]) == page.context["n_examples"] > 2
    assert everything.context["all_href"] is None


def test_the_whole_window_of_one_example_is_shown_on_request(reader: TestClient) -> None:
    for index in range(6):
        cards = reader.get(f"/runs/alpha/keys/L0.K{index}").context["cards"]
        card = next((card for card in cards if card.whole_href), None)
        if card is not None:
            break
    opened = reader.get(card.whole_href).context["cards"]
    whole = next(each for each in opened if each.anchor == card.anchor)
    assert whole.lines[: len(card.lines)] != whole.lines
    assert {line.number for line in card.lines} < {line.number for line in whole.lines}
    assert [each.lines for each in opened if each != whole] == [each.lines for each in cards if each != card]


def test_a_key_shows_the_triggers_of_the_tab(reader: TestClient, gated: Run) -> None:
    with gated.reading() as cursor:
        wanted = key_triggers(cursor, gated.windows, KeyId(1, 2), "python", "min")
    page = reader.get("/runs/gated/keys/L1.K2?language=python&show=min")
    assert [card.coefficient for card in page.context["cards"]] == [each.coefficient for each in wanted]
    assert [tab.title for tab in page.context["shows"] if tab.current] == ["most negative"]


def test_a_trigger_of_several_files_names_the_others(reader: TestClient, alpha: Run) -> None:
    with alpha.reading() as cursor:
        first = key_triggers(cursor, alpha.windows, KeyId(0, 0), "python")[0]
    assert first.files is not None
    assert first.files == 1 + len(first.places) > 1
    page = reader.get("/runs/alpha/keys/L0.K0?language=python&view=code")
    assert f"in {first.files} files: {', '.join(map(str, first.places))}" in html.unescape(page.text)
    assert page.context["cards"][0].places == [str(place) for place in first.places]


def test_a_key_whose_coefficients_lie_on_sinks_says_so(reader: TestClient) -> None:
    assert "attention sink" in reader.get("/runs/alpha/keys/L0.K1").context["about"]
    assert "attention sink" not in reader.get("/runs/alpha/keys/L0.K0").context["about"]


def test_deciles_are_tabs_from_the_top_down(reader: TestClient) -> None:
    titles = [tab.title for tab in reader.get("/runs/alpha/keys/L0.K0").context["shows"]]
    deciles = [title for title in titles if "\N{EN DASH}" in title]
    assert deciles
    assert deciles == sorted(deciles, key=lambda title: -int(title.partition("\N{EN DASH}")[0]))
    assert titles[0] == "strongest"


def test_a_run_without_negative_triggers_has_no_tab_for_them(reader: TestClient) -> None:
    titles = [tab.title for tab in reader.get("/runs/alpha/keys/L0.K0").context["shows"]]
    assert "most negative" not in titles
    assert "random" in titles


def test_the_arrows_stop_at_the_edges_of_the_model(reader: TestClient) -> None:
    steps = {step.arrow: step.href for step in reader.get("/runs/alpha/keys/L0.K0").context["steps"]}
    assert steps["←"] is None
    assert steps["↓"] is None
    assert steps["→"] == "/runs/alpha/keys/L0.K1"
    assert steps["↑"] == "/runs/alpha/keys/L1.K0"


def test_the_arrows_keep_the_tab(reader: TestClient) -> None:
    steps = reader.get("/runs/alpha/keys/L0.K1?language=go&show=random").context["steps"]
    assert steps[1].href == "/runs/alpha/keys/L0.K2?language=go&show=random"


def test_masking_a_key_twice_takes_it_out_again(reader: TestClient) -> None:
    page = reader.get("/runs/alpha/keys/L0.K1?mask=L1.K1:0.5")
    masked = reader.get(page.context["mask_href"])
    assert str(masked.context["frame"].links.basket) == "L1.K1:0.5,L0.K1:0"
    assert masked.context["masked"] is True
    again = reader.get(masked.context["mask_href"])
    assert str(again.context["frame"].links.basket) == "L1.K1:0.5"


def test_the_two_projections_differ(reader: TestClient) -> None:
    normed = reader.get("/runs/alpha/keys/L0.K1").context["promoted"]
    raw = reader.get("/runs/alpha/keys/L0.K1?projection=raw").context["promoted"]
    assert [bar.value for bar in normed] != [bar.value for bar in raw]


def test_masking_at_an_example_continues_its_text_with_the_key_masked(reader: TestClient, alpha: Run) -> None:
    with alpha.reading() as cursor:
        (wanted, *_) = key_triggers(cursor, alpha.windows, KeyId(0, 1), "go", "max")
    answer = reader.get("/runs/alpha/keys/L0.K1/examples/go-max-1/live", follow_redirects=False)
    page = reader.get(answer.headers["location"])
    token_ids = wanted.window.token_ids[: wanted.trigger_index + 1]
    assert page.context["state"].prompt == "".join(alpha.vocabulary.decode(token_ids))
    assert str(page.context["frame"].links.basket) == "L0.K1:0"


@pytest.mark.parametrize("name", ["go-max-99", "go-max-x", "go", "cobol-max-1"])
def test_an_example_that_does_not_exist_is_named(reader: TestClient, name: str) -> None:
    answer = reader.get(f"/runs/alpha/keys/L0.K1/examples/{name}/live")
    assert answer.status_code == 404
    assert f"L0.K1 has no example &#39;{name}&#39;" in answer.text


@pytest.mark.parametrize(
    ("typed", "target"),
    [
        ("L1.K3", "/runs/alpha/keys/L1.K3"),
        ("  l0.k2 ", "/runs/alpha/keys/L0.K2"),
        ("L1", "/runs/alpha/layers/1"),
        ("layer 0", "/runs/alpha/layers/0"),
    ],
)
def test_the_box_in_the_header_leads_to_a_key_or_layer(reader: TestClient, typed: str, target: str) -> None:
    answer = reader.get("/find", params={"q": typed, "run": "alpha"}, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == target
    assert reader.get(target).status_code == 200


def test_the_box_keeps_the_basket(reader: TestClient) -> None:
    answer = reader.get("/find?q=L1.K3&run=alpha&mask=L0.K0:0", follow_redirects=False)
    assert answer.headers["location"].endswith("?mask=L0.K0%3A0")


def test_a_key_is_shown_without_its_labels_where_their_database_is_behind(runs_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "old.sqlite").touch()
    settings = Settings(runs=runs_dir, database_url=f"sqlite:///{tmp_path}/old.sqlite")
    with TestClient(create_app(settings)) as client:
        answer = client.get("/runs/alpha/keys/L0.K1")
    assert answer.status_code == 200
    assert "keyscope db upgrade" in answer.context["labels"].problem


def test_a_run_whose_file_was_renamed_is_found_under_its_new_name(runs_dir: Path, tmp_path: Path) -> None:
    shutil.copy(runs_dir / "alpha.duckdb", tmp_path / "renamed.duckdb")
    with TestClient(create_app(Settings(runs=tmp_path, database_url=f"sqlite:///{tmp_path}/l.sqlite"))) as client:
        page = client.get("/runs/renamed").text
    assert "/runs/renamed/layers/1" in page
    assert "/runs/alpha" not in page
