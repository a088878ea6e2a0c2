"""Exact search over a run: every criterion against plain loops over the tables, alone and together."""

import csv
import html
import io
import itertools
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fastapi.testclient import TestClient

from keyscope.app.errors import InvalidParameter
from keyscope.app.queries.criteria import (
    About,
    Among,
    Between,
    Criterion,
    Dead,
    FiresOn,
    HasRole,
    InLayers,
    OfConcept,
    Prefers,
    Writes,
)
from keyscope.app.queries.search import Search, in_a_row, known_concepts, search
from keyscope.app.queries.tokens import load_vocabulary, parse_token
from keyscope.app.runs import Run
from keyscope.app.web import search_query
from keyscope.app.web.search_query import SearchParameters, format_ranges
from keyscope.contract.keys import KeyId
from keyscope.contract.runfile import open_run
from tests.made.concepts import LOOPS, write_concepts
from tests.made.syntax import write_syntax

KEY_LINK = re.compile(r'<th scope="row"><a class="mono" href="[^"]*/keys/(L\d+\.K\d+)')


@pytest.fixture
def cursor(alpha: Run) -> Iterator[duckdb.DuckDBPyConnection]:
    with alpha.reading() as cursor:
        yield cursor


def brute_force(cursor: duckdb.DuckDBPyConnection, table: str, holds: Callable[[dict[str, Any]], bool]) -> set[KeyId]:
    """The keys of a table's rows for which something holds, row by row."""
    cursor.execute(f"SELECT * FROM {table}")
    names = [column[0] for column in cursor.description]
    rows = (dict(zip(names, row, strict=True)) for row in cursor.fetchall())
    return {KeyId(row["layer"], row["index"]) for row in rows if holds(row)}


def written(token_id: int, direction: str, top: int = 99, logit: float = 0.0) -> Callable[[dict[str, Any]], bool]:
    return lambda row: (
        row["token_id"] == token_id
        and row["direction"] == direction
        and row["projection"] == "normed"
        and row["rank"] <= top
        and abs(row["logit"]) >= logit
    )


def keys_found(cursor: duckdb.DuckDBPyConnection, run: Run, *criteria: Criterion, **order: Any) -> list[KeyId]:
    return search(cursor, run.vocabulary, Search(criteria, **order), named=999).names(0, 999)


def test_a_written_token_is_found_exactly(alpha: Run, cursor: duckdb.DuckDBPyConnection) -> None:
    seen = 0
    for (token_id,) in cursor.execute("SELECT DISTINCT token_id FROM value_tokens ORDER BY 1").fetchall():
        token = alpha.vocabulary[token_id].bytes
        for direction in ("promoted", "suppressed"):
            found = keys_found(cursor, alpha, Writes(token, direction, 3, 0.5))
            assert set(found) == brute_force(cursor, "value_tokens", written(token_id, direction, 3, 0.5))
            assert len(found) == len(set(found))
            seen += len(found)
    assert seen > 20


def test_a_token_that_fires_keys_is_found_exactly_with_its_count(alpha: Run, cursor: duckdb.DuckDBPyConnection) -> None:
    counts: dict[int, dict[KeyId, int]] = {}
    for layer, index, token_id, count in cursor.execute(
        'SELECT layer, "index", token_id, "count" FROM fires_on'
    ).fetchall():
        counts.setdefault(token_id, {})[KeyId(layer, index)] = count
    for token_id, expected in counts.items():
        found = search(cursor, alpha.vocabulary, Search((FiresOn(alpha.vocabulary[token_id].bytes),)))
        assert {hit.row.key: hit.measures["fires_on"] for hit in found.hits} == expected
        assert found.sort == "fires_on"
        ordered = [hit.measures["fires_on"] for hit in found.hits]
        assert ordered == sorted(ordered, reverse=True)  # type: ignore[type-var]
    assert any(max(each.values()) >= 2 for each in counts.values())
    token_id, expected = max(counts.items(), key=lambda item: max(item[1].values()))
    least = max(expected.values())
    found_keys = keys_found(cursor, alpha, FiresOn(alpha.vocabulary[token_id].bytes, least))
    assert set(found_keys) == {key for key, count in expected.items() if count >= least}


