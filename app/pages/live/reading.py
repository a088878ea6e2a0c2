"""Shared by the pages on which a run's model reads a text: tokens, and keys with links to act on them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from keyscope.app.live.prompts import prompts_of
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.links import Links
from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import Manifest
from keyscope.contract.wire import ActivationsAnswer, Alternative, KeyActivity, TextToken


@dataclass(frozen=True, slots=True)
class ReadingKey:
    """An active key, with links to act on it."""

    activity: KeyActivity
    layer: int
    token: str
    """Token it fired on."""
    href: str
    masked: bool
    mask_href: str
    """The same page with the key masked, or unmasked."""
    live_href: str
    """The live page: continue the text up to the last chosen token without the key."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Formats a worker's answer about a text for one page."""

    run: Run
    links: Links
    here: Callable[[Links], str]
    """The page's own address with the basket of the given links."""

    def token(self, token: TextToken | Alternative) -> str:
        """A token as shown in lists."""
        return formats.token(self.run.vocabulary[token.token_id])

    def text(self, tokens: Sequence[TextToken]) -> str:
        """The text of some tokens, without an incomplete last character."""
        known = (self.run.vocabulary[token.token_id] for token in tokens)
        return b"".join(token.bytes for token in known if not token.special).decode(errors="ignore")

    def keys(self, answer: ActivationsAnswer) -> list[ReadingKey]:
        """The keys of an answer."""
        text = self.text(answer.tokens[: answer.token_index + 1])
        links = self.links.with_basket(replace(self.links.basket, run_id=self.run.run_id))
        found = []
        for each in answer.keys:
            key = KeyId.parse(each.key)
            found.append(
                ReadingKey(
                    activity=each,
                    layer=key.layer,
                    token=self.token(answer.tokens[each.token_index]),
                    href=self.links.key(self.run.run_id, key),
                    masked=key in links.basket,
                    mask_href=self.here(links.toggling(key)),
                    live_href=links.with_key(key).live(self.run.run_id, prompt=text),
                )
            )
        return found


def prompts_to_try(
    manifest: Manifest | None, href: Callable[[str, str], str]
) -> list[tuple[str, list[tuple[str, str]]]]:
    """Prompts by language of a run, each as title and address; `href` takes language and prompt."""
    by_language = groupby(prompts_of(manifest.languages if manifest else ()), lambda prompt: prompt.language)
    return [
        (language, [(prompt.title, href(language, prompt.text)) for prompt in prompts])
        for language, prompts in by_language
    ]


def probability(logprob: float) -> str:
    """A log-probability as a percentage."""
    return formats.share(math.exp(logprob))
