"""How the examples of a key are drawn and narrowed down."""

import re
from collections import Counter

from fastapi.testclient import TestClient

from keyscope.app.pages.keys import stacked
from keyscope.app.queries import first_examples, key_triggers
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.code import Heat
from keyscope.contract.code_parts import Part
from keyscope.contract.keys import KeyId
from tests.app.web.test_code import window

HEAT = Heat(2.0)


def test_a_stacked_example_is_one_line_with_its_breaks_and_indentation_drawn_as_one_sign() -> None:
    made = window([b"if x:\n", b"    return", b" y", b"\n\n", b"\tz", b"\xe2\x80\xae"], 1, {1: 2.0})
    row = stacked.draw(*made, HEAT)
    assert (row.before, row.token, row.css) == ("if x:⏎", "    return", "s20")
    assert (row.next, row.after) == (" y", "⏎z\\u202e")


def test_a_stacked_example_keeps_the_text_next_to_its_trigger() -> None:
    made = window([b"a", *[b"bc"] * 60, b"T", *[b"de"] * 60, b"f"], 61, {61: 1.0})
    row = stacked.draw(*made, HEAT)
    assert (row.before, row.after) == ("bc" * 20, "de" * 20)


def test_a_trigger_of_white_space_or_of_bytes_alone_can_be_seen_in_the_stack() -> None:
    assert stacked.draw(*window([b"a", b"\n  ", b"\t"], 1, {1: 1.0}), HEAT).token == "⏎··"
    assert stacked.draw(*window([b"a", b"\n  ", b"\t"], 1, {1: 1.0}), HEAT).next == "⇥"
    assert stacked.draw(*window([b"\xc3", b"\xa9"], 1, {1: 1.0}), HEAT).token == "0xa9"


def test_a_run_that_ends_triggers_at_their_token_stacks_nothing_after_it() -> None:
    row = stacked.draw(*window([b"a", b"b", b"c"], 1, {1: 1.0}), HEAT, cut=True)
    assert (row.next, row.after) == ("", "")


def test_the_first_example_is_code_and_the_others_a_line_each_that_opens(reader: TestClient) -> None:
    stack = reader.get("/runs/alpha/keys/L0.K1")
    as_code = reader.get(next(tab.href for tab in stack.context["views"] if tab.title == "code"))
    first, *others = stack.context["cards"]
    assert [card.anchor for card in stack.context["cards"]] == [card.anchor for card in as_code.context["cards"]]
    assert all(card.lines for card in as_code.context["cards"])
    assert first.lines
    assert all(card.row and not card.lines for card in others)
    assert stack.text.count('<a class="stack"') == len(others)
    wanted = others[1]
    opened = reader.get(wanted.whole_href).context["cards"]
    assert [card.anchor for card in opened if card.lines] == [first.anchor, wanted.anchor]
    assert reader.get(opened[2].whole_href).context["cards"][2].row, "and closes again"


def test_the_commonest_trigger_tokens_narrow_the_examples(reader: TestClient, alpha: Run) -> None:
    for key in (KeyId(layer, index) for layer in range(2) for index in range(6)):
        with alpha.reading() as cursor:
            triggers = key_triggers(cursor, alpha.windows, key, None, "max")
        counts = Counter(each.window.token_ids[each.trigger_index] for each in triggers)
        (token_id, count), *_ = counts.most_common(1)
        if count > 1 and count < len(triggers):
            break
    page = reader.get(f"/runs/alpha/keys/{key}")
    chip = page.context["tokens"][0]
    assert (chip.title, chip.count, chip.current) == (formats.token(alpha.vocabulary[token_id]), count, False)
    narrowed = reader.get(chip.href)
    assert narrowed.context["n_examples"] == count
    wanted = {each.offset for each in triggers if each.window.token_ids[each.trigger_index] == token_id}
    assert {int(card.place.rpartition(":")[2]) for card in narrowed.context["cards"]} <= wanted
    (current,) = [tab for tab in narrowed.context["tokens"] if tab.current]
    assert reader.get(current.href).context["n_examples"] == len(triggers), "the chip takes the filter off again"


def test_a_token_that_no_trigger_is_on_leaves_no_example(reader: TestClient) -> None:
    page = reader.get("/runs/alpha/keys/L0.K1?token=nosuchtoken")
    assert page.context["cards"] == []
    assert "no such examples" in page.text


def test_examples_are_narrowed_to_a_part_of_the_code(reader: TestClient, alpha: Run) -> None:
    key = KeyId(0, 1)
    with alpha.reading() as cursor:
        triggers = first_examples(cursor, alpha.windows, key, "max")
    found = {
        within: reader.get(f"/runs/alpha/keys/{key}?within={within}&all=true").context["cards"]
        for within in ("code", "comments", "strings")
    }
    assert sum(map(len, found.values())) == len(triggers)
    comments = [
        f"{each.language}-max-{each.rank}"
        for each in triggers
        if alpha.windows.parts(each.window, each.language)[each.trigger_index] == Part.COMMENT
    ]
    assert [card.anchor for card in found["comments"]] == comments


def test_only_the_strong_coefficients_are_shaded_unless_all_are_asked_for(reader: TestClient) -> None:
    def shaded(address: str) -> int:
        return len(re.findall(r'class="t[^"]* s\d', reader.get(address).text))

    assert 0 < shaded("/runs/alpha/keys/L0.K1") < shaded("/runs/alpha/keys/L0.K1?heat=all")


def test_the_headline_names_the_commonest_token_of_the_tab(reader: TestClient, alpha: Run) -> None:
    differing = 0
    for index in range(6):
        for language in ("", *alpha.manifest.languages):
            top = reader.get(f"/runs/alpha/keys/L0.K{index}?language={language}").context["top_token"]
            with alpha.reading() as cursor:
                triggers = first_examples(cursor, alpha.windows, KeyId(0, index), "max", language or None)
            triggers = triggers[: alpha.manifest.settings.top_k]
            counts = Counter(each.window.token_ids[each.trigger_index] for each in triggers)
            assert top.share == max(counts.values()) / len(triggers)
            assert top.distinct == len(counts)
            differing += bool(language) and len(counts) > 1
    assert differing


def test_promoted_tokens_that_are_bytes_alone_come_last(reader: TestClient) -> None:
    seen = 0
    for layer in range(2):
        for index in range(6):
            css = [bar.css for bar in reader.get(f"/runs/alpha/keys/L{layer}.K{index}").context["promoted"]]
            assert css == sorted(css)
            seen += "byte" in css
    assert seen
