"""Predictions that are not finite are never taken for good ones."""

import math

import pytest
import torch

from keyscope.worker.analysis.edit.scores import KL, Before, score
from keyscope.worker.analysis.kinds import make_analysis
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.model.errors import LogitsNotFinite
from tests.worker.analysis.edit.conftest import LAYER, MAIL


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_place_with_logits_that_are_not_finite_is_refused(subject: Subject, value: float) -> None:
    residual = torch.zeros(3, subject.model.facts.width)
    targets = torch.tensor([1, 2, 3])
    score(subject.model, residual, targets, Before())
    residual[1] = value
    with pytest.raises(LogitsNotFinite, match="1 of 3 places"):
        score(subject.model, residual, targets, Before())


def test_the_divergence_is_that_of_the_predictions_before_from_those_now(shared: Subject) -> None:
    random = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 700, shared.model.facts.width, generator=random)
    targets, before = torch.zeros(700, dtype=torch.int64), Before()
    assert score(shared.model, first, targets, before)[KL].max() < 1e-6
    found = score(shared.model, second, targets, before)[KL]
    old, new = (shared.model.head(each).log_softmax(-1) for each in (first, second))
    expected = torch.nn.functional.kl_div(new, old, reduction="none", log_target=True).sum(1)
    assert found == pytest.approx(expected.detach().numpy(), rel=1e-4, abs=1e-6)


def test_factors_that_leave_the_range_of_numbers_end_the_edit(subject: Subject) -> None:
    basket = {"picker": "basket", "basket": f"L{LAYER}.K5:3e38", "draws": 2, "tokens": 1000}
    with pytest.raises(LogitsNotFinite, match="nearer to 1"):
        analyse(subject, make_analysis("edit", {"concept": MAIL.part, **basket}))
