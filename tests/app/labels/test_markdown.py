import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyscope.app.labels import markdown
from keyscope.app.labels.markdown import mentioned, render

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "[x]( jAvAsCrIpT:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:x)",
    "[x](//evil.example)",
    "[x](/logout)",
    "![x](http://example.com/x.png)",
    '[x](http://example.com/" onclick="alert(1))',
    '@"<img src=x onerror=alert(1)>"',
    "`<b onmouseover=alert(1)>`",
    "```<script>\n</script>\n```",
    "&lt;script&gt;&#60;script&#62;",
    "<svg/onload=alert(1)>",
    "[<img src=x onerror=alert(1)>](http://example.com)",
]


class Tags(HTMLParser):
    """Collects the tags of a piece of HTML as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def assert_harmless(html: str) -> None:
    for tag, attributes in Tags(html).tags:
        assert tag in markdown.TAGS
        assert set(attributes) <= {"href", "rel", "class", "start", "title"}
        if "href" in attributes:
            assert re.match(r"https?:", attributes["href"] or "", re.IGNORECASE)
            assert "noopener" in (attributes["rel"] or "")


def test_the_subset_is_drawn():
    html = render("a *b* **c** `d`\n\n- e\n\n1. f\n\n```\n  g\n```\n\n[h](https://example.com/?a=1)\nnext")
    for piece in (
        "<em>b</em>",
        "<strong>c</strong>",
        "<code>d</code>",
        "<ul>\n<li>e</li>",
        "<ol>\n<li>f</li>",
        "<pre><code>  g\n</code></pre>",
        '<a href="https://example.com/?a=1" rel="noopener noreferrer nofollow">h</a>',
    ):
        assert piece in html


def test_what_is_not_of_the_subset_stays_text():
    html = render("# head\n> quote\n\n| a |\n|---|\n\n<b>x</b> ![i](http://example.com/i.png)")
    assert {tag for tag, _ in Tags(html).tags} == {"p", "a"}
    assert "# head" in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_harmless(text: str):
    assert_harmless(render(text))


def test_addresses_that_are_not_of_the_web_make_no_link():
    for text in HOSTILE[2:8]:
        assert "<a" not in render(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*HOSTILE, *"<>[]()!`*_@\"'&\n -1.", "http:", "a"]), max_size=12).map("".join))
def test_no_mixture_is_harmful(text: str):
    assert_harmless(render(text))


def test_people_are_mentioned_by_word_or_in_quotes():
    text = 'hi @ada, **@Zoë**: ask @"Ben  Lovelace" or @数 and @ada; not x@y.org, `@code`, [@link](http://example.com)\n\n    @block'
    assert mentioned(text) == ["ada", "Zoë", "Ben Lovelace", "数"]
    assert '<b class="mention">@Ben Lovelace</b>' in render(text)
    assert "<code>@code</code>" in render(text)


def test_a_name_in_quotes_is_escaped():
    assert render('@"<i>"') == '<p><b class="mention">@&lt;i&gt;</b></p>\n'
