"""Accounts on PostgreSQL: a selection of tests that run on SQLite in their own modules."""

# ruff: noqa: F401 - pytest collects imported tests, and finds fixtures by name

from collections.abc import Iterator

import pytest

from keyscope.app.roles import Role
from keyscope.app.settings import Settings
from tests.app.accounts.office import Office
from tests.app.accounts.test_oidc import (
    test_nobody_comes_from_the_provider_under_the_name_of_who_has_spoken_here,
    test_the_second_time_it_is_the_same_account,
)
from tests.app.accounts.test_routes import DECLARED, ENDLESS, ask
from tests.app.accounts.test_tokens import (
    test_an_expired_token_is_refused_and_told_so_and_stays_in_the_list,
    test_the_last_use_of_a_token_is_noted_to_a_few_minutes,
)
from tests.app.pages.accounts.test_invitations import (
    test_of_two_who_accept_at_the_same_moment_one_gets_on,
    test_who_follows_the_link_chooses_a_password_and_is_signed_in,
)
from tests.app.pages.accounts.test_joining import (
    test_an_account_has_one_identity,
    test_of_two_identities_joined_at_once_one_is,
)
from tests.app.pages.accounts.test_people import (
    test_a_disabled_person_is_out_at_once_and_may_be_let_in_again,
    test_nobody_gets_a_name_that_looks_like_anothers,
    test_of_two_admins_who_take_each_others_role_at_once_one_stays,
)
from tests.app.pages.accounts.test_sign_in import (
    clock,
    hashes,
    test_signing_out_everywhere_ends_all_sessions_of_the_person_alone,
    test_the_last_use_of_a_session_is_noted_to_a_few_minutes,
    test_the_right_password_signs_in_and_leads_back,
    test_too_many_tries_under_a_name_have_to_wait,
    test_tries_at_the_same_moment_are_all_counted,
)
from tests.conftest import SHARED
from tests.postgres import Server


@pytest.fixture(scope="module")
def module_settings(provider_settings: Settings, postgres: Server) -> Settings:
    return provider_settings.model_copy(update={"database_url": postgres.url(SHARED)})


@pytest.fixture
def settings(module_settings: Settings, postgres: Server) -> Iterator[Settings]:
    yield module_settings
    postgres.empty(SHARED)


def test_no_page_fails(office: Office):
    pages = [route for route in DECLARED if route.startswith("GET ") and route not in ENDLESS]
    assert [page for page in pages if ask(office, page, Role.ADMIN).status_code == 500] == []
