"""Edits from the app's side: judged, drawn, told as JSON, started by a form and tried on the live page."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from keyscope.app.analyses.edits.judging import holm
from keyscope.app.web.sections import Cell
from keyscope.contract.analyses.edit import TABLES
from keyscope.contract.recipes import Recipe
from tests.app.copies import app_on_copies
from tests.fake_worker import FakeWorker
from tests.made.edits import LOOPS, NUMPY, PROMPT, MadeEdit, write_edit

SELECTIVE = MadeEdit()
SPREAD = MadeEdit(picker="causal", selective=False, ending="ffffff")
FEW = MadeEdit(picker="fdr", few_files=True, ending="eeeeee")
OLD = MadeEdit(picker="any_hit", scaled_only=True, ending="dddddd")


@pytest.fixture(scope="module")
def edited(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client on a run with three edits of the loops: one harms them alone, one more, one is measured in few files."""

    def write_edits(alpha: Path) -> None:
        for made in (SELECTIVE, SPREAD, FEW, OLD):
            write_edit(alpha, made)

    with app_on_copies(runs_dir, tmp_path_factory.mktemp("edited"), write_edits, person="Ada") as client:
        yield client


def test_edits_are_told_with_what_they_come_to(edited: TestClient) -> None:
    found = {each["picker"]: each for each in edited.get("/api/v1/runs/alpha/edits").json()["edits"]}
    assert set(found) == {"auroc", "causal", "fdr", "any_hit"}
    conclusions = {picker: each["verdict"]["conclusion"] for picker, each in found.items()}
    assert conclusions == {
        "auroc": "selective",
        "causal": "inconclusive",
        "fdr": "inconclusive",
        "any_hit": "not measured",
    }
    for measure in ("accuracy", "loss", "rank"):
        both = {"beats_controls": True, "beats_general": True, "selective": True}
        assert found["auroc"]["judgements"][measure] == both
        assert found["causal"]["judgements"][measure]["selective"] is False
        assert not any(found["fdr"]["judgements"][measure].values())
        assert not any(found["any_hit"]["judgements"][measure].values())
    one = edited.get(f"/api/v1/runs/alpha/edits/{SELECTIVE.name}").json()["edit"]
    assert one == found["auroc"]
    assert one["masks"] == [{"key": "L0.K0", "factor": 0.0}, {"key": "L1.K1", "factor": 0.0}]
    (main,) = [
        each for each in one["effects"] if each["main"] and each["role"] == "dose" and each["group"] == "concept"
    ]
    assert main["measures"]["accuracy"]["change"] == pytest.approx(-0.04)
    assert {each["operation"] for each in one["effects"]} == {None, "mean", "scale", "resample"}
    assert edited.get(f"/api/v1/runs/alpha/edits?concept={NUMPY.part}").json()["edits"] == []
    unknown = edited.get("/api/v1/runs/alpha/edits/none")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "unknown_edit")


def test_p_is_corrected_for_the_edits_of_the_run(edited: TestClient) -> None:
    found = {each["picker"]: each["verdict"] for each in edited.get("/api/v1/runs/alpha/edits").json()["edits"]}
    assert found["auroc"]["edits"] == 3
    assert (found["auroc"]["p"], found["auroc"]["corrected"]) == pytest.approx((0.0004, 0.0012))
    assert found["causal"]["corrected"] == pytest.approx(0.6)
    assert found["any_hit"]["corrected"] is None
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_the_page_says_that_the_concept_fell_more_or_that_it_did_not(edited: TestClient) -> None:
    page = edited.get(f"/runs/alpha/edits/{SELECTIVE.name}")
    assert page.context["text"] == (
        "With 2 keys at their means, the loss at the places of Loops rises by +0.400 nats (95 % interval +0.350 to +0.450) "
        "more than masks of other keys that do as much damage to general code (200 places, 12 projects, 24 files; p 4.0e-4, 0.0012 after Holm for 3 "
        "edits of this run)."
    )
    accuracy, loss = page.context["headlines"]
    assert accuracy.selective
    assert loss.selective
    assert accuracy.text.startswith(
        "Loops: masking 2 keys changes the next-token accuracy at its places by −4.0 points (95 % interval −4.5 to −3.5) "
        "with the keys at their means, more than with equally damaging keys (−0.2, p 0.0476) and more than in code without it "
    )
    spread = edited.get(f"/runs/alpha/edits/{SPREAD.name}")
    assert "A difference of 0.07 nats would be found four times in five." in spread.context["text"]
    assert not spread.context["headlines"][0].selective
    assert "not clearly more than with equally damaging keys" in spread.context["headlines"][0].text


