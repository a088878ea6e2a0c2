"""Edits of a concept carried by four planted keys: it is destroyed, the rest stays, controls change nothing."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keyscope.contract.analyses.files import analysis_path
from keyscope.worker.analysis.edit.analysis import EditAnalysis
from keyscope.worker.analysis.edit.errors import ConceptNotComputed, NothingToMask
from keyscope.worker.analysis.edit.settings import EditSettings
from keyscope.worker.analysis.errors import InvalidSetting
from keyscope.worker.analysis.kinds import make_analysis
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.model.errors import UnknownKey
from tests.worker.analysis.edit.conftest import CARRIERS, LAYER, MAIL, MONEY, OTHERS, SETTINGS, edit, effect, rows


def test_masking_the_carriers_destroys_the_concept_and_spares_the_rest(edited: Path) -> None:
    before, *_ = effect(edited, "baseline", "concept")
    after, change, low, high = effect(edited, "main", "concept")
    assert before > 0.95
    assert after < 0.05
    assert change == pytest.approx(after - before)
    assert low <= change <= high < -0.9
    _, added, *_ = effect(edited, "main", "concept", measure="loss")
    assert added > 2
    rank, times, *_ = effect(edited, "main", "concept", measure="rank")
    assert rank == pytest.approx(times * effect(edited, "baseline", "concept", measure="rank")[0])
    assert times > 3
    assert effect(edited, "baseline", "collateral", MONEY.part)[0] > 0.95
    for group, name in (("near", ""), ("general", ""), ("general", "python"), ("collateral", MONEY.part)):
        level, change, low, high = effect(edited, "main", group, name)
        assert level > 0.05, group
        assert abs(change) < 0.02, group


def test_controls_do_no_harm_and_the_edit_stands_out_among_them(edited: Path) -> None:
    found = rows(
        edited,
        """SELECT control, operation, mean, z, p, excess, excess_high, draws FROM edit_controls
           WHERE "group" = 'concept' AND measure = 'accuracy' ORDER BY control, operation""",
    )
    draws = {("damage", "mean"): 8, ("damage", "resample"): 2, ("matched", "mean"): 2, ("random", "mean"): 2}
    assert {row[:2]: row[-1] for row in found} == draws
    for *_, mean, z, p, excess, excess_high, drawn in found:
        assert abs(mean) < 0.1
        assert z is None or z < -5
        assert p == pytest.approx(1 / (1 + drawn))
        assert excess_high < -0.8
        assert excess_high >= excess
    (contrast,) = rows(
        edited,
        """SELECT difference, high FROM edit_contrasts JOIN edit_conditions USING (edit, condition)
           WHERE main AND role = 'dose' AND against = 'general' AND measure = 'accuracy'""",
    )
    assert contrast[0] < -0.9
    assert contrast[1] < -0.8
    (spared,) = rows(
        edited,
        """SELECT p FROM edit_controls WHERE "group" = 'collateral' AND measure = 'loss' AND control = 'random'""",
    )
    assert spared[0] > 0.1


def test_the_registered_endpoint_is_the_rise_of_loss_beyond_controls_matched_on_damage(edited: Path) -> None:
    query = 'SELECT "primary", primary_low, primary_high, primary_p, detectable FROM edits'
    ((value, low, high, p, detectable),) = rows(edited, query)
    (excess,) = rows(
        edited,
        """SELECT excess FROM edit_controls WHERE "group" = 'concept' AND control = 'damage' AND operation = 'mean'
           AND measure = 'loss'""",
    )
    assert value == pytest.approx(excess[0])
    assert 1 < low < value < high
    assert p < 1e-3
    assert 0 < detectable < value


def test_every_place_of_the_concept_is_told_with_what_each_way_of_masking_does_to_it(edited: Path) -> None:
    query = """SELECT token, project, line, "column", loss, loss_mean, loss_zero, loss_resample, kl, "right", coefficient
        FROM edit_sites"""
    found = rows(edited, query)
    ((places, change),) = rows(
        edited,
        """SELECT places, loss_change FROM edit_effects JOIN edit_conditions USING (edit, condition)
           WHERE role = 'dose' AND main AND "group" = 'concept'""",
    )
    assert len(found) == places
    assert {row[0] for row in found} == {"@"}
    assert np.mean([row[5] for row in found]) == pytest.approx(change)
    for way, role in ((6, "zero"), (7, "resample")):
        expected = effect(edited, role, "concept", measure="loss")[1]
        assert np.mean([row[way] for row in found]) == pytest.approx(expected)
    assert min(row[8] for row in found) > 0
    assert all(row[10] > 1 for row in found)  # a carrier fires before its token


def test_every_dose_is_measured_and_one_carrier_is_not_enough(edited: Path) -> None:
    found = rows(
        edited,
        """SELECT keys, accuracy FROM edit_effects JOIN edit_conditions USING (edit, condition)
           WHERE role = 'dose' AND "group" = 'concept' ORDER BY keys""",
    )
    assert [keys for keys, _ in found] == [1, 4, 10]
    accuracies = [accuracy for _, accuracy in found]
    assert accuracies[0] > accuracies[1]
    (row,) = rows(edited, "SELECT edit, concept, picker, factor, keys, draws, languages FROM edits")
    assert row[:6] == (EditSettings(**SETTINGS).part, MAIL.part, "auroc", 0.0, 4, 8)
    assert sorted(row[6]) == ["go", "python"]
    keys = rows(edited, 'SELECT layer, "index" FROM edit_keys WHERE rank <= 4 ORDER BY rank')
    assert keys == [(LAYER, index) for index in CARRIERS]


def test_masking_within_the_range_suffices_for_keys_that_know_nothing_else(edited: Path) -> None:
    assert effect(edited, "range", "concept")[0] < 0.05
    centres = rows(edited, "SELECT centre, spread FROM edit_keys WHERE rank <= 4")
    assert all(centre > 2 and spread < centre for centre, spread in centres)


@pytest.mark.parametrize(("key", "there_is"), [("L0.K48", "keys 0 to 47"), ("L3.K0", "layers 0 to 2")])
def test_a_basket_with_a_key_that_the_model_does_not_have_is_refused(subject: Subject, key: str, there_is: str) -> None:
    with pytest.raises(UnknownKey, match=rf"{re.escape(key)}: .*{there_is}"):
        edit(subject, picker="basket", basket=f"L{LAYER}.K2,{key}")


def test_a_basket_with_factors_is_masked_as_it_is(subject: Subject, run_path: Path) -> None:
    names = ",".join(f"L{LAYER}.K{index}:{factor}" for index, factor in zip(CARRIERS, (0, 0, 0.5, 0), strict=True))
    edit(subject, picker="basket", basket=names)
    assert rows(run_path, "SELECT keys, factor, share FROM edits") == [(4, None, None)]
    assert [row[0] for row in rows(run_path, "SELECT factor FROM edit_keys ORDER BY rank")] == [0, 0, 0.5, 0]
    assert 0 < effect(run_path, "zero", "concept", measure="loss")[1] < 1


def test_keys_of_another_concept_change_that_one_and_not_this_one(subject: Subject, run_path: Path) -> None:
    edit(subject, picker="basket", basket=",".join(f"L{LAYER}.K{index}" for index in OTHERS))
    assert abs(effect(run_path, "zero", "concept")[1]) < 0.02
    assert effect(run_path, "zero", "collateral", MONEY.part)[1] < -0.9


def test_many_edits_of_one_run_stand_side_by_side(subject: Subject, run_path: Path) -> None:
    first = edit(subject, draws=2, tokens=1000)
    second = edit(subject, draws=2, tokens=1000, factor=0.5)
    assert first.part != second.part
    assert analysis_path(run_path, "edit", first.part).is_file()
    assert {row[0] for row in rows(run_path, "SELECT edit FROM edits")} == {first.part, second.part}
    half = rows(run_path, "SELECT DISTINCT factor FROM edit_keys WHERE edit = ?", second.part)
    assert half == [(0.5,)]


def test_without_a_share_the_dose_is_chosen_that_harms_the_concept_and_little_else(
    subject: Subject, run_path: Path
) -> None:
    edit(subject, share=None, draws=2, doses=f"{1 / 144},{4 / 144},{60 / 144}", tokens=6000)
    assert rows(run_path, "SELECT keys, chosen, share FROM edits") == [(4, True, None)]


def test_an_interrupted_edit_resumes_to_the_same_rows(
    subject: Subject, run_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = edit(subject, tokens=3000, draws=2).part
    query = 'SELECT * FROM edit_effects ORDER BY condition, "group", name'
    unbroken = rows(run_path, query)
    analysis_path(run_path, "edit", part).unlink()
    run_step, done = EditAnalysis.run_step, []

    def stop(self: EditAnalysis, *arguments: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(arguments[1].name)
        return run_step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(EditAnalysis, "run_step", stop)
        with pytest.raises(KeyboardInterrupt):
            edit(subject, tokens=3000, draws=2)
    edit(subject, tokens=3000, draws=2)
    assert rows(run_path, query) == unbroken


def test_prompts_are_text_before_tokens_of_the_concept(edited: Path) -> None:
    found = rows(edited, "SELECT prompt, token, loss, masked_loss, path FROM edit_prompts ORDER BY rank")
    assert 0 < len(found) <= 5
    assert len({path for *_, path in found}) == len(found)
    for prompt, token, loss, masked_loss, _ in found:
        assert prompt.endswith("#")
        assert token == "@"
        assert masked_loss > loss + 1


def test_no_hook_is_in_place_when_progress_is_reported(subject: Subject) -> None:
    analysis = make_analysis("edit", {**SETTINGS, "draws": 2, "tokens": 1000})
    done: dict[str, Any] = {}

    def advance(_tokens: float) -> None:
        assert not any(module._forward_pre_hooks for module in subject.model.model.modules())

    total: list[float] = []
    for step in analysis.steps(subject)[:3]:
        told: list[float] = []
        done[step.name] = analysis.run_step(subject, step, done, lambda n, told=told: (told.append(n), advance(n))[1])
        assert sum(told) == pytest.approx(step.tokens)
        total += told
    assert total


def test_errors_name_what_cannot_be_edited(subject: Subject) -> None:
    with pytest.raises(ConceptNotComputed, match=f"numpy-.*{MAIL.part}"):
        edit(subject, concept="numpy")
    with pytest.raises(NothingToMask, match="fdr"):
        edit(subject, picker="fdr")
    for wrong in ({"picker": "basket"}, {"basket": "L1.K2"}, {"draws": 1}, {"share": 0}, {"basket": "nonsense"}):
        with pytest.raises(InvalidSetting):
            make_analysis("edit", {**SETTINGS, **wrong})
