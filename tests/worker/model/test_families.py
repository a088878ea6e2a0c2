"""Everything Keyscope does with a model equals plain transformers, in every family."""

import pytest

from keyscope.worker.model.families import FAMILIES
from tests.worker.conftest import FolderOf, LoadTiny
from tests.worker.models import TINY
from tests.worker.proofs import PROOFS, Subject


@pytest.mark.parametrize("kind", TINY)
def test_what_is_read_and_changed_equals_plain_transformers(
    kind: str, load_tiny: LoadTiny, tiny_folder_of: FolderOf
) -> None:
    subject = Subject.of(tiny_folder_of(kind), load_tiny(kind))
    errors = {name: proof(subject) for name, proof in PROOFS.items()}
    assert errors["generate"] == 0
    for name, error in errors.items():
        assert error is None or error < 2e-5, (name, error)
    assert (errors["contributions"] is None) == ("contributions" in subject.model.facts.undefined)


def test_every_family_is_among_them() -> None:
    assert {kind.split("-")[0] for kind in TINY} == set(FAMILIES)
