"""What a change of options touches."""

from typing import Any

import pytest

from treadle.store.merge_patch import apply_merge_patch
from treadle.tables.option_change import check_assignments, find_touched_tables
from treadle.tables.options import (
    OPTION_MEANINGS,
    OPTION_NAMES,
    OptionError,
    get_default,
    make_options_patch,
)

SETTINGS = {
    "options": {"nested": "json"},
    "tables": {"own": {"nested": "flatten"}, "gone": {"hard_delete": True}},
}
KNOWN = ["own", "plain", "other"]


def touch(table: str | None, settings: dict[str, Any] | None = None, **wanted: Any) -> list[str]:
    before = SETTINGS if settings is None else settings
    after = apply_merge_patch(before, make_options_patch(table, wanted))
    return find_touched_tables(before, after, table, KNOWN)


def test_a_change_of_the_source_touches_tables_without_a_value_of_their_own() -> None:
    assert touch(None, nested="flatten") == ["gone", "other", "plain"]
    assert touch(None, nested="json") == []
    assert touch(None, nested=None) == ["gone", "other", "plain"]
    assert touch(None, hard_delete=True) == ["other", "own", "plain"]


def test_a_change_of_a_table_touches_it_alone() -> None:
    assert touch("own", nested="json") == ["own"]
    assert touch("own", nested="flatten") == []
    assert touch("never pushed", hard_delete=True) == ["never pushed"]
    assert touch("plain", nested="json") == []


def test_assignments_are_checked() -> None:
    wanted = {"nested": "json", "hard_delete": True, "max_nesting": 3, "decimals": None}
    assert check_assignments(wanted) == wanted
    for bad in ({"nest": "json"}, {"nested": "jsno"}, {"hard_delete": 1}, {"nested": ["json"]}):
        with pytest.raises(OptionError):
            check_assignments(bad)
    with pytest.raises(OptionError, match="did you mean nested"):
        check_assignments({"nestd": None})


def test_every_option_has_a_meaning_and_a_default() -> None:
    assert set(OPTION_MEANINGS) == set(OPTION_NAMES)
    for name in OPTION_NAMES:
        get_default(name)
        assert "\n" not in OPTION_MEANINGS[name]
