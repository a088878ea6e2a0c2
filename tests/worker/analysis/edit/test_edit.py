"""Edits of a concept carried by four planted keys: it is destroyed, the rest stays, controls change nothing."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from keyscope.contract.analyses.files import analysis_path
from keyscope.contract.runfile import open_run
from keyscope.worker.analysis.edit.analysis import EditAnalysis
from keyscope.worker.analysis.edit.errors import ConceptNotComputed, NothingToMask
from keyscope.worker.analysis.edit.settings import EditSettings
from keyscope.worker.analysis.errors import InvalidSetting
from keyscope.worker.analysis.kinds import make_analysis
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import Subject, open_subject
from keyscope.worker.analysis.units import units_of
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.errors import UnknownKey
from keyscope.worker.progress import Silent
from tests.worker.analysis.edit.conftest import CARRIERS, LAYER, MAIL, MONEY, OTHERS

SETTINGS = {
    "concept": MAIL.part,
    "picker": "auroc",
    "share": 4 / 144,
    "doses": f"{1 / 144},{4 / 144},{10 / 144}",
    "tokens": 1_000_000,
    "tau": 4,
}


def edit(subject: Subject, **settings: Any) -> EditAnalysis:
    """Compute an edit of the mail concept."""
    analysis = make_analysis("edit", {**SETTINGS, "draws": 8, **settings})
    assert isinstance(analysis, EditAnalysis)
    analyse(subject, analysis)
    return analysis


@pytest.fixture(scope="module")
def edited(planted: tuple[Path, Path], model: CodeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with one edit beside it."""
    folder = tmp_path_factory.mktemp("edited") / "runs"
    shutil.copytree(planted[1].parent, folder)
    with open_subject(folder / planted[1].name, model, (), Silent()) as subject:
        edit(subject)
    return folder / planted[1].name


def rows(path: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with open_run(path) as connection:
        return connection.execute(query, list(values)).fetchall()


def effect(path: Path, role: str, group: str, name: str = "", measure: str = "accuracy") -> tuple[float, ...]:
    """Level, change and the ends of its interval, under the main dose or another role."""
    wanted = "c.role = 'dose' AND c.main" if role == "main" else f"c.role = '{role}'"
    columns = f"e.{measure}, e.{measure}_change, e.{measure}_low, e.{measure}_high"
    query = f"""SELECT {columns} FROM edit_effects e JOIN edit_conditions c USING (edit, condition)
        WHERE {wanted} AND e."group" = ? AND e.name = ?"""
    (found,) = rows(path, query, group, name)
    return found


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
        """SELECT control, mean, z, p, excess, excess_high, draws FROM edit_controls
           WHERE "group" = 'concept' AND measure = 'accuracy' ORDER BY control""",
    )
    assert [row[0] for row in found] == ["matched", "random"]
    for _, mean, z, p, excess, excess_high, draws in found:
        assert abs(mean) < 0.1
        assert z is None or z < -5
        assert p == pytest.approx(1 / 9)
        assert excess_high < -0.8
        assert excess_high >= excess
        assert draws == 8
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
    assert row[:6] == (EditSettings(**SETTINGS, draws=8).part, MAIL.part, "auroc", 0.0, 4, 8)
    assert sorted(row[6]) == ["go", "python"]
    keys = rows(edited, 'SELECT layer, "index" FROM edit_keys WHERE rank <= 4 ORDER BY rank')
    assert keys == [(LAYER, index) for index in CARRIERS]


def test_masking_within_the_range_suffices_for_keys_that_know_nothing_else(edited: Path) -> None:
    assert effect(edited, "range", "concept")[0] < 0.05
    centres = rows(edited, "SELECT centre, spread FROM edit_keys WHERE rank <= 4")
    assert all(centre > 2 and spread < centre for centre, spread in centres)


