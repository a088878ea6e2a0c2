import re
from pathlib import Path

import pytest

from keyscope.app.database.base import author_columns
from keyscope.app.labels.models import Evidence, Kind
from keyscope.app.main import create_app

STYLES = Path(__file__).parents[3] / "static" / "css" / "keyscope.css"


def test_evidence_is_read_as_it_is_written():
    evidence = Evidence(file_sha256="0a" * 32, offset=7)
    assert str(evidence) == f"{'0a' * 32}:7"
    assert Evidence.parse(str(evidence)) == evidence


@pytest.mark.parametrize(
    "text", ["", "0a" * 32, f"{'0a' * 32}:", f"{'0a' * 32}:-1", f"{'0A' * 32}:1", f"{'0a' * 32}:1 "]
)
def test_what_is_not_a_place_is_no_evidence(text: str):
    with pytest.raises(ValueError, match="evidence is written"):
        Evidence.parse(text)


@pytest.mark.parametrize("kind", Kind)
def test_the_chips_of_every_kind_have_its_colour(kind: Kind):
    colours = dict(
        re.findall(r"\.chip(?:\.([\w-]+))?::before \{[^}]*background: var\((--[\w-]+)\)", STYLES.read_text())
    )
    assert colours.get(kind, colours[""]) == kind.colour


def test_a_sentence_lists_all_kinds():
    assert Kind.choices() == "syntactic, semantic, mixed or unclear"


def test_every_table_that_people_write_to_names_its_authors():
    assert create_app  # imports every table
    assert {str(column) for column in author_columns()} == {
        "labels.person",
        "adjudications.person",
        "codebook_changes.person",
        "comments.person",
        "key_lists.owner",
        "key_list_entries.person",
        "concepts.person",
    }
