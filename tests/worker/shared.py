"""A model that many tests share, held to stay as it was loaded."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from keyscope.worker.model.code_model import CodeModel
from tests.worker.live.driving import count_hooks


@contextmanager
def untouched(model: CodeModel) -> Iterator[CodeModel]:
    """Lend a model to a test, and fail the test if it leaves edited weights or a hook behind.

    The weights are put back first, so only the test that edited them fails, not those after it.
    """
    weights = model.model.state_dict()
    before = {name: weight.clone() for name, weight in weights.items()}
    yield model
    edited = [name for name, weight in weights.items() if not torch.equal(weight, before[name])]
    model.model.load_state_dict(before)
    assert not edited, f"the test edited {', '.join(edited)} of a shared model: let it edit a copy"
    assert count_hooks(model.model) == 0, "the test left a hook on a shared model"
