"""The exact bytes of every token of a tokenizer."""

import json
from typing import Any

from transformers import PreTrainedTokenizerFast


def token_bytes(tokenizer: PreTrainedTokenizerFast) -> list[bytes]:
    """The bytes of each token id; empty for ids without a token.

    Joined, the tokens of a text give its UTF-8 bytes, for SentencePiece-like tokenizers with the space they add in front.
    A single token need not be valid UTF-8.
    """
    spelled = json.loads(tokenizer.backend_tokenizer.to_str())
    added = {token["id"]: token["content"] for token in spelled["added_tokens"]}
    byte_level = "ByteLevel" in _types(spelled.get("decoder"))
    table: list[bytes] = [b""] * vocabulary_size(tokenizer)
    for text, token_id in tokenizer.get_vocab().items():
        if token_id in added:
            table[token_id] = added[token_id].encode()
        elif byte_level:
            table[token_id] = bytes(map(_BYTE_OF.__getitem__, text))
        elif len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            table[token_id] = bytes([int(text[3:5], 16)])
        else:
            table[token_id] = text.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()
    return table


def vocabulary_size(tokenizer: PreTrainedTokenizerFast) -> int:
    """One more than the highest token id: more than the number of tokens if some ids are unused."""
    return 1 + max(tokenizer.get_vocab().values())


def prefix_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The special tokens (BOS) the tokenizer adds in front of a text."""
    return _added(tokenizer)[0]


def suffix_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The special tokens the tokenizer adds behind a text."""
    return _added(tokenizer)[1]


def _added(tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return list(whole[:start]), list(whole[start + len(plain) :])
    return [], []


def _types(decoder: dict[str, Any] | None) -> set[str]:
    if decoder is None:
        return set()
    return {decoder["type"]}.union(*(_types(part) for part in decoder.get("decoders", [])))


def _byte_alphabet() -> dict[str, int]:
    """The characters that byte-level BPE (GPT-2) writes for bytes: printable bytes stay, others are moved past 255."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    moved = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(moved)}


_BYTE_OF = _byte_alphabet()
