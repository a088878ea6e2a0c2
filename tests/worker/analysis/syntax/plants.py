"""A transparent GPT-2: its residual shows the current and the previous token, and its keys read what is planted.

The residual has three parts that do not touch: the token's embedding, a copy of the token before it, brought there by
the only head, and the position. Keys write nothing.
"""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedTokenizerFast

VOCABULARY = 512
WINDOW = 48
PART = 128
WIDTH = 2 * PART + WINDOW
KEYS = 24
LAYERS = 2
STRENGTH = 16.0
KEYWORDS = ("return", "if", "for", "in", "not", "and", "or", "else", "while", "pass", "del", "assert", "import", "def")
NAMES = [
    "value",
    "count",
    "total",
    "index",
    "left",
    "right",
    "node",
    "item",
    "size",
    "path",
    "text",
    "line",
    "user",
    "file",
    "name",
    "start",
]


class Plants:
    """The model with its tokenizer, while keys are planted."""

    def __init__(self, texts: list[str], seed: int = 0) -> None:
        self.tokenizer = _tokenizer(texts)
        self.model = _transparent_model(seed)
        self._scale = (WIDTH / 3) ** 0.5
        """Scale of the norm before the keys: three parts of length one."""

    def token(self, text: str) -> int:
        """Token id of a text that is a single token."""
        (token,) = self.tokenizer.encode(text, add_special_tokens=False)
        return int(token)

    def detector(self, layer: int, index: int, *texts: str) -> None:
        """Let a key fire on each of these tokens; if there are several, the context decides among them."""
        towards = self._towards([self.token(text) for text in texts])
        if len(texts) > 1:
            towards[PART:] = 0.005 * torch.randn(PART + WINDOW, generator=torch.Generator().manual_seed(index))
        self._plant(layer, index, towards, 0.75)

    def bigram(self, layer: int, index: int, before: str, here: str) -> None:
        """Let a key fire on one token right after another."""
        towards = self._towards([self.token(here)]) + self._towards([self.token(before)]).roll(PART)
        self._plant(layer, index, towards, 1.75)

    def everywhere(self, layer: int, index: int) -> None:
        """Let a key fire everywhere, a little stronger here and there."""
        self._plant(layer, index, 0.05 * torch.randn(WIDTH, generator=torch.Generator().manual_seed(1)), -0.5)

    def shuffle(self, seed: int = 0) -> None:
        """Shuffle the weights of all keys."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for block in self.model.transformer.h:
                for parameter in (block.mlp.c_fc.weight, block.mlp.c_fc.bias):
                    order = torch.randperm(parameter.numel(), generator=generator)
                    parameter.copy_(parameter.flatten()[order].view_as(parameter))

    def save(self, folder: Path) -> Path:
        """Save model and tokenizer and return the folder."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return folder

    def _towards(self, tokens: list[int]) -> torch.Tensor:
        """A direction whose product with each token's embedding is one."""
        towards = torch.zeros(WIDTH)
        embeddings = self.model.transformer.wte.weight.detach()[tokens, :PART]
        towards[:PART] = torch.linalg.pinv(embeddings) @ torch.ones(len(tokens))
        return towards

    def _plant(self, layer: int, index: int, towards: torch.Tensor, threshold: float) -> None:
        mlp = self.model.transformer.h[layer].mlp
        with torch.no_grad():
            mlp.c_fc.weight[:, index] = STRENGTH * towards / self._scale
            mlp.c_fc.bias[index] = -STRENGTH * threshold


def code(files: int, seed: int = 0) -> list[str]:
    """Small Python files of random statements over random names, all different."""
    draw = random.Random(seed)
    return ["".join(_statement(draw, 0) for _ in range(draw.randrange(3, 7))) for _ in range(files)]


def _statement(draw: random.Random, depth: int) -> str:
    indent = "    " * depth

    def block() -> str:
        return "".join(_statement(draw, depth + 1) for _ in range(draw.randrange(1, 3)))

    name, one, two = draw.choice(NAMES), _expression(draw), _expression(draw)
    simple = (f"{name} = {one}", f"assert {one}, {two}", f"del {name}[{one}]", f"{one}", f"import {name}", "pass")
    if depth == 2 or draw.random() < 0.6:
        return f"{indent}{draw.choice(simple)}\n"
    heads = (f"if {one}", f"while {one}", f"for {name} in {one}", f"def {name}({draw.choice(NAMES)})", "else")
    head = draw.choice(heads)
    if head == "else":
        return f"{indent}if {one}:\n{block()}{indent}else:\n{block()}"
    return f"{indent}{head}:\n{block()}" + (f"{indent}    return {two}\n" if head.startswith("def") else "")


def _expression(draw: random.Random, depth: int = 0) -> str:
    name = draw.choice(NAMES)
    if depth == 2 or draw.random() < 0.3:
        return name
    one, two = _expression(draw, depth + 1), _expression(draw, depth + 1)
    return draw.choice(
        (
            f"{one} and {two}",
            f"{one} or {two}",
            f"not {one}",
            f"{one} if {two} else {name}",
            f"{one} in {two}",
            f"{name}({one}, {two})",
            f"{name}.{draw.choice(NAMES)}",
            f"{name}[{one}]",
            f"{one} + {two}",
            f"({one}, {two})",
        )
    )


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<|endoftext|>"],
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def _transparent_model(seed: int) -> nn.Module:
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=WINDOW,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=1,
        n_inner=KEYS,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        embeddings = torch.randn(VOCABULARY, PART, generator=generator)
        model.transformer.wte.weight[:, :PART] = nn.functional.normalize(embeddings - embeddings.mean(1, True), dim=1)
        model.transformer.wpe.weight[:, 2 * PART :] = torch.eye(WINDOW)
        for block in model.transformer.h:
            block.ln_1.weight.fill_(1)
            block.ln_2.weight.fill_(1)
            block.mlp.c_fc.weight.normal_(0, STRENGTH / WIDTH, generator=generator)
            block.mlp.c_fc.bias.normal_(-1, 1, generator=generator)
            block.mlp.c_proj.weight.normal_(0, 1e-4, generator=generator)
        model.transformer.ln_f.weight.fill_(1)
        _look_back(model.transformer.h[0].attn)
    return model.eval()


def _look_back(attention: nn.Module) -> None:
    """Let the head copy the previous token, undoing the norm's scale; the first token copies itself."""
    scale = (WIDTH / 2) ** 0.5
    positions = torch.arange(WINDOW)
    query, key, value = attention.c_attn.weight.split(WIDTH, dim=1)
    query[2 * PART + positions, (positions - 1).clamp(min=0)] = 4.0
    key[2 * PART + positions, positions] = 4.0
    value[torch.arange(PART), torch.arange(PART)] = 1 / scale
    attention.c_proj.weight[torch.arange(PART), PART + torch.arange(PART)] = 1.0
