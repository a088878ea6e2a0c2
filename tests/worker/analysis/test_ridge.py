"""The ridge lens: planted maps are found again, shuffled targets teach nothing, and both lenses are read on other projects."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from keyscope.contract.runfile import open_run
from keyscope.worker.analysis.agreement import ridge
from keyscope.worker.analysis.agreement.analysis import Agreement
from keyscope.worker.analysis.agreement.plan import AgreementSettings, fitting_windows, tuning_windows
from keyscope.worker.analysis.agreement.ridge import LEAST_PER_DIMENSION, Ridge, fit, mapped
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.units import units_of

SETTINGS = AgreementSettings(tokens=0, targets=40, lens_tokens=0)
WIDTH, WINDOW = 32, 32


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """Residuals whose last is an affine map of the first two, with a little noise; the middle one is noise itself."""
    generator = torch.Generator().manual_seed(0)
    turn, offset = torch.randn(WIDTH, WIDTH, generator=generator), 3 * torch.randn(WIDTH, generator=generator)

    def residuals(_subject: Subject, windows: list[int], _advance: Any) -> Any:
        for _ in windows:
            first, noise = torch.randn(2, 60, WIDTH, generator=generator)
            last = first @ turn + offset + 1e-3 * torch.randn(60, WIDTH, generator=generator)
            yield torch.stack([first, noise, last])

    monkeypatch.setattr(ridge, "_residuals", residuals)
    return turn, offset


def test_a_planted_affine_map_is_recovered_and_shuffled_targets_teach_only_the_mean(
    read_only: Subject, planted: tuple[Tensor, Tensor]
) -> None:
    turn, offset = planted
    found = fit(read_only, range(20), range(2), 0, lambda _done: None)  # type: ignore[arg-type]
    lens = Ridge.of(read_only.model, found)
    assert lens is not None
    assert torch.allclose(lens.maps[0], torch.cat([turn, offset[None]]), atol=2e-3)
    assert found["penalties"][0] <= 1e-4  # hardly any is needed
    assert float(lens.maps[1, :-1].abs().mean()) < 0.2  # noise says nothing
    assert float(lens.shuffled[0, :-1].abs().mean()) < 0.2 * float(turn.abs().mean())
    assert torch.allclose(lens.shuffled[0, -1], offset, atol=0.6)
    residual = torch.randn(5, WIDTH)
    assert torch.allclose(mapped(lens.maps, 2, residual), residual)


def test_too_few_tokens_give_no_lens(read_only: Subject, planted: tuple[Tensor, Tensor]) -> None:
    found = fit(read_only, range(2), range(1), 0, lambda _done: None)  # type: ignore[arg-type]
    assert found["fitted"] == 120 < LEAST_PER_DIMENSION * WIDTH
    assert Ridge.of(read_only.model, found) is None


def test_lenses_are_fitted_and_read_on_parts_that_share_no_project(subject: Subject) -> None:
    units = units_of(subject.store)
    fitted = {window.file for window in fitting_windows(subject, SETTINGS)}
    tuned = {window.file for window in tuning_windows(subject, SETTINGS)}
    assert fitted == set(np.flatnonzero(units.pick))
    assert tuned <= set(np.flatnonzero(units.tune))
    analyse(subject, Agreement(SETTINGS))
    with open_run(subject.path) as connection:
        ((n,),) = connection.execute("SELECT DISTINCT n FROM agreement_lenses WHERE split = 'all'").fetchall()
    assert n == subject.store.counted[units.test].sum()


def test_both_lenses_equal_those_of_plain_transformers_and_numpy(computed: Any, subject: Subject) -> None:
    """Least squares with the chosen penalty, in numpy, on the hidden states of plain transformers."""
    plain = AutoModelForCausalLM.from_pretrained(computed[0], dtype=torch.float32).eval()
    store, units = subject.store, units_of(subject.store)
    vocabulary = subject.model.facts.vocabulary

    def hidden(files: np.ndarray) -> list[np.ndarray]:
        taken: list[Tensor] = []
        hook = plain.transformer.h[-1].register_forward_hook(lambda _m, _i, out: taken.append(out[0]))
        layers: list[list[np.ndarray]] = [[], [], []]
        for file in files:
            ids = store.token_ids[store.tokens_of(file)].astype(np.int64)
            for start in range(0, len(ids), WINDOW):
                with torch.no_grad():
                    states = plain(torch.tensor(ids[None, start : start + WINDOW]), output_hidden_states=True)
                last = taken.pop().reshape(1, -1, WIDTH)
                for layer, state in zip(layers, (*states.hidden_states[1:-1], last), strict=True):
                    layer.append(state[0].numpy())
        hook.remove()
        return [np.concatenate(layer) for layer in layers]

    def logprobs(residual: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            logits = plain.lm_head(plain.transformer.ln_f(torch.from_numpy(residual.astype(np.float32))))
        return logits[:, :vocabulary].double().log_softmax(dim=1).numpy()

    analysis = Agreement(SETTINGS)
    penalties = fit(
        subject, fitting_windows(subject, SETTINGS), tuning_windows(subject, SETTINGS), 0, lambda _done: None
    )["penalties"]
    analyse(subject, analysis)
    with open_run(subject.path) as connection:
        rows = connection.execute(
            "SELECT lens, control, measure, layer, estimate FROM agreement_lenses WHERE split = 'all'"
        ).fetchall()
    found = {row[:4]: row[4] for row in rows}
    fitted, tested = hidden(np.flatnonzero(units.pick)), hidden(np.flatnonzero(units.test))
    own = logprobs(tested[-1])
    agreeing = {"logit": [], "ridge": []}
    for layer in range(3):
        known = np.c_[fitted[layer], np.ones(len(fitted[layer]))].astype(np.float64)
        square = known.T @ known
        penalty = np.diag([*[penalties[layer] * np.diag(square)[:-1].mean()] * WIDTH, 0])
        solved = np.linalg.solve(square + penalty, known.T @ fitted[-1])
        carried = tested[layer] if layer == 2 else np.c_[tested[layer], np.ones(len(tested[layer]))] @ solved
        for lens, residual in (("logit", tested[layer]), ("ridge", carried)):
            said = logprobs(residual)
            agrees = said.argmax(axis=1) == own.argmax(axis=1)
            agreeing[lens].append(agrees)
            assert found[lens, "", "agreement", layer] == pytest.approx(agrees.mean(), abs=0.002)
            kl = (np.exp(own) * (own - said)).sum(axis=1).mean()
            assert found[lens, "", "kl", layer] == pytest.approx(kl, rel=1e-3, abs=1e-5)
    for lens, agrees in agreeing.items():
        depth = 3 - np.cumprod(np.stack(agrees)[::-1], axis=0).sum(axis=0)
        assert found[lens, "", "depth", None] == pytest.approx(depth.mean(), abs=0.01)
    assert found["ridge", "", "kl", 1] < found["ridge", "shuffled_targets", "kl", 1]
    assert found["ridge", "shuffled_targets", "agreement", 2] < 1
