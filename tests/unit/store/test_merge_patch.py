from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.store.merge_patch import apply_merge_patch

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.text(max_size=2), below),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=2), JSON, max_size=4)


@pytest.mark.parametrize(
    ("present", "change", "merged"),
    [
        # The examples of RFC 7396, appendix A, whose patch is an object.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_examples(present: dict[str, Any], change: dict[str, Any], merged: dict[str, Any]) -> None:
    assert apply_merge_patch(present, change) == merged


@given(OBJECTS, OBJECTS)
def test_a_second_time_changes_nothing_and_the_present_stays(
    present: dict[str, Any], change: dict[str, Any]
) -> None:
    before = repr(present)
    once = apply_merge_patch(present, change)
    assert apply_merge_patch(once, change) == once
    assert repr(present) == before


@given(OBJECTS)
def test_no_change(present: dict[str, Any]) -> None:
    assert apply_merge_patch(present, {}) == present