def test_an_edit_measured_in_few_files_is_told_without_intervals_and_is_not_selective(edited: TestClient) -> None:
    page = edited.get(f"/runs/alpha/edits/{FEW.name}")
    accuracy = page.context["headlines"][0]
    assert not accuracy.selective
    assert "at its places by −4.0 points (too few projects for an interval)" in accuracy.text
    assert "not clearly more than in code without it" in accuracy.text
    doses = next(block for block in page.context["blocks"] if block.name == "doses")
    assert [row.cells[0] for row in doses.rows][:2] == [Cell("−2.0"), Cell("−4.0")]
    figure = edited.get(f"/runs/alpha/edits/{FEW.name}/figures/accuracy").json()
    assert "error_y" not in figure["data"][0]
    assert edited.get(f"/api/v1/runs/alpha/edits/{FEW.name}").status_code == 200


def test_an_edit_that_only_scaled_is_shown_without_a_verdict(edited: TestClient) -> None:
    page = edited.get(f"/runs/alpha/edits/{OLD.name}")
    assert page.status_code == 200
    assert page.context["verdict"].conclusion == "not measured"
    assert "only scaled coefficients" in page.context["text"]
    assert [block.name for block in page.context["blocks"]] == ["doses", "controls", "places", "collateral"]
    refused = edited.get(f"/api/v1/runs/alpha/edits/{OLD.name}/recipe.json")
    assert (refused.status_code, refused.json()["error"]) == (409, "no_recipe")


def test_the_ways_of_masking_stand_side_by_side_with_equally_damaging_keys(edited: TestClient) -> None:
    page = edited.get(f"/runs/alpha/edits/{SELECTIVE.name}")
    ways = next(block for block in page.context["blocks"] if block.name == "ways")
    assert [row.head for row in ways.rows] == ["zero", "mean", "resample", "other keys"]
    assert [row.cells[0].text for row in ways.rows] == ["+0.400", "+0.400", "+0.400", "+0.020"]
    figure = edited.get(f"/runs/alpha/edits/{SELECTIVE.name}/figures/ways-loss").json()
    assert figure["data"][0]["x"] == ["zero", "mean", "resample", "other keys"]
    assert len(edited.get(f"/runs/alpha/edits/{SELECTIVE.name}/figures/ways-kl").json()["data"]) == 3


def test_every_place_of_the_concept_is_listed_the_most_harmed_first(edited: TestClient) -> None:
    page = edited.get(f"/runs/alpha/edits/{SELECTIVE.name}")
    sites = next(block for block in page.context["blocks"] if block.name == "sites")
    assert [row.head for row in sites.rows] == ["a/0.py:7", "a/1.py:7", "a/2.py:7"]
    answer = edited.get(f"/api/v1/runs/alpha/edits/{SELECTIVE.name}/sites?limit=2&offset=1").json()
    assert answer["total"] == 3
    assert [(each["project"], each["loss_mean"]) for each in answer["sites"]] == [("p1", 0.4), ("p2", 0.3)]


def test_a_recipe_has_all_that_determines_an_edit(edited: TestClient) -> None:
    page = edited.get(f"/runs/alpha/edits/{SELECTIVE.name}")
    recipe = edited.get(page.context["recipe_href"]).json()
    scaled, at_means = recipe["masked"]
    assert scaled == {"operation": "scale", "language": None, "masks": ["L0.K0:0", "L1.K1:0"]}
    assert at_means == {"operation": "mean", "language": "python", "masks": ["L0.K0:=0.25", "L1.K1:=0.5"]}
    assert (recipe["run"], recipe["kind"], recipe["part"]) == ("alpha", "edit", SELECTIVE.name)
    assert set(recipe["rows"]) == {table.name for table in TABLES}
    assert recipe["command"].startswith("keyscope analyse alpha.duckdb edit --set 'concept=loops-")
    assert Recipe.model_validate(recipe).rests_on == {"run": "0" * 64}


def test_doses_controls_places_and_harm_elsewhere_have_their_tables(edited: TestClient) -> None:
    page = edited.get(f"/runs/alpha/edits/{SELECTIVE.name}")
    blocks = {block.name: block for block in page.context["blocks"]}
    doses = [(row.head, row.cells[0].text) for row in blocks["doses"].rows]
    assert "Measured on" in blocks["doses"].text
    assert re.search(r"\d+ places in \d+ files at the concept, \d+ places in \d+ files beside it", blocks["doses"].text)
    assert doses == [("1 key", "−2.0"), ("2 keys", "−4.0"), ("4 keys", "−8.0"), ("2 keys, within their range", "−4.0")]
    assert [row.head for row in blocks["collateral"].rows] == ["numpy"]
    assert blocks["collateral"].rows[0].cells[-1].text == "0.5"
    assert len(blocks["controls"].rows) == 3 * 2 * 4
    assert "a/&lt;b&gt;.py" in page.text
    for block in blocks.values():
        assert edited.get(f"/api/v1/runs/alpha/export/analyses/{block.table}").status_code == 200