@pytest.mark.parametrize("typed", ["(", ";", "    ", "return", "Return", "\\n", " range"])
def test_case_and_white_space_are_the_tokens_own(alpha: Run, cursor: duckdb.DuckDBPyConnection, typed: str) -> None:
    ids = [
        token_id for token_id in range(len(alpha.vocabulary)) if alpha.vocabulary[token_id].bytes == parse_token(typed)
    ]
    expected = brute_force(cursor, "fires_on", lambda row: row["token_id"] in ids)
    expected |= {key for token_id in ids for key in brute_force(cursor, "value_tokens", written(token_id, "promoted"))}
    assert set(keys_found(cursor, alpha, About(parse_token(typed)))) == expected
    assert bool(ids) == (typed != "Return")


@pytest.mark.parametrize("text", [b"return self", b"in range", b"static void", b"amp;", b"in rang", b"n range"])
def test_tokens_in_a_row_are_found_in_every_trigger_that_is_one_of_them(
    alpha: Run, cursor: duckdb.DuckDBPyConnection, text: bytes
) -> None:
    expected: Counter[KeyId] = Counter()
    sql = "SELECT layer, \"index\", position, token_ids FROM triggers JOIN windows USING (window_id) WHERE polarity = 'max'"
    for layer, index, position, ids in cursor.execute(sql).fetchall():
        tokens = [alpha.vocabulary[token_id].bytes for token_id in ids]
        spans = itertools.product(range(position + 1), range(position + 1, len(tokens) + 1))
        if any(b"".join(tokens[first:end]) in (text, b" " + text) for first, end in spans):
            expected[KeyId(layer, index)] += 1
    assert bool(expected) == (text not in (b"in rang", b"n range"))
    found = in_a_row(cursor, alpha.vocabulary, text)
    assert dict(found.keys) == expected
    assert found.checked == found.candidates
    assert set(keys_found(cursor, alpha, found)) == set(expected)


