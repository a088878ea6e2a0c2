"""From the exact bytes of tokens, as a run file keeps them, to text."""

from collections.abc import Sequence

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def decode(tokens: Sequence[bytes]) -> list[str]:
    """The text of each token of a sequence; joined, they are the text of the whole sequence.

    A character whose bytes are split over several tokens belongs to the token with its first byte; the others get an
    empty text. A byte that is not UTF-8 even together with its neighbours becomes U+FFFD.
    """
    texts: list[str] = []
    broken: list[bytes] = []
    for token in tokens:
        try:
            text = token.decode()
        except UnicodeDecodeError:
            broken.append(token)
            continue
        if broken and token:
            # UTF-8 is self-synchronising: a token of whole characters cannot complete a neighbour's.
            texts += _decode_together(broken)
            broken = []
        if broken:
            broken.append(token)
        else:
            texts.append(text)
    return texts + _decode_together(broken)


def _decode_together(tokens: Sequence[bytes]) -> list[str]:
    owners = [at for at, token in enumerate(tokens) for _ in token]
    texts = [""] * len(tokens)
    position = 0
    for character in b"".join(tokens).decode(errors="surrogateescape"):
        lone = is_lone_byte(character)
        texts[owners[position]] += REPLACEMENT if lone else character
        position += 1 if lone else len(character.encode())
    return texts


def is_lone_byte(character: str) -> bool:
    """Whether a character stands for a byte that `surrogateescape` could not decode."""
    return "\udc80" <= character <= "\udcff"