def test_the_figure_has_doses_with_intervals_and_controls(edited: TestClient) -> None:
    figure = edited.get(f"/runs/alpha/edits/{SELECTIVE.name}/figures/accuracy").json()
    concept, near, general, damage, matched, random = figure["data"]
    assert concept["x"] == [1, 2, 4]
    assert concept["y"] == pytest.approx([-2, -4, -8])
    assert concept["error_y"]["array"] == pytest.approx([0.5] * 3)
    assert concept["hovertext"][0].startswith("95 % interval -2.5 to -1.5; ")
    assert all(re.search(r"\d places in \d+ files", said) for said in concept["hovertext"])
    assert near["y"] == pytest.approx(general["y"])
    assert damage["y"] == matched["y"] == random["y"] == pytest.approx([-0.2, -0.2])
    assert edited.get(f"/runs/alpha/edits/{SELECTIVE.name}/figures/rank").status_code == 422


def test_edits_stand_on_their_concepts_page_and_in_a_list(edited: TestClient) -> None:
    page = edited.get("/runs/alpha/concepts/loops/edits")
    assert [each.edit.edit for each in page.context["edits"]] == [OLD.name, SELECTIVE.name, SPREAD.name, FEW.name]
    assert page.context["ready"] is False
    assert edited.get("/runs/alpha/concepts/numpy/edits").context["edits"] == []
    listed = edited.get("/runs/alpha/edits")
    assert [each.verdict.conclusion for each in listed.context["edits"]] == [
        "not measured",
        "selective",
        "inconclusive",
        "inconclusive",
    ]
    assert "Not computed yet" in edited.get("/runs/gated/edits").text
    assert edited.get("/runs/alpha/concepts/nothing/edits").status_code == 404


def test_an_edit_is_tried_with_its_keys_masked_and_code_before_the_concept(edited: TestClient) -> None:
    tried = edited.post(f"/runs/alpha/edits/{SELECTIVE.name}/try?prompt=0", follow_redirects=False)
    assert tried.status_code == 303
    address = urlsplit(tried.headers["location"])
    asked = parse_qs(address.query)
    assert (address.path, asked["prompt"], asked["mask"]) == ("/live", [PROMPT], ["L0.K0:0,L1.K1:0"])
    assert edited.get(tried.headers["location"]).status_code == 200
    means = edited.post(f"/runs/alpha/edits/{SELECTIVE.name}/try?prompt=0&at_means=true", follow_redirects=False)
    assert parse_qs(urlsplit(means.headers["location"]).query)["mask"] == ["L0.K0:=0.25,L1.K1:=0.5"]
    assert 'value="=0.25"' in edited.get(means.headers["location"]).text


def test_the_form_starts_a_job_for_the_concept(live: TestClient, worker: FakeWorker) -> None:
    worker.jobs = []
    form = {"picker": "causal", "percent": "2", "factor": "0.5", "draws": "5", "tokens": "2000", "next": "/back"}
    live.headers["X-Keyscope-Person"] = "Ada"
    started = live.post("/runs/alpha/concepts/loops/edits", data=form, follow_redirects=False)
    basket = {**form, "picker": "basket", "mask": "L0.K1:0,L1.K2:0.5"}
    live.post("/runs/alpha/concepts/loops/edits", data=basket, follow_redirects=False)
    wrong = live.post("/runs/alpha/concepts/loops/edits", data={**form, "percent": "0"})
    jobs = live.get(f"/runs/alpha/jobs?kind=edit&about={LOOPS.part}").context["jobs"]
    assert (started.status_code, started.headers["location"]) == (303, "/back")
    assert wrong.status_code == 422
    second, first = worker.jobs
    assert (first.kind, first.run) == ("edit", "alpha")
    common = {"concept": LOOPS.part, "draws": 5, "tokens": 2000}
    assert first.settings == {**common, "picker": "causal", "share": 0.02, "factor": 0.5}
    assert second.settings == {**common, "picker": "basket", "basket": "L0.K1:0,L1.K2:0.5"}
    assert [job.title for job in jobs] == [f"edit of {LOOPS.part}"] * 2


def test_what_the_literature_says_is_tried_on_every_edit(edited: TestClient) -> None:
    found = {each["title"]: each for each in edited.get("/api/v1/runs/alpha/findings").json()["findings"]}
    parts = found["Dose and response"]["parts"]
    assert sorted(part.partition(")")[0].partition("(")[2] for part in parts) == ["any_hit", "auroc", "causal", "fdr"]
    page = html.unescape(edited.get("/runs/alpha/findings").text)
    assert all(f"<li>{part}</li>" in page for part in parts)
