"""What is compared after a schedule: each rule on what keeps it and on a made-up violation."""

from dataclasses import replace

from tests.faults.cluster.checks import (
    AcknowledgedPlace,
    CommittedLoad,
    FenceSample,
    TableAccount,
    find_crossed_loads,
    find_crossed_rows,
    find_double_keys,
    find_lower_fences,
    find_missing_positions,
    find_unbalanced,
    find_unloaded,
    find_unmet,
    merge_places,
)
from tests.faults.cluster.senders import read_receipt
from tests.faults.witness import Row

from treadle.tracking.receipts import Receipt, ReceiptCodec

ROW = Row(id=7, sequence=3, request=1, note="")


def test_rows_of_a_source_that_was_moved_count_once() -> None:
    newer = replace(ROW, sequence=5)
    assert merge_places([[ROW], [newer]], keyed=True) == ([newer], [])
    assert merge_places([[newer], [ROW]], keyed=True) == ([newer], [])
    assert merge_places([[ROW], [ROW]], keyed=False) == ([ROW], [])


def test_rows_that_are_twice_in_one_place_are_found() -> None:
    assert merge_places([[ROW, ROW], []], keyed=True) == (
        [ROW],
        ["doubled: id 7 in one destination"],
    )
    # The witness finds these.
    assert merge_places([[ROW, ROW], [ROW]], keyed=False) == ([ROW, ROW], [])


def test_a_row_that_a_move_left_in_both_places_is_found() -> None:
    other = replace(ROW, request=2)
    assert find_crossed_rows("events", [[ROW, ROW], [other]]) == []
    assert find_crossed_rows("events", [[ROW, other], [other]]) == [
        "moved: events has 1 rows in both destinations, the first is id 7 of request 2"
    ]


SOUND = TableAccount(
    "orders", accepted=100, loaded=60, superseded=30, rejected=10, waiting=0, reported=100
)


def test_a_ledger_that_adds_up_is_sound() -> None:
    assert find_unbalanced([SOUND]) == []
    assert find_unbalanced([replace(SOUND, loaded=50, waiting=10, reported=90)]) == []


def test_a_record_that_nobody_tells_of_is_found() -> None:
    assert find_unbalanced([replace(SOUND, loaded=59)]) == [
        "ledger: orders accepted 100, and 99 are told of"
    ]


def test_loads_that_report_another_sum_are_found() -> None:
    assert find_unbalanced([replace(SOUND, reported=120)]) == [
        "ledger: orders accepted 100, and loads say 120"
    ]


def test_a_receipt_that_is_not_loaded_is_found() -> None:
    assert find_unloaded({"rc_a": ["loaded", "loaded"]}) == []
    assert find_unloaded({"rc_a": ["loaded", "waiting"]}) == ["receipt: rc_a is loaded, waiting"]
    assert find_unloaded({"rc_a": []}) == ["receipt: rc_a is not known"]
    assert len(find_unloaded({f"rc_{number}": ["waiting"] for number in range(50)})) == 6


def test_a_key_with_two_places_is_found() -> None:
    assert find_double_keys({"a": ["rc_1", "rc_1"], "b": ["rc_2"]}) == []
    assert find_double_keys({"a": ["rc_1", "rc_2"]}) == ["key: a was answered with 2 receipts"]


def test_a_position_that_the_log_lacks_is_found() -> None:
    stored = {1: [(10, "u1"), (11, "u2")]}
    assert find_missing_positions([AcknowledgedPlace(1, 10, 2)], stored) == []
    assert find_missing_positions([AcknowledgedPlace(1, 11, 2)], stored) == [
        "position: log 1 lacks 12, which was acknowledged"
    ]
    assert find_missing_positions([AcknowledgedPlace(2, 10, 1)], stored) == [
        "position: log 2 lacks 10, which was acknowledged"
    ]


def test_an_entry_that_is_there_twice_is_found() -> None:
    assert find_missing_positions([], {1: [(10, "u1"), (11, "u1")]}) == [
        "position: log 1 holds the entry u1 2 times"
    ]
    assert find_missing_positions([], {1: [(10, "u1"), (10, "u2")]}) == [
        "position: log 1 holds position 10 2 times"
    ]


def test_a_fence_that_goes_back_is_found() -> None:
    rising = [
        FenceSample(1, "a", "x", 3),
        FenceSample(2, "a", None, 3),
        FenceSample(3, "a", "y", 4),
    ]
    assert find_lower_fences(rising) == []
    assert find_lower_fences([*rising, FenceSample(4, "a", "x", 3)]) == [
        "fence: a went from 4 back to 3"
    ]


def test_a_unit_that_changes_hands_with_one_number_is_found() -> None:
    shared = [FenceSample(1, "a", "x", 3), FenceSample(2, "a", "y", 3)]
    assert find_lower_fences(shared) == ["fence: a went from x to y with the number 3"]
    assert find_lower_fences([shared[0], replace(shared[1], unit="b")]) == []


def test_two_loads_of_one_position_are_found() -> None:
    first, second = CommittedLoad("orders", 1, 5, "l1"), CommittedLoad("orders", 6, 9, "l2")
    assert find_crossed_loads([second, first]) == []
    assert find_crossed_loads([first, replace(second, table="events", first=2)]) == []
    assert find_crossed_loads([first, replace(second, first=5)]) == [
        "load: orders was loaded up to 5 by l1, and from 5 on by l2"
    ]


def test_what_a_run_did_not_meet_is_found() -> None:
    assert find_unmet({"evictions": 2, "fenced": 1}, ["evictions", "fenced"]) == []
    assert find_unmet({"evictions": 2, "fenced": 0}, ["evictions", "fenced", "resolved"]) == [
        "not met: fenced",
        "not met: resolved",
    ]


def test_a_receipt_tells_its_place() -> None:
    text = ReceiptCodec("installation", "log").encode(Receipt(3, 2**40 + 7, 2))
    assert read_receipt(text) == AcknowledgedPlace(0, 2**40 + 7, 2)
