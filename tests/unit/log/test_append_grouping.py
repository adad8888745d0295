"""Which requests are appended together, and what each of them is told."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.log.postgres.grouping import (
    GROUP_BYTES_MAX,
    GROUP_ENTRIES_MAX,
    FoundKey,
    assign_results,
    choose_keyed,
    count_group,
    judge_new_tables,
    make_uids,
    split_repeats,
)
from treadle.log.protocol import AppendResult, IdempotencyKey


@dataclass(frozen=True)
class Sized:
    stored_bytes: int
    entry_count: int = 1


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        ([], 0),
        ([Sized(10)] * 5, 5),
        ([Sized(GROUP_BYTES_MAX * 20)], 1),
        ([Sized(GROUP_BYTES_MAX // 2)] * 5, 2),
        ([Sized(1), Sized(GROUP_BYTES_MAX)], 1),
        ([Sized(1, GROUP_ENTRIES_MAX), Sized(1)], 1),
        ([Sized(1, GROUP_ENTRIES_MAX * 9), Sized(1)], 1),
    ],
)
def test_a_group_has_as_many_requests_as_fit(waiting: list[Sized], expected: int) -> None:
    assert count_group(waiting) == expected


@given(st.lists(st.builds(Sized, st.integers(0, GROUP_BYTES_MAX), st.integers(1, 3000))))
def test_no_group_of_several_is_too_large(waiting: list[Sized]) -> None:
    while waiting:
        count = count_group(waiting)
        assert count >= 1
        if count > 1:
            assert sum(one.stored_bytes for one in waiting[:count]) <= GROUP_BYTES_MAX
            assert sum(one.entry_count for one in waiting[:count]) <= GROUP_ENTRIES_MAX
        waiting = waiting[count:]


def test_requests_with_and_without_a_key_take_turns() -> None:
    assert not choose_keyed(1, 0, keyed_was_last=False)
    assert choose_keyed(0, 1, keyed_was_last=True)
    assert choose_keyed(1, 1, keyed_was_last=False)
    assert not choose_keyed(1, 1, keyed_was_last=True)


def test_uids_of_a_group_are_different() -> None:
    uids = make_uids(b"p" * 12, 300)
    assert len(set(uids)) == 300
    assert {len(uid) for uid in uids} == {16}
    assert make_uids(b"q" * 12, 1)[0] not in uids
    with pytest.raises(ValueError, match="expected 12 bytes"):
        make_uids(b"", 1)


def key(name: str, digest: str = "d") -> IdempotencyKey:
    return IdempotencyKey(name.encode(), digest.encode())


def test_each_request_of_a_name_is_told_what_was_stored() -> None:
    keys = [key("b"), key("a"), key("b", "other"), key("c")]
    firsts, repeats = split_repeats(keys)
    assert firsts == [1, 0, 3]
    assert repeats == {2: 0}
    found = {
        b"a": FoundKey(b"before", 7, new=False),
        b"b": FoundKey(b"d", 0, new=True),
        b"c": FoundKey(b"d", 20, new=False),
    }
    # "c" was stored by an earlier attempt of the group, whose answer was lost.
    assert assign_results(keys, firsts, repeats, found, {0: 30, 3: 20}) == [
        AppendResult(30, b"d", duplicate=False),
        AppendResult(7, b"before", duplicate=True),
        AppendResult(30, b"d", duplicate=True),
        AppendResult(20, b"d", duplicate=False),
    ]


def test_a_request_that_would_add_too_many_tables_adds_none() -> None:
    wanted = [
        [(1, "a"), (1, "a"), (1, "b")],
        [(1, "b"), (1, "c"), (1, "d")],
        [(1, "c"), (2, "x")],
        [(1, "e")],
        [(3, "y")],
    ]
    added, refused = judge_new_tables(wanted, {1: 1, 2: 0}, {1: 4, 2: 1, 3: 0})
    assert added == [(1, "a"), (1, "b"), (1, "c"), (2, "x"), (3, "y")]
    assert sorted(refused) == [1, 3]
    assert all((one.source_id, one.quota) == (1, "tables") for one in refused.values())