def plainly(folder: Path, subject: Subject, masked: tuple[int, ...]) -> dict[str, tuple[float, float, float]]:
    """Accuracy, loss and rank with value columns set to zero, by plain transformers, one window at a time."""
    model = AutoModelForCausalLM.from_pretrained(folder).float().eval()
    with torch.no_grad():
        model.transformer.h[LAYER].mlp.fc_out.weight[:, list(masked)] = 0
    store, size = subject.store, 32
    known = subject.manifest.model.vocabulary
    found: dict[str, list[tuple[bool, float, float]]] = {"concept": [], "near": [], "general": []}
    for file in np.flatnonzero(units_of(store).test):
        ids = store.token_ids[store.tokens_of(file)].astype(np.int64)
        (mask,) = subject.matching.token_masks([MAIL], store, int(file), lambda _done: None)
        for start in range(0, len(ids), size):
            window, inside = torch.tensor(ids[None, start : start + size]), mask[start : start + size]
            with torch.no_grad():
                logprobs = model(window).logits[0].log_softmax(-1)
            if inside.any() and not inside[1:].any():
                continue
            for at in range(1, len(inside)):
                true = int(window[0, at])
                better = sorted(logprobs[at - 1, :known].tolist(), reverse=True)
                rank = better.index(float(logprobs[at - 1, true])) + 1
                group = "general" if not inside.any() else "concept" if inside[at] else "near"
                found[group].append((rank == 1, -float(logprobs[at - 1, true]), np.log(rank)))
    means = {group: np.array(values).mean(axis=0) for group, values in found.items()}
    return {group: (mean[0], mean[1], np.exp(mean[2])) for group, mean in means.items()}


@pytest.mark.parametrize(("role", "masked"), [("baseline", ()), ("main", CARRIERS)])
def test_plain_transformers_find_the_same_numbers(
    edited: Path, subject: Subject, planted: tuple[Path, Path], role: str, masked: tuple[int, ...]
) -> None:
    for group, expected in plainly(planted[0], subject, masked).items():
        measured = [effect(edited, role, group, measure=measure)[0] for measure in ("accuracy", "loss", "rank")]
        assert measured == pytest.approx(expected, rel=1e-4), group


@pytest.mark.parametrize(("key", "there_is"), [("L0.K48", "keys 0 to 47"), ("L3.K0", "layers 0 to 2")])
def test_a_basket_with_a_key_that_the_model_does_not_have_is_refused(subject: Subject, key: str, there_is: str) -> None:
    with pytest.raises(UnknownKey, match=rf"{re.escape(key)}: .*{there_is}"):
        edit(subject, picker="basket", basket=f"L{LAYER}.K2,{key}")


def test_a_basket_with_factors_is_masked_as_it_is(subject: Subject, run_path: Path) -> None:
    names = ",".join(f"L{LAYER}.K{index}:{factor}" for index, factor in zip(CARRIERS, (0, 0, 0.5, 0), strict=True))
    edit(subject, picker="basket", basket=names)
    assert rows(run_path, "SELECT keys, factor, share FROM edits") == [(4, None, None)]
    assert [row[0] for row in rows(run_path, "SELECT factor FROM edit_keys ORDER BY rank")] == [0, 0, 0.5, 0]
    assert 0 < effect(run_path, "main", "concept", measure="loss")[1] < 1


def test_keys_of_another_concept_change_that_one_and_not_this_one(subject: Subject, run_path: Path) -> None:
    edit(subject, picker="basket", basket=",".join(f"L{LAYER}.K{index}" for index in OTHERS))
    assert abs(effect(run_path, "main", "concept")[1]) < 0.02
    assert effect(run_path, "main", "collateral", MONEY.part)[1] < -0.9


def test_many_edits_of_one_run_stand_side_by_side(subject: Subject, run_path: Path) -> None:
    first = edit(subject, draws=2, tokens=1000)
    second = edit(subject, draws=2, tokens=1000, factor=0.5)
    assert first.part != second.part
    assert analysis_path(run_path, "edit", first.part).is_file()
    assert {row[0] for row in rows(run_path, "SELECT edit FROM edits")} == {first.part, second.part}
    half = rows(run_path, "SELECT DISTINCT factor FROM edit_keys WHERE edit = ?", second.part)
    assert half == [(0.5,)]


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
