"""Encodes prompts, and spells tokens for people."""

from collections.abc import Sequence
from itertools import accumulate

from transformers import PreTrainedTokenizerFast

from keyscope.contract.wire import Alternative, TextToken
from keyscope.worker.model.vocabulary import token_bytes


class TokenText:
    """A model's tokenizer.

    Threads may share it: fast tokenizers change state only when options change, and it is always called the same way.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, bos: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._bos = list(bos)
        self._bytes = token_bytes(tokenizer)

    def encode(self, prompt: str) -> list[int]:
        """Encode a text that is to be continued.

        Adds the BOS that the tokenizer itself adds, unless the prompt begins with it, and none of the tokens it adds at
        the end. The text of a special token, such as `<|endoftext|>`, becomes that token.
        """
        ids = list(self._tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])
        return ids if ids[: len(self._bos)] == self._bos else self._bos + ids

    def starts(self, token_ids: Sequence[int], text: str) -> list[int] | None:
        """The byte at which each token starts in the text's UTF-8; an added BOS starts at 0.

        None if the tokens do not spell the text; a space that the tokenizer puts before it is allowed.
        """
        spelled = [self._bytes[token_id] for token_id in token_ids]
        added = len(self._bos) if list(token_ids[: len(self._bos)]) == self._bos else 0
        for prefix in (b"".join(spelled[:added]), b"".join(spelled[:added]) + b" ", b""):
            if b"".join(spelled) == prefix + text.encode():
                ends = accumulate(map(len, spelled), initial=-len(prefix))
                return [max(0, end) for end in ends][:-1]
        return None

    def spell(self, token_id: int) -> tuple[str, str | None]:
        """A token's text, and its bytes in hexadecimal if they are not valid UTF-8 on their own."""
        spelled = self._bytes[token_id]
        try:
            return spelled.decode(), None
        except UnicodeDecodeError:
            return spelled.decode(errors="replace"), spelled.hex()

    def token(self, token_id: int) -> TextToken:
        token, token_hex = self.spell(token_id)
        return TextToken(token=token, token_hex=token_hex, token_id=token_id)

    def alternative(self, token_id: int, logprob: float) -> Alternative:
        token, token_hex = self.spell(token_id)
        return Alternative(token=token, token_hex=token_hex, token_id=token_id, logprob=logprob)

    def join(self, token_ids: Sequence[int]) -> str:
        """The text of several tokens; bytes are joined first, because a character may span tokens."""
        return b"".join(map(self._bytes.__getitem__, token_ids)).decode(errors="replace")
