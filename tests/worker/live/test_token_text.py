from concurrent.futures import ThreadPoolExecutor

import pytest

from keyscope.worker.live.token_text import TokenText
from keyscope.worker.model.vocabulary import prefix_ids
from tests.worker.models import CODE, EOS, tiny_tokenizer


def text_of(bos: bool) -> TokenText:
    tokenizer = tiny_tokenizer(bos)
    return TokenText(tokenizer, prefix_ids(tokenizer))


@pytest.mark.parametrize("text", CODE)
def test_a_prompt_is_encoded_as_the_tokenizer_does_and_comes_back_as_it_was(text: str) -> None:
    assert text_of(bos=False).encode(text) == tiny_tokenizer()(text)["input_ids"]
    assert text_of(bos=True).encode(text) == tiny_tokenizer(bos=True)(text)["input_ids"]
    assert text_of(bos=False).join(text_of(bos=False).encode(text)) == text


def test_a_prompt_that_begins_with_the_bos_gets_no_second_one() -> None:
    text = text_of(bos=True)
    assert tiny_tokenizer(bos=True)(EOS + "def")["input_ids"][:2] == [0, 0]
    assert text.encode(EOS + "def") == text.encode("def")
    assert text.encode("def").count(0) == 1


def test_the_text_of_a_special_token_is_that_token() -> None:
    ids = text_of(bos=False).encode(f"a{EOS}b")
    assert ids[1] == 0
    assert len(ids) == 3


def test_a_token_that_is_no_utf8_is_spelled_with_its_bytes_beside_it() -> None:
    text = text_of(bos=False)
    ids = text.encode("🙃")  # not in the training text, so it is spread over bytes
    spelled = [text.spell(token_id) for token_id in ids]
    assert len(ids) > 1
    assert bytes.fromhex("".join(hexadecimal or "" for _, hexadecimal in spelled)) == "🙃".encode()
    assert all("\N{REPLACEMENT CHARACTER}" in shown for shown, _ in spelled)
    assert text.join(ids) == "🙃"
    assert text.spell(text.encode("d")[0]) == ("d", None)


def test_threads_may_encode_at_the_same_time() -> None:
    text, prompts = text_of(bos=True), [code * 50 for code in CODE] * 8
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(text.encode, prompts)) == [text.encode(prompt) for prompt in prompts]
