"""Render the Markdown of comments as safe HTML: paragraphs, emphasis, code, lists, links and mentions.

The parser accepts no raw HTML and only http and https addresses. Its output is sanitised as well, so a mistake in a rule
here cannot put a script on a page.
"""

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markupsafe import Markup

RULES = ("emphasis", "backticks", "fence", "code", "list", "link", "newline", "escape")
SCHEMES = {"http", "https"}
TAGS = {"p", "em", "strong", "code", "pre", "ul", "ol", "li", "a", "br", "b"}
MENTION = re.compile(r"""(?<![\w@])@(?:"(?P<quoted>[^"\n]{1,100})"|(?P<plain>\w(?:[\w.-]{0,98}\w)?))""")
"""`@ada` or, for a name with spaces, `@"Ada Lovelace"`."""


def render(text: str) -> Markup:
    """The text as sanitised HTML."""
    clean = nh3.clean(
        _PARSER.render(text),
        tags=TAGS,
        attributes={"a": {"href"}, "b": {"class"}, "ol": {"start"}},
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(clean)  # noqa: S704 - sanitised in the line above


def mentioned(text: str) -> list[str]:
    """The names a text mentions outside code, each once, in order."""
    names = [token.content for token in _walk(_PARSER.parse(text)) if token.type == "mention"]
    return list(dict.fromkeys(names))


def _http_only(address: str) -> bool:
    try:
        return urlsplit(address.strip()).scheme.lower() in SCHEMES
    except ValueError:
        return False


def _find_mentions(state: StateCore) -> None:
    """Turn mentions in running text into tokens; links and code are left alone."""
    for block in state.tokens:
        if block.type != "inline" or block.children is None:
            continue
        found: list[Token] = []
        links = 0
        for token in block.children:
            links += token.nesting if token.type in ("link_open", "link_close") else 0
            found += _cut(token) if token.type == "text" and not links else [token]
        block.children = found


def _cut(token: Token) -> Iterator[Token]:
    start = 0
    for match in MENTION.finditer(token.content):
        yield Token("text", "", 0, content=token.content[start : match.start()])
        name = " ".join((match["quoted"] or match["plain"]).split())
        yield Token("mention", "b", 0, content=name)
        start = match.end()
    yield Token("text", "", 0, content=token.content[start:])


def _draw_mention(tokens: Sequence[Token], at: int, _options: object, _env: object) -> str:
    return str(Markup('<b class="mention">@{}</b>').format(tokens[at].content))


def _walk(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _walk(token.children or ())


def _parser() -> MarkdownIt:
    parser = MarkdownIt("zero", {"html": False, "linkify": False}).enable(list(RULES))
    parser.validateLink = _http_only  # type: ignore[assignment, method-assign]
    parser.core.ruler.push("mentions", _find_mentions)
    parser.add_render_rule("mention", lambda _self, tokens, at, options, env: _draw_mention(tokens, at, options, env))
    return parser


_PARSER = _parser()
