"""Keys that saturate a norm have no gradient, and are found all the same by masking them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from keyscope.contract.keys import KeyId
from keyscope.worker.analysis.concepts.causal import Gifts
from keyscope.worker.analysis.concepts.masking import masked_losses, to_mask
from keyscope.worker.analysis.walk import Places
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.windows import Batch, Window
from tests.worker.models import KEYS, save, tiny_model

SATURATING = KeyId(1, 7)


def test_a_saturated_key_is_masked_and_costs_what_brute_force_finds(tmp_path: Any) -> None:
    plain = tiny_model("gpt2", activation_function="relu")
    block = plain.transformer.h[SATURATING.layer].mlp
    with torch.no_grad():
        # it always fires, and what it writes drowns everything else: the norms above see nothing but its direction
        block.c_fc.bias[SATURATING.index] = 20.0
        block.c_proj.weight[SATURATING.index] *= 200.0
    model = load_model(ModelSource(str(save(tmp_path, plain)), dtype="float32", device="cpu"))
    ids = torch.randint(model.facts.vocabulary, (1, 20), generator=torch.Generator().manual_seed(1))
    n = ids.shape[1]
    at = Places(torch.arange(n), np.arange(n), np.zeros(n, int), np.arange(n), np.zeros(n, int))
    batch, sites = Batch((Window(0, 0, n),), ids, read=(n,), prefix=0), np.isin(np.arange(n), [4, 9, 15])
    gifts = Gifts(model)
    gifts.add(batch, at, sites)
    first_order, writes = gifts.array(), gifts.largest_writes()
    number = SATURATING.layer * KEYS + SATURATING.index
    assert writes.argmax() == number
    chosen = to_mask(first_order, writes, 4, 1)
    assert number in chosen
    assert len(chosen) <= 5

    keys = [model.key_at(int(each)) for each in chosen]
    subject: Any = SimpleNamespace(model=model, batch=2)
    lost = masked_losses(subject, batch, at, sites, keys, lambda _done: None)

    def total() -> float:
        with torch.no_grad():
            logprobs = plain(ids).logits[0, :, : model.head_rows].double().log_softmax(dim=1)
        return float(sum(logprobs[site - 1, ids[0, site]] for site in np.flatnonzero(sites)))

    whole = total()
    for key, found in zip(keys, lost, strict=True):
        values = plain.transformer.h[key.layer].mlp.c_proj.weight
        kept = values[key.index].detach().clone()
        with torch.no_grad():
            values[key.index] = 0
            assert abs(found - (whole - total())) < 1e-3
            values[key.index] = kept
    true = lost[chosen.tolist().index(number)]
    assert abs(first_order[number]) < 0.1 * abs(true)  # the gradient is blind to it
