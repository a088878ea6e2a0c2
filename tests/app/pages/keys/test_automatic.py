"""The line that rules make about a key."""

from collections.abc import Sequence

import pytest
from fastapi.testclient import TestClient

from keyscope.app.pages.keys import automatic
from keyscope.app.queries import Token, TokenLogit, Vocabulary
from keyscope.app.queries.examples import TriggerToken
from keyscope.contract.code_parts import Part

TOKENS = (b"for", b" for", b" x", b"a", b"_", b".", b"/", b"\n", b"\n\n  ", b"ing", b"ed", b"\xe2", b"7")
IDS = {token: at for at, token in enumerate(TOKENS)}
VOCABULARY = Vocabulary([Token(at, token) for at, token in enumerate(TOKENS)])


def triggers(*tokens: bytes, language: str = "go", next_: bytes | None = None) -> list[TriggerToken]:
    return [TriggerToken(language, "max", IDS[token], None if next_ is None else IDS[next_]) for token in tokens]


def said(found: list[TriggerToken], parts: list[int] | None = None, promoted: tuple[bytes, ...] = ()) -> list[str]:
    logits = [TokenLogit(VOCABULARY[IDS[token]], 1.0) for token in promoted]
    clauses = automatic.line(found, parts or [], logits, VOCABULARY)
    return [" ".join((each.before, *each.tokens, each.after)).strip() for each in clauses]


@pytest.mark.parametrize(
    ("tokens", "line"),
    [
        ((b"_",) * 6 + (b"a", b".", b"/", b"7"), ["token detector: _ 60\N{NARROW NO-BREAK SPACE}% of its strongest triggers"]),
        ((b"for", b" for") * 3 + (b"a", b".", b"_", b"7"), ["fires on ·for for 60\N{NARROW NO-BREAK SPACE}% of its strongest triggers"]),
        ((b".", b"/", b"_") * 3 + (b"a",), ["fires on . / _ 90\N{NARROW NO-BREAK SPACE}% of its strongest triggers"]),
        ((b"a", b".", b"7", b"\n", b" x", b"for", b"ing", b"_", b"\xe2", b"ed"), []),
        ((b"_",) * 7, []),
    ],
)  # fmt: skip
def test_a_line_is_made_of_clear_evidence_alone(tokens: tuple[bytes, ...], line: list[str]) -> None:
    assert [sorted(each.split()) for each in said(triggers(*tokens))] == [sorted(each.split()) for each in line]


def test_tokens_of_one_sort_are_named_by_it() -> None:
    tokens = (b"a", b"for", b"ing", b"ed", b"a", b"for", b"ing", b"ed", b".", b"\n")
    assert said(triggers(*tokens))[0].startswith("fires on parts inside words, such as ")
    assert said(triggers(*tokens, b"/", b"_")) == [], "less than 70 % of them"
    assert automatic._sort(VOCABULARY[IDS[b"\n\n  "]]) == "line breaks"
    assert automatic._sort(VOCABULARY[IDS[b"7"]]) == "numbers"
    assert automatic._sort(VOCABULARY[IDS[b"_"]]) == "punctuation and operators"
    assert automatic._sort(VOCABULARY[IDS[b" x"]]) == "beginnings of words"
    assert automatic._sort(VOCABULARY[IDS[b"ing"]]) == "parts inside words"
    assert automatic._sort(VOCABULARY[IDS[b"\xe2"]]) == ""


def test_a_language_is_named_if_nearly_all_triggers_of_several_are_in_it() -> None:
    tokens = (b"a", b".", b"7", b"\n", b" x", b"for", b"ing", b"_")
    assert said(triggers(*tokens)) == [], "a tab of one language says nothing by it"
    assert said(triggers(*tokens) + triggers(b"ed", language="java")) == ["mostly in Go"]
    assert said(triggers(*tokens), parts=[Part.COMMENT] * 8) == ["mostly in comments"]
    assert said(triggers(*tokens), parts=[Part.COMMENT] * 4 + [Part.CODE] * 4) == []


def test_what_follows_and_what_is_promoted_are_named() -> None:
    tokens = (b"a", b".", b"7", b"\n", b" x", b"for", b"ing", b"_")
    share = "100\N{NARROW NO-BREAK SPACE}%"
    assert said(triggers(*tokens, next_=b"ed")) == [f"followed by ed in {share}"]
    found = said(triggers(*tokens, next_=b"ed"), promoted=(b"\xe2", b"ed"))
    assert found[1:] == [f"promotes what comes next: ed {share} of its strongest triggers"]
    assert said(triggers(*tokens), promoted=(b"ing", b"ed", b"a", b"for") * 2) == ["promotes parts inside words"]


def test_the_line_is_marked_and_hidden_in_blind_labelling(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automatic, "line", lambda *_: [automatic.Clause("fires on", ("for",), "always")])
    client.headers["X-Keyscope-Person"] = "Ada"
    queue = "/labels/queue?run=alpha&strategy=sample&key=L0.K1"
    for address in ("/runs/alpha/keys/L0.K1", queue):
        page = client.get(address).text
        assert 'popovertarget="help-automatic"' in page
        assert 'fires on <span class="tok">for</span> always' in page
    blind = client.get(f"{queue}&blind=true").text
    assert "help-automatic" not in blind
    assert "always" not in blind


@pytest.mark.parametrize(("narrowed", "told"), [("", True), ("?show=random", False), ("?within=code", False)])
def test_where_a_key_fires_is_told_by_its_strongest_triggers_alone(
    reader: TestClient, monkeypatch: pytest.MonkeyPatch, narrowed: str, told: bool
) -> None:
    given: list[Sequence[int]] = []
    monkeypatch.setattr(automatic, "line", lambda _triggers, parts, *_: given.append(parts) or [])
    reader.get(f"/runs/alpha/keys/L0.K1{narrowed}")
    [parts] = given
    assert bool(parts) is told