def test_only_the_keys_that_fire_most_on_the_tokens_are_checked_and_this_is_said(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = {"sequence": "in range"}
    everything = client.get("/api/v1/runs/alpha/search", params=query).json()
    monkeypatch.setattr(search_query, "CHECKED", 1)
    some = client.get("/api/v1/runs/alpha/search", params=query).json()
    assert some["total"] <= some["sequence_checked"] == 1 < some["sequence_candidates"]
    assert everything["sequence_checked"] == everything["sequence_candidates"] == some["sequence_candidates"]
    page = html.unescape(client.get("/runs/alpha/search", params=query).text)
    assert f"of the first 1 of {some['sequence_candidates']} keys that fire on one of its tokens" in page


def test_ranges_layers_languages_and_dead_keys_are_found_exactly(alpha: Run, cursor: duckdb.DuckDBPyConnection) -> None:
    rows = brute_force(cursor, "keys", lambda row: row["kurtosis"] is not None and 4 <= row["kurtosis"] <= 12)
    assert set(keys_found(cursor, alpha, Between("kurtosis", 4, 12))) == rows
    assert 0 < len(rows) < 12
    assert set(keys_found(cursor, alpha, InLayers(1, 1))) == brute_force(cursor, "keys", lambda row: row["layer"] == 1)
    assert set(keys_found(cursor, alpha, Prefers("go"))) == brute_force(
        cursor, "keys", lambda row: row["top_language"] == "go"
    )
    assert keys_found(cursor, alpha, Dead()) == [KeyId(1, 5)]
    assert len(keys_found(cursor, alpha, Dead(False))) == 11


def test_criteria_hold_together(alpha: Run, cursor: duckdb.DuckDBPyConnection) -> None:
    tokens = [
        alpha.vocabulary[token_id].bytes
        for (token_id,) in cursor.execute(
            "SELECT token_id FROM fires_on GROUP BY token_id ORDER BY count(*) DESC LIMIT 2"
        ).fetchall()
    ]
    criteria: list[Criterion] = [FiresOn(tokens[0]), Between("mean", -0.02), InLayers(0, 0)]
    each = [set(keys_found(cursor, alpha, criterion)) for criterion in criteria]
    assert set(keys_found(cursor, alpha, *criteria)) == set.intersection(*each) != set()
    some = tuple(sorted(each[0])[:2])
    assert set(keys_found(cursor, alpha, FiresOn(tokens[0]), Among(some))) == set(some)
    assert keys_found(cursor, alpha, Among(())) == []


@pytest.mark.parametrize("sort", ["kurtosis", "top_token_share"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_keys_found_are_in_order_and_counted_by_layer(
    alpha: Run, cursor: duckdb.DuckDBPyConnection, order: Any, sort: str
) -> None:
    found = search(cursor, alpha.vocabulary, Search((Dead(False),), sort, order), limit=4, offset=2, named=99)
    rows = cursor.execute(
        f'SELECT layer, "index" FROM keys WHERE NOT dead ORDER BY {sort} {order}, layer, "index"'
    ).fetchall()
    assert found.names(0, 99) == [KeyId(*row) for row in rows]
    assert [hit.row.key for hit in found.hits] == [KeyId(*row) for row in rows][2:6]
    assert (found.total, found.by_layer(2)) == (11, [6, 5])
    assert all(hit.row.top is not None and hit.row.promoted for hit in found.hits)


def test_no_more_keys_are_named_than_asked_for_and_all_are_counted(
    alpha: Run, cursor: duckdb.DuckDBPyConnection
) -> None:
    everything = keys_found(cursor, alpha)
    for limit, offset, named in ((2, 0, 0), (2, 3, 4), (2, 3, 7), (5, 10, 0), (5, 99, 0)):
        found = search(cursor, alpha.vocabulary, Search(), limit, offset, named)
        assert found.names(0, 99) == everything[: max(limit + offset, named)]
        assert [hit.row.key for hit in found.hits] == everything[offset : offset + limit]
        assert (found.total, found.by_layer(3)) == (12, [6, 6, 0])


def test_what_is_measured_does_not_depend_on_what_is_sorted_by(alpha: Run, cursor: duckdb.DuckDBPyConnection) -> None:
    criteria = (About(b";"), FiresOn(b";"))
    by_measure = search(cursor, alpha.vocabulary, Search(criteria))
    measures = {hit.row.key: hit.measures for hit in by_measure.hits}
    assert len(measures) > 1
    for sort in ("index", "kurtosis", "promoted_logit"):
        found = search(cursor, alpha.vocabulary, Search(criteria, sort, "asc"))
        assert {hit.row.key: hit.measures for hit in found.hits} == measures
        assert (found.total, found.in_layers) == (by_measure.total, by_measure.in_layers)
    by_index = search(cursor, alpha.vocabulary, Search(criteria, "index", "asc")).names(0, 99)
    assert by_index == sorted(by_index, key=lambda key: (key.index, key.layer))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nothing:1:2", "no range of 'nothing'"),
        ("dead:0:1", "no range of 'dead'"),
        ("kurtosis", "not a range: write"),
        ("kurtosis:a:b", "not a range: write"),
        ("kurtosis:nan:", "finite ends"),
        ("kurtosis:1:2:3", "not a range: write"),
    ],
)
def test_a_range_that_cannot_be_read_is_named(reader: TestClient, text: str, problem: str) -> None:
    with pytest.raises(InvalidParameter, match=problem):
        SearchParameters(ranges=text).between()
    assert reader.get("/api/v1/runs/alpha/search", params={"ranges": text}).status_code == 422


def test_ranges_are_written_as_they_are_read() -> None:
    ranges = [Between("kurtosis", 10), Between("mean", None, 0.1 + 0.2), Between("n", 1, 1e9)]
    assert SearchParameters(ranges=format_ranges(ranges)).between() == ranges


def test_the_api_answers_a_page_with_what_was_measured(reader: TestClient, alpha: Run) -> None:
    answer = reader.get("/api/v1/runs/alpha/search", params={"q": ";", "limit": 3, "layer_to": 1}).json()
    assert answer["ok"] is True
    assert len(answer["keys"]) == min(3, answer["total"])
    assert sum(answer["by_layer"]) == answer["total"] > 0
    assert set(answer["keys"][0]["measures"]) == {"fires_on", "promoted_logit"}
    assert (answer["sort"], answer["order"], answer["unknown_tokens"]) == ("fires_on", "desc", [])
    unknown = reader.get("/api/v1/runs/alpha/search", params={"promotes": "nosuchtoken"}).json()
    assert (unknown["total"], unknown["unknown_tokens"]) == (0, ["nosuchtoken"])
    assert reader.get("/api/v1/runs/alpha/search", params={"sort": "promoted_logit"}).status_code == 422


def test_a_label_finds_its_keys(client: TestClient) -> None:
    body = {"kind": "semantic", "description": "", "tags": [], "evidence": []}
    client.put(
        "/api/v1/runs/alpha/keys/L1.K2/labels", json=body, headers={"X-Keyscope-Person": "Ada"}
    ).raise_for_status()
    found = client.get("/api/v1/runs/alpha/search", params={"label": "semantic"}).json()
    assert [each["key"] for each in found["keys"]] == ["L1.K2"]
    assert client.get("/api/v1/runs/alpha/search", params={"label": "mixed"}).json()["total"] == 0


def test_the_export_has_every_key_found(reader: TestClient) -> None:
    parameters = {"fires_on": ";", "sort": "kurtosis"}
    answer = reader.get("/api/v1/runs/alpha/search", params=parameters).json()
    text = reader.get("/api/v1/runs/alpha/export/search", params=parameters).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["key"] for row in rows] == [each["key"] for each in answer["keys"]]
    assert [float(row["fires_on"]) for row in rows] == [each["measures"]["fires_on"] for each in answer["keys"]]


