import pytest

from keyscope.worker.analysis.subject import Subject


@pytest.fixture(scope="session")
def subject(read_only: Subject) -> Subject:
    """The small run: the tests here only read it."""
    return read_only
