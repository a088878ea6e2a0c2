"""Tiny encoder–decoders with seeded random weights, saved for `load_model` to find, and their tokenizer."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import AutoModelForSeq2SeqLM, PreTrainedTokenizerFast, T5Config

from tests.worker.models import CODE

ENCODER_LAYERS, DECODER_LAYERS = 2, 3
WIDTH, KEYS = 16, 24
SENTINELS = 12
PADDED_VOCABULARY = 400
_PROJECTIONS = {"relu": "relu", "gated": "gated-gelu"}
KINDS = tuple(_PROJECTIONS)
"""`relu`, like T5 and CodeT5: the head is the embedding, scaled. `gated`, like T5 1.1: it is a matrix of its own."""


def t5_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE that ends every text with `</s>` and has sentinels, like that of CodeT5."""
    sentinels = [f"<extra_id_{number}>" for number in range(SENTINELS)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "</s>", *sentinels]
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CODE, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", additional_special_tokens=sentinels
    )


def t5_model(kind: str, seed: int = 0, **more: Any) -> nn.Module:
    """A model of a kind, with weights large enough for sharp, varied predictions, and norms that are not 1."""
    sizes = {"d_model": WIDTH, "d_ff": KEYS, "d_kv": 8, "num_heads": 2, "vocab_size": PADDED_VOCABULARY}
    layers = {"num_layers": ENCODER_LAYERS, "num_decoder_layers": DECODER_LAYERS}
    tied = kind == "relu"
    options = {"feed_forward_proj": _PROJECTIONS[kind], "tie_word_embeddings": tied, "decoder_start_token_id": 0}
    model: Any = AutoModelForSeq2SeqLM.from_config(T5Config(**sizes | layers | options | more))
    if not tied:
        model.lm_head.weight = nn.Parameter(torch.zeros(PADDED_VOCABULARY, WIDTH))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            middle, spread = (1.0, 0.1) if parameter.dim() == 1 else (0.0, 0.3)
            parameter.copy_(middle + spread * torch.randn(parameter.shape, generator=generator))
        # the scale of the tied head makes logits small
        model.shared.weight.mul_(4 if tied else 1)
    result: nn.Module = model.eval()
    return result


def save_t5(folder: Path, kind: str, seed: int = 0, **more: Any) -> Path:
    """Save a tiny model with its tokenizer and return the folder."""
    t5_model(kind, seed, **more).save_pretrained(folder)
    t5_tokenizer().save_pretrained(folder)
    return folder
