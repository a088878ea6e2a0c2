"""What the two stacks of an encoder–decoder are given: how tokens of a file are framed, and how they are shared out."""

from collections.abc import Sequence
from itertools import count, takewhile
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from keyscope.contract.manifest import Framing
from keyscope.worker.model.vocabulary import prefix_ids, suffix_ids


class Source(NamedTuple):
    """What the encoder reads for a batch of decoder tokens: token ids and what is no padding, both [rows, tokens]."""

    token_ids: Tensor
    attention_mask: Tensor


class Shared(NamedTuple):
    """A window shared out between the stacks."""

    source: list[int]
    """Token ids of the encoder."""
    target: list[int]
    """Token ids of the decoder."""
    places: npt.NDArray[np.int64]
    """Where in `target` each of the window's tokens is; -1 for those that the encoder has."""


NOWHERE = np.zeros(0, dtype=np.int64)
"""The places of a window that the encoder reads whole."""


def framing_of(tokenizer: PreTrainedTokenizerFast, config: Any) -> Framing:
    """The special tokens of an encoder–decoder, from its tokenizer and its configuration."""
    vocabulary = tokenizer.get_vocab()
    names = takewhile(vocabulary.__contains__, (f"<extra_id_{number}>" for number in count()))
    padding = config.pad_token_id or 0
    start = getattr(config, "decoder_start_token_id", None)
    return Framing(
        start=padding if start is None else start,
        prefix=prefix_ids(tokenizer),
        suffix=suffix_ids(tokenizer),
        sentinels=[vocabulary[name] for name in names],
        padding=padding,
    )


def encoded(framing: Framing, token_ids: Sequence[int]) -> list[int]:
    """A text as the encoder reads it."""
    return [*framing.prefix, *token_ids, *framing.suffix]


def prompted(framing: Framing, token_ids: Sequence[int]) -> list[int]:
    """A prompt as the encoder reads it, with the first sentinel for what is to come unless it says where itself."""
    asked = [] if set(token_ids) & set(framing.sentinels) else framing.sentinels[:1]
    return encoded(framing, [*token_ids, *asked])


def blank(framing: Framing) -> list[int]:
    """A text of which everything is missing, as the encoder reads it."""
    return encoded(framing, framing.sentinels[:1]) or [framing.start]


def opening(framing: Framing) -> list[int]:
    """What the decoder has written before the first token of its answer to a prompt."""
    return [framing.start, *framing.sentinels[:1]]


def share(framing: Framing, token_ids: Sequence[int], decoded: npt.NDArray[np.bool_]) -> Shared:
    """Share a window out: every span of tokens that are `decoded` goes to the decoder, behind the sentinel left in its place.

    There must be a sentinel for every span, or none and one span.
    """
    source: list[int] = []
    target, places = [framing.start], np.full(len(token_ids), -1, dtype=np.int64)
    sentinels = iter(framing.sentinels)
    for at, token_id in enumerate(token_ids):
        if not decoded[at]:
            source.append(token_id)
            continue
        if at == 0 or not decoded[at - 1]:
            sentinel = [next(sentinels)] if framing.sentinels else []
            source += sentinel
            target += sentinel
        places[at] = len(target)
        target.append(token_id)
    return Shared(encoded(framing, source), target, places)


def padded(rows: Sequence[Sequence[int]], padding: int, device: torch.device) -> Source:
    """Token ids padded on the right, and what is no padding."""
    lengths = torch.tensor([len(row) for row in rows])
    longest = int(lengths.max())
    ids = torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows])
    return Source(ids.to(device), (torch.arange(longest) < lengths[:, None]).long().to(device))
