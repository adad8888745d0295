"""The tests of the suite that are not for a back-end which only adds rows, and why.

Such a back-end (`DestinationProfile.append_only`) replaces and removes nothing, and one that keeps
files takes no statement that writes. Whoever runs the suite over it leaves these tests out by their
names; what takes their place are tests of its own.
"""

from collections.abc import Mapping
from typing import Final

_REPLACED: Final = "a row takes the place of another one"
_REMOVED: Final = "rows are removed"
_VERSIONS: Final = "a version waits for its activation, and replaces the one before"
_REWRITTEN: Final = "a column that has values gets another name or type"
_STATEMENT: Final = "a user writes by SQL"
_KEY: Final = "a database knows the key"

LEFT_OUT: Final[Mapping[str, str]] = {
    "test_a_column_is_added_and_filled_in_one_load": _REPLACED,
    "test_a_column_of_the_user_with_such_a_name_stays": _STATEMENT,
    "test_a_delete_older_than_the_row_loses": _REMOVED,
    "test_a_delete_takes_row_and_children_and_bars_lower_sequences": _REMOVED,
    "test_a_dropped_table_of_rejections_is_made_again": _STATEMENT,
    "test_a_field_left_out_becomes_null_and_the_users_column_stays": _STATEMENT,
    "test_a_first_load_leaves_what_every_load_does": _REPLACED,
    "test_a_greater_sequence_replaces_a_lower_one_never": _REPLACED,
    "test_a_key_column_is_not_null_and_others_are": _KEY,
    "test_a_key_may_go_and_come": _KEY,
    "test_a_lower_fence_is_refused": _REPLACED,
    "test_a_new_subtable_of_an_old_table_takes_only_the_winners_children": _REPLACED,
    "test_a_new_version_changes_the_key": _VERSIONS,
    "test_a_new_version_with_other_keys_may_hold_nothing_but_deletes": _VERSIONS,
    "test_a_record_that_loses_in_the_table_plans_no_column": _REPLACED,
    "test_a_refused_value_changes_nothing": _STATEMENT,
    "test_a_required_column_of_the_user_stops_the_table": _STATEMENT,
    "test_a_root_the_user_dropped_is_made_again_and_its_old_children_go": _REMOVED,
    "test_a_row_the_user_wrote_without_a_sequence_counts_as_lowest": _STATEMENT,
    "test_a_session_goes_on_after_a_failed_load": _REPLACED,
    "test_a_split_renames_then_adds_then_writes": _REWRITTEN,
    "test_a_stage_has_the_rules_of_upsert": _VERSIONS,
    "test_a_subtable_whose_key_the_user_dropped_is_still_replaced": _REPLACED,
    "test_a_superseded_parent_brings_no_children_and_removes_none": _REPLACED,
    "test_a_table_is_dropped_with_all_that_is_kept_of_it": _STATEMENT,
    "test_a_table_of_rejections_of_an_earlier_release_gets_its_columns": _STATEMENT,
    "test_a_table_that_appeared_meanwhile_is_found": _STATEMENT,
    "test_a_table_that_went_since_the_plan_is_outdated": _STATEMENT,
    "test_a_table_without_columns_of_its_own_but_the_key": _REPLACED,
    "test_a_widened_column_holds_what_a_later_value_would_be": _REWRITTEN,
    "test_activation_replaces_the_contents_in_one_load": _VERSIONS,
    "test_all_children_go_when_the_new_record_has_none": _REMOVED,
    "test_any_name_is_only_a_name": _STATEMENT,
    "test_changes_work_below_a_view_and_beside_an_index": _STATEMENT,
    "test_children_that_a_user_wrote_for_a_key_to_come_are_replaced": _REPLACED,
    "test_every_type_may_be_a_key": _REPLACED,
    "test_keys_that_were_deleted_from_an_older_table_are_forgotten": _STATEMENT,
    "test_rows_are_compared": _STATEMENT,
    "test_rows_are_counted_by_batch_and_by_key": _REPLACED,
    "test_rows_beyond_all_keys_go_in_beside_rows_that_replace": _REPLACED,
    "test_sequences_are_compared_as_64_bit_integers": _REPLACED,
    "test_several_keys_of_several_types": _REPLACED,
    "test_several_keys_of_which_the_first_is_beyond_all": _REPLACED,
    "test_staged_rows_are_not_in_the_table": _VERSIONS,
    "test_stale_children_of_a_written_parent_go": _REMOVED,
    "test_stale_children_stay_when_they_are_to_be_kept": _REPLACED,
    "test_the_report_tells_what_was_superseded": _REPLACED,
    "test_the_rows_stay_when_the_key_goes": _KEY,
    "test_the_same_keys_come_back_after_emptying": _VERSIONS,
    "test_the_state_shows_a_table_of_the_user": _STATEMENT,
    "test_the_state_shows_what_the_user_dropped": _STATEMENT,
    "test_the_state_shows_what_was_made": _STATEMENT,
    "test_what_a_version_deleted_stays_deleted_when_it_is_activated": _VERSIONS,
    "test_with_tie_last_an_equal_sequence_replaces_the_children_too": _REPLACED,
}
"""Test -> the reason."""
