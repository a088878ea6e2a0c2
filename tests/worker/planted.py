"""Tiny models of known behaviour: keys with planted weights in an otherwise quiet CodeGen."""

import torch
from torch import nn

from tests.worker.models import tiny_model

QUIET = 0.02
"""Factor on everything that attention and unplanted keys write."""


def quiet_model(seed: int = 0, **more: object) -> nn.Module:
    """A CodeGen whose blocks hardly write, so a token's embedding reaches every layer unchanged.

    Embeddings have length one, in directions as far apart as the width allows.
    """
    model = tiny_model("codegen", seed, **more)
    with torch.no_grad():
        embeddings = model.transformer.wte.weight
        embeddings.copy_(nn.functional.normalize(embeddings - embeddings.mean(dim=1, keepdim=True), dim=1))
        model.lm_head.bias.zero_()
        for block in model.transformer.h:
            block.attn.out_proj.weight.mul_(QUIET)
            block.mlp.fc_out.weight.mul_(QUIET)
            block.mlp.fc_out.bias.zero_()
            block.ln_1.weight.fill_(1.0)
            block.ln_1.bias.zero_()
    return model


def plant_detector(model: nn.Module, layer: int, index: int, token_id: int, strength: float = 8.0) -> None:
    """Make a key fire on one token: its coefficient is about `strength` there and about 0 on other tokens."""
    mlp = model.transformer.h[layer].mlp
    width = model.config.n_embd
    with torch.no_grad():
        # the norm before the key centres the embedding and scales it to length sqrt(width)
        direction = model.transformer.wte.weight[token_id]
        mlp.fc_in.weight[index] = 4 * strength * direction / width**0.5
        mlp.fc_in.bias[index] = -3 * strength


def plant_value(model: nn.Module, layer: int, index: int, token_id: int, length: float = 4.0) -> None:
    """Make a key write towards one token, whose logit it then raises most."""
    with torch.no_grad():
        towards = model.lm_head.weight[token_id] * model.transformer.ln_f.weight
        towards = towards - towards.mean()
        model.transformer.h[layer].mlp.fc_out.weight[:, index] = length * towards / towards.norm()


def shuffled(model: nn.Module, seed: int = 0) -> nn.Module:
    """Shuffle every matrix of a model's blocks: the same numbers, nothing planted."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.transformer.h.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return model


def blind(model: nn.Module, token_ids: list[int]) -> nn.Module:
    """Make all keys blind to the embeddings of these tokens."""
    others = torch.linalg.qr(model.transformer.wte.weight[token_ids].T)[0]
    with torch.no_grad():
        for block in model.transformer.h:
            block.mlp.fc_in.weight -= block.mlp.fc_in.weight @ others @ others.T
    return model


def plant_concept(model: nn.Module, keys: list[tuple[int, int]], token_ids: list[int], next_id: int) -> None:
    """Let keys, given by layer and index, fire on all of some tokens and write towards the token that follows.

    They write little, so the keys of later layers still read the tokens unchanged.
    """
    strength, width = 1.5, model.config.n_embd
    towards_all = torch.linalg.pinv(model.transformer.wte.weight[token_ids]) @ torch.ones(len(token_ids))
    for layer, index in keys:
        plant_value(model, layer, index, next_id, length=0.15)
        mlp = model.transformer.h[layer].mlp
        with torch.no_grad():
            mlp.fc_in.weight[index] = 4 * strength * towards_all / width**0.5
            mlp.fc_in.bias[index] = -3 * strength
