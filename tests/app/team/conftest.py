from pathlib import Path

import pytest

from keyscope.app.accounts.identity import Person
from keyscope.app.roles import Role
from keyscope.app.settings import Settings

ADA, BEN = Person("Ada", Role.ADMIN), Person("Ben", Role.LABELER)


@pytest.fixture
def settings(runs_dir: Path, database_url: str) -> Settings:
    """Every test of this room runs on both kinds of database."""
    return Settings(runs=runs_dir, database_url=database_url)
