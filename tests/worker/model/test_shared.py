"""The guard of shared models: a test that edits one or leaves a hook on it fails, and no other test does."""

import pytest
import torch

from keyscope.worker.model.code_model import CodeModel
from tests.worker.shared import untouched


def test_an_edited_weight_is_named_and_put_back(own_tiny: CodeModel) -> None:
    values = own_tiny.layers[1].values
    before = values.clone()
    with pytest.raises(AssertionError, match=r"edited \S+\.weight of a shared model"), untouched(own_tiny):
        values[3] = 0
    assert torch.equal(values, before)


def test_a_hook_left_behind_is_noticed(own_tiny: CodeModel) -> None:
    with pytest.raises(AssertionError, match="left a hook"), untouched(own_tiny):
        own_tiny.layers[0].down.register_forward_pre_hook(lambda _module, _inputs: None)


def test_a_model_that_was_only_read_passes(own_tiny: CodeModel) -> None:
    with untouched(own_tiny):
        own_tiny.logits(torch.tensor([[1, 2, 3]]))
