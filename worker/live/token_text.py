"""From prompts to token ids, and from token ids to what people read."""

from collections.abc import Sequence
from itertools import accumulate

from transformers import PreTrainedTokenizerFast

from keyscope.contract.wire import Alternative, TextToken
from keyscope.worker.model.vocabulary import token_bytes


class TokenText:
    """A model's tokenizer; threads may share it, for always called in the same way it never changes its settings."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, bos: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._bos = list(bos)
        self._bytes = token_bytes(tokenizer)

    def encode(self, prompt: str) -> list[int]:
        """The prompt's token ids, as the tokenizer makes them for a text that is to go on.

        The BOS that the tokenizer itself adds is put in front, unless the prompt already begins with its text; what it
        adds at the end of a text is left out. The text of a special token, such as `<|endoftext|>`, is that token.
        """
        ids = list(self._tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])
        return ids if ids[: len(self._bos)] == self._bos else self._bos + ids

    def starts(self, token_ids: Sequence[int], text: str) -> list[int] | None:
        """Where each token starts in the text's UTF-8, a BOS in front of it at 0.

        None where the tokens' bytes are not the text's, but for a space that the tokenizer puts before it.
        """
        spelled = [self._bytes[token_id] for token_id in token_ids]
        added = len(self._bos) if list(token_ids[: len(self._bos)]) == self._bos else 0
        for prefix in (b"".join(spelled[:added]), b"".join(spelled[:added]) + b" ", b""):
            if b"".join(spelled) == prefix + text.encode():
                ends = accumulate(map(len, spelled), initial=-len(prefix))
                return [max(0, end) for end in ends][:-1]
        return None

    def spell(self, token_id: int) -> tuple[str, str | None]:
        """A token's text, and its bytes in hexadecimal where they are not UTF-8 by themselves."""
        spelled = self._bytes[token_id]
        try:
            return spelled.decode(), None
        except UnicodeDecodeError:
            return spelled.decode(errors="replace"), spelled.hex()

    def token(self, token_id: int) -> TextToken:
        """A token as answers have it."""
        token, token_hex = self.spell(token_id)
        return TextToken(token=token, token_hex=token_hex, token_id=token_id)

    def alternative(self, token_id: int, logprob: float) -> Alternative:
        """A token with its log-probability."""
        token, token_hex = self.spell(token_id)
        return Alternative(token=token, token_hex=token_hex, token_id=token_id, logprob=logprob)

    def join(self, token_ids: Sequence[int]) -> str:
        """The text of several tokens: their bytes together, so a character may be spread over tokens."""
        return b"".join(map(self._bytes.__getitem__, token_ids)).decode(errors="replace")
