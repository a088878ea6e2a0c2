import pytest

from keyscope.app.settings import Settings


@pytest.fixture(scope="module")
def module_settings(accounts_settings: Settings) -> Settings:
    return accounts_settings