def test_the_page_lists_what_the_api_finds_and_leads_on(reader: TestClient) -> None:
    page = reader.get("/runs/alpha/search", params={"fires_on": ";"})
    found = reader.get("/api/v1/runs/alpha/search", params={"fires_on": ";"}).json()
    assert KEY_LINK.findall(page.text) == [each["key"] for each in found["keys"]]
    assert [bar.keys for bar in page.context["by_layer"]] == found["by_layer"]
    masked = reader.get(html.unescape(page.context["mask_href"]))
    assert all(each["key"] in masked.text for each in found["keys"])
    bar = next(bar for bar in page.context["by_layer"] if bar.keys)
    assert len(KEY_LINK.findall(reader.get(bar.href).text)) == bar.keys


def test_a_form_with_empty_fields_leads_to_a_short_address(reader: TestClient) -> None:
    form = {
        "q": "",
        "fires_on": ";",
        "layer_from": "",
        "statistic": "kurtosis",
        "low": "3",
        "high": "",
        "ranges": "mean::5",
    }
    answer = reader.get("/runs/alpha/search", params=form, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/runs/alpha/search?fires_on=%3B&ranges=mean%3A%3A5%2Ckurtosis%3A3%3A"
    page = reader.get(answer.headers["location"], follow_redirects=False)
    assert page.status_code == 200
    assert [chip.text for chip in page.context["ranges"]] == ["mean ≤ 5", "kurtosis ≥ 3"]
    assert reader.get(page.context["ranges"][0].without).context["ranges"][0].text == "kurtosis ≥ 3"


def test_an_unknown_token_is_said_to_be_none_and_others_are_offered(reader: TestClient) -> None:
    page = reader.get("/runs/alpha/search", params={"promotes": "RETURN"})
    assert "The tokenizer has no token" in page.text
    alike = [choice.href for note in page.context["notes"] for choice in note.alike]
    assert alike
    assert all("no token" not in reader.get(href).text for href in alike)


def test_the_keys_found_become_a_list(client: TestClient) -> None:
    client.post("/name", data={"name": "Ada"})
    page = client.get("/runs/alpha/search", params={"fires_on": ";"})
    keys = " ".join(map(str, page.context["to_list"]))
    assert f'value="{keys}"' in page.text
    listed = client.post("/lists", data={"run": "alpha", "name": "semicolons", "keys": keys}).text
    assert all(str(key) in listed for key in page.context["to_list"])


def test_roles_and_concepts_of_analyses_find_their_keys(runs_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(runs_dir, tmp_path / "runs")
    write_syntax(tmp_path / "runs" / "alpha.duckdb")
    path = tmp_path / "runs" / "alpha.duckdb"
    write_concepts(path, layers=2, keys_per_layer=6)
    with open_run(path) as connection:
        roles = "SELECT layer, \"index\", value FROM syntax_profiles WHERE aspect = 'role' AND share >= 0.5"
        shares = connection.execute(roles).fetchall()
        role = shares[0][2]
        sql = f"SELECT layer, \"index\" FROM concept_keys WHERE concept = '{LOOPS.part}' AND q <= 0.05"
        detecting = connection.execute(sql).fetchall()
        vocabulary = load_vocabulary(connection)
        for criterion, expected in (
            (HasRole(role), {KeyId(*row[:2]) for row in shares if row[2] == role}),
            (HasRole(role, 0.99), set()),
            (OfConcept("loops"), {KeyId(*row) for row in detecting}),
            (OfConcept("no such concept"), set()),
        ):
            found = search(connection.cursor(), vocabulary, Search((criterion,)), limit=1, named=99)
            assert set(found.names(0, 99)) == expected
        assert 0 < len(detecting) < 12
        assert known_concepts(connection) == ["loops", "numpy"]
