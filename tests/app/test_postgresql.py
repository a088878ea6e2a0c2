"""Pages and JSON on PostgreSQL: a selection of tests that run on SQLite in their own modules."""

# ruff: noqa: F401 - pytest collects imported tests, and finds fixtures by name

from collections.abc import Iterator
from pathlib import Path

import pytest

from keyscope.app.settings import Settings
from tests.app.api.test_label_exports import (
    team,
    test_a_later_export_goes_on_where_this_database_stopped,
    test_an_export_is_narrowed,
    test_an_export_per_key_counts_current_labels_and_says_what_a_key_is,
    test_an_export_taken_into_an_empty_database_is_exported_equal,
    test_one_kind_of_database_takes_in_what_the_other_exports,
    test_taking_the_same_export_in_again_changes_nothing,
    test_the_current_label_can_be_undone_after_an_import_of_older_ones,
    test_two_histories_of_one_person_become_one_in_the_order_of_time,
)
from tests.app.api.test_labels import (
    test_a_basket_may_hold_every_key_of_a_large_layer,
    test_a_label_based_on_what_is_no_more_is_not_saved,
    test_a_label_is_kept_as_it_was_given,
    test_a_later_label_replaces_ones_own_and_the_history_keeps_both,
    test_of_many_changes_based_on_one_label_one_is_saved,
    test_people_who_label_at_once_lose_nothing,
    test_tags_are_suggested_by_how_often_they_are_used_now,
    test_undo_of_a_first_label_takes_it_back_and_undo_of_that_brings_it_back,
)
from tests.app.pages.labels.test_page import (
    disputed,
    test_a_disagreement_is_decided_in_the_table_and_the_next_one_follows,
    test_a_disagreement_leads_to_the_key_and_shows_its_decision,
    test_a_list_is_renamed_made_private_put_away_and_brought_back,
    test_activity_shows_what_happened_and_is_narrowed,
    test_an_open_page_hears_of_changes_made_on_another_server,
    test_comments_are_written_changed_and_taken_back,
    test_the_api_makes_fills_and_changes_lists,
    test_the_page_shows_agreement_with_interval_and_number_of_keys,
    two_servers,
)
from tests.app.pages.labels.test_queue import (
    ada,
    ben,
    test_a_skipped_key_does_not_come_back_today,
    test_programs_take_renew_skip_and_give_back_keys,
    test_two_people_have_different_keys,
)
from tests.app.queries.test_search import test_a_label_finds_its_keys
from tests.conftest import SHARED
from tests.postgres import Server


@pytest.fixture(scope="module")
def module_settings(runs_dir: Path, postgres: Server) -> Settings:
    return Settings(runs=runs_dir, database_url=postgres.url(SHARED))


@pytest.fixture
def settings(module_settings: Settings, postgres: Server) -> Iterator[Settings]:
    yield module_settings
    postgres.empty(SHARED)
