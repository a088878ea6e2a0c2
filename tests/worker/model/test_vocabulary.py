import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from keyscope.worker.model.vocabulary import prefix_ids, token_bytes, vocabulary_size
from tests.worker.models import CODE, EOS, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
BYTES = token_bytes(TOKENIZER)


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """Like Llama's: a space is prepended, spaces are U+2581, unknown characters become bytes such as <0xF0>."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\N{LOWER ONE EIGHTH BLOCK}"]
    pieces += [chr(code) for code in range(ord("!"), ord("~") + 1)]
    tokenizer = Tokenizer(
        models.BPE({piece: i for i, piece in enumerate(pieces)}, [], byte_fallback=True, unk_token="<unk>")
    )
    underline = "\N{LOWER ONE EIGHTH BLOCK}"
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(underline), normalizers.Replace(" ", underline)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(underline, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@given(st.text())
def test_the_tokens_of_any_text_join_to_its_exact_bytes(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert b"".join(BYTES[token_id] for token_id in ids) == text.encode()


@pytest.mark.parametrize("text", CODE)
def test_the_tokens_of_code_join_to_its_exact_bytes(text: str) -> None:
    ids = TOKENIZER(text)["input_ids"]
    assert len(ids) < len(text.encode())
    assert b"".join(BYTES[token_id] for token_id in ids) == text.encode()


@pytest.mark.parametrize("text", ["def f(x):\n\treturn x  # ü 🙂", "a", "  b"])
def test_tokens_with_byte_fallback_join_to_the_text_with_a_space_in_front(text: str) -> None:
    tokenizer = byte_fallback_tokenizer()
    table = token_bytes(tokenizer)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert b"".join(table[token_id] for token_id in ids) == b" " + text.encode()
    assert table[3 + 0xF0] == b"\xf0"


def test_special_tokens_have_their_names_as_bytes() -> None:
    assert BYTES[0] == EOS.encode()
    assert len(BYTES) == len(TOKENIZER) == vocabulary_size(TOKENIZER)


def test_added_tokens_have_their_text_as_bytes_and_unused_ids_none() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("        ", normalized=False), AddedToken("é🙂", normalized=False)])
    table = token_bytes(tokenizer)
    ids = tokenizer("x        é🙂")["input_ids"]
    assert [table[token_id] for token_id in ids[1:]] == [b"        ", "é🙂".encode()]
    gaps = Tokenizer(models.WordLevel({"a": 0, "b": 5}, unk_token="a"))
    assert token_bytes(PreTrainedTokenizerFast(tokenizer_object=gaps)) == [b"a", b"", b"", b"", b"", b"b"]


def test_the_prefix_is_what_the_tokenizer_prepends_on_its_own() -> None:
    assert prefix_ids(tiny_tokenizer()) == []
    assert prefix_ids(tiny_tokenizer(bos=True)) == [0]
