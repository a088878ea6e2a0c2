"""Edits from the app's side: judged, drawn, told as JSON, started by a form and tried on the live page."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from keyscope.app.web.sections import Cell
from tests.app.copies import app_on_copies
from tests.fake_worker import FakeWorker
from tests.made.edits import LOOPS, NUMPY, PROMPT, MadeEdit, write_edit

SELECTIVE = MadeEdit()
SPREAD = MadeEdit(picker="causal", selective=False, ending="ffffff")
FEW = MadeEdit(picker="fdr", few_files=True, ending="eeeeee")


@pytest.fixture(scope="module")
def edited(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client on a run with three edits of the loops: one harms them alone, one more, one is measured in few files."""

    def write_edits(alpha: Path) -> None:
        for made in (SELECTIVE, SPREAD, FEW):
            write_edit(alpha, made)

    with app_on_copies(runs_dir, tmp_path_factory.mktemp("edited"), write_edits, person="Ada") as client:
        yield client


def test_edits_are_told_with_what_they_come_to(edited: TestClient) -> None:
    found = {each["picker"]: each for each in edited.get("/api/v1/runs/alpha/edits").json()["edits"]}
    assert set(found) == {"auroc", "causal", "fdr"}
    for measure in ("accuracy", "loss", "rank"):
        assert found["auroc"]["judgements"][measure] == {
            "beats_controls": True,
            "beats_general": True,
            "selective": True,
        }
        assert found["causal"]["judgements"][measure]["selective"] is False
        assert not any(found["fdr"]["judgements"][measure].values())
    one = edited.get(f"/api/v1/runs/alpha/edits/{SELECTIVE.name}").json()["edit"]
    assert one == found["auroc"]
    assert one["masks"] == [{"key": "L0.K0", "factor": 0.0}, {"key": "L1.K1", "factor": 0.0}]
    (main,) = [
        each for each in one["effects"] if each["main"] and each["role"] == "dose" and each["group"] == "concept"
    ]
    assert main["measures"]["accuracy"]["change"] == pytest.approx(-0.04)
    assert edited.get(f"/api/v1/runs/alpha/edits?concept={NUMPY.part}").json()["edits"] == []
    unknown = edited.get("/api/v1/runs/alpha/edits/none")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "unknown_edit")


def test_the_page_says_that_the_concept_fell_more_or_that_it_did_not(edited: TestClient) -> None:
    page = edited.get(f"/runs/alpha/edits/{SELECTIVE.name}")
    accuracy, loss = page.context["headlines"]
    assert accuracy.selective
    assert loss.selective
    assert accuracy.text == (
        "Loops: masking 2 keys changes the next-token accuracy at its places by −4.0 points (95 % interval −4.5 to −3.5), to "
        "56\N{NARROW NO-BREAK SPACE}%. That is more than masking matched keys −0.2 (p 0.0476), random keys −0.2 (p 0.0476) on average, and more "
        "than in code without it, which changes by −0.2 points (95 % interval −0.7 to +0.3); the difference is −3.8 "
        "(−4.3 to −3.3)."
    )
    spread = edited.get(f"/runs/alpha/edits/{SPREAD.name}").context["headlines"][0]
    assert not spread.selective
    assert "not clearly more than masking matched keys" in spread.text
    assert "and not clearly more than in code without it" in spread.text


def test_an_edit_measured_in_few_files_is_told_without_intervals_and_is_not_selective(edited: TestClient) -> None:
    page = edited.get(f"/runs/alpha/edits/{FEW.name}")
    accuracy = page.context["headlines"][0]
    assert not accuracy.selective
    assert "at its places by −4.0 points (too few files for an interval)" in accuracy.text
    assert "not clearly more than in code without it" in accuracy.text
    assert "the difference is −3.8 (too few files for an interval)" in accuracy.text
    doses = next(block for block in page.context["blocks"] if block.name == "doses")
    assert [row.cells[0] for row in doses.rows][:2] == [Cell("−2.0"), Cell("−4.0")]
    figure = edited.get(f"/runs/alpha/edits/{FEW.name}/figures/accuracy").json()
    assert "error_y" not in figure["data"][0]
    assert edited.get(f"/api/v1/runs/alpha/edits/{FEW.name}").status_code == 200


def test_doses_controls_places_and_harm_elsewhere_have_their_tables(edited: TestClient) -> None:
    page = edited.get(f"/runs/alpha/edits/{SELECTIVE.name}")
    blocks = {block.name: block for block in page.context["blocks"]}
    doses = [(row.head, row.cells[0].text) for row in blocks["doses"].rows]
    assert "Measured on" in blocks["doses"].text
    assert re.search(r"\d+ places in \d+ files at the concept, \d+ places in \d+ files beside it", blocks["doses"].text)
    assert doses == [("1 key", "−2.0"), ("2 keys", "−4.0"), ("4 keys", "−8.0"), ("2 keys, within their range", "−4.0")]
    assert [row.head for row in blocks["collateral"].rows] == ["numpy"]
    assert blocks["collateral"].rows[0].cells[-1].text == "0.5"
    assert len(blocks["controls"].rows) == 3 * 2 * 2
    assert "a/&lt;b&gt;.py" in page.text
    for block in blocks.values():
        assert edited.get(f"/api/v1/runs/alpha/export/analyses/{block.table}").status_code == 200


def test_the_figure_has_doses_with_intervals_and_controls(edited: TestClient) -> None:
    figure = edited.get(f"/runs/alpha/edits/{SELECTIVE.name}/figures/accuracy").json()
    concept, near, general, matched, random = figure["data"]
    assert concept["x"] == [1, 2, 4]
    assert concept["y"] == pytest.approx([-2, -4, -8])
    assert concept["error_y"]["array"] == pytest.approx([0.5] * 3)
    assert concept["hovertext"][0].startswith("95 % interval -2.5 to -1.5; ")
    assert all(re.search(r"\d places in \d+ files", said) for said in concept["hovertext"])
    assert near["y"] == pytest.approx(general["y"])
    assert matched["y"] == random["y"] == pytest.approx([-0.2, -0.2])
    assert edited.get(f"/runs/alpha/edits/{SELECTIVE.name}/figures/rank").status_code == 422


def test_edits_stand_on_their_concepts_page_and_in_a_list(edited: TestClient) -> None:
    page = edited.get("/runs/alpha/concepts/loops/edits")
    assert [each.edit.edit for each in page.context["edits"]] == [SELECTIVE.name, SPREAD.name, FEW.name]
    assert page.context["ready"] is False
    assert edited.get("/runs/alpha/concepts/numpy/edits").context["edits"] == []
    listed = edited.get("/runs/alpha/edits")
    assert [[said.selective for said in each.headlines] for each in listed.context["edits"]] == [
        [True, True],
        [False, False],
        [False, False],
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
    assert sorted(part.partition(")")[0].partition("(")[2] for part in parts) == ["auroc", "causal", "fdr"]
    page = html.unescape(edited.get("/runs/alpha/findings").text)
    assert all(f"<li>{part}</li>" in page for part in parts)
