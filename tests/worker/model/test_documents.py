"""`docs/models.md`, `docs/own-model.md` and `keyscope models` say what was measured, of all families there are."""

import json
import math

import pytest
from typer.testing import CliRunner

from keyscope.cli.main import cli
from keyscope.worker.model.families import ENCODER_DECODERS, FAMILIES, REFUSED
from keyscope.worker.model.proved import bound, read_proved
from tests import models_doc, own_model
from tests.worker.models import TINY
from tests.worker.proofs import PROOFS
from tests.worker.t5 import KINDS


def test_the_page_of_models_is_what_its_command_writes_from_the_stored_results() -> None:
    assert models_doc.DOCUMENT.read_text("utf-8") == models_doc.document(read_proved())


def test_every_configuration_was_compared_in_everything_keyscope_does() -> None:
    proved = read_proved()
    assert {(each.model, each.dtype) for each in proved.comparisons if not each.real} == {
        (kind, dtype)
        for kind in (*TINY, *(f"t5-{kind}-{stack}" for kind in KINDS for stack in models_doc.STACKS))
        for dtype in models_doc.DTYPES
    }
    assert set(models_doc.SUCH_AS) == set(FAMILIES)
    for each in proved.comparisons:
        assert list(each.errors) == list(PROOFS)
        exact = [error for error in each.errors.values() if error is not None]
        assert max(exact) < (1e-4 if each.dtype == "float32" else 0.2), (each.model, each.dtype)


def test_the_page_of_own_models_has_the_table_that_follows_from_the_configurations() -> None:
    text = own_model.DOCUMENT.read_text("utf-8")
    for line in own_model.table():
        assert line in text


def test_the_command_lists_every_family_and_what_is_refused() -> None:
    shown = CliRunner().invoke(cli, ["models"]).output
    found = json.loads(CliRunner().invoke(cli, ["models", "--json"]).output)
    assert {each["architecture"] for each in found["families"]} == set(FAMILIES | ENCODER_DECODERS)
    assert found["refused"] == REFUSED
    for name in (*FAMILIES, *ENCODER_DECODERS, *REFUSED, "contributions"):
        assert name in shown


@pytest.mark.parametrize(
    ("errors", "words"),
    [([0.0], "0"), ([3e-7], "1e-6"), ([1e-6, None], "1e-6"), ([2.0], "1e1"), ([None], "undefined"), ([], "undefined")],
)
def test_errors_are_rounded_up_to_a_power_of_ten(errors: list[float | None], words: str) -> None:
    assert bound(errors) == words
    if words not in ("0", "undefined"):
        assert math.log10(float(words)).is_integer()
