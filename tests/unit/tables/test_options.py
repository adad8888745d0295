"""Options are read from a source's settings, and what is none is refused with the nearest name."""

import re
from typing import Any

import pytest

from treadle.errors import OperatorError, TableStoppedError
from treadle.store.merge_patch import apply_merge_patch
from treadle.tables.model import TableOptions
from treadle.tables.options import (
    OPTION_NAMES,
    OptionError,
    list_effective_options,
    make_options,
    make_options_patch,
    parse_option,
)


def test_without_settings_every_option_has_its_default() -> None:
    assert make_options({}, "t") == TableOptions()
    assert {each.origin for each in list_effective_options({}, None)} == {"default"}


def test_a_table_s_options_win_over_those_of_its_source() -> None:
    settings = {
        "options": {"stale_children": "keep", "contract.columns": "freeze"},
        "tables": {"t": {"contract.columns": "evolve", "hard_delete": True}},
        "webhook": {"table": "x"},
    }
    assert make_options(settings, "t") == TableOptions(stale_children="keep", hard_delete=True)
    assert make_options(settings, "u") == TableOptions(
        stale_children="keep", contract_columns="freeze"
    )
    assert [each for each in list_effective_options(settings, "t") if each.origin != "default"] == [
        ("contract.columns", "evolve", "table"),
        ("stale_children", "keep", "source"),
        ("hard_delete", True, "table"),
    ]


def test_a_contract_may_be_one_object() -> None:
    settings = {
        "options": {"contract": {"columns": "freeze", "types": "discard_value"}, "nested": "json"},
        "tables": {"contract": {"contract": {"columns": "evolve"}, "contract.types": "freeze"}},
    }
    assert make_options(settings, "t") == TableOptions(
        contract_columns="freeze", contract_types="discard_value", nested="json"
    )
    assert make_options(settings, "contract") == TableOptions(
        contract_types="freeze", nested="json"
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"options": {"stale_childs": "keep"}}, "did you mean stale_children?"),
        ({"options": {"nested": "jsno"}}, "it is profile or flatten or json; did you mean json?"),
        ({"options": {"contract": {"colums": "freeze"}}}, "did you mean contract.columns?"),
        ({"options": {"contract": "freeze"}}, "There is no option 'contract'; did you mean"),
        ({"options": {"contract_columns": "freeze"}}, "did you mean contract.columns?"),
        ({"options": {"hard_delete": "true"}}, "it is false or true; did you mean true?"),
        ({"options": {"max_nesting": -1}}, "none or a whole number from 0."),
        ({"options": {"max_nesting": True}}, "none or a whole number from 0."),
        ({"options": {"nested": ["json"]}}, "it is profile or flatten or json"),
        ({"options": ["nested"]}, "The options of the source are to be an object"),
        ({"tables": {"t": 5}}, "The options of the table 't' are to be an object; they are 5."),
        ({"tables": None}, "The options of the tables of the source are to be an object"),
    ],
)
def test_what_is_stored_and_no_option_stops_the_table(settings: Any, said: str) -> None:
    with pytest.raises(TableStoppedError, match=re.escape(said)) as stopped:
        make_options(settings, "t")
    assert "treadle source options" in str(stopped.value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("nested", "json", "json"),
        ("hard_delete", "true", True),
        ("hard_delete", "false", False),
        ("max_nesting", "0", 0),
        ("max_nesting", "12", 12),
        ("max_nesting", "none", None),
        ("contract.types", "discard_value", "discard_value"),
    ],
)
def test_texts_become_values(name: str, text: str, value: object) -> None:
    assert parse_option(name, text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [("nested", ""), ("nested", "Json"), ("hard_delete", "1"), ("max_nesting", "-1"), ("x", "y")],
)
def test_texts_that_are_no_value_are_refused(name: str, text: str) -> None:
    with pytest.raises(OptionError):
        parse_option(name, text)


def test_every_option_of_the_rules_has_a_name() -> None:
    assert len(OPTION_NAMES) == len(set(OPTION_NAMES)) == 19
    assert {"contract.tables", "contract.columns", "contract.types"} <= set(OPTION_NAMES)


def test_a_change_is_a_merge_patch() -> None:
    assert make_options_patch(None, {"nested": "json"}) == {"options": {"nested": "json"}}
    assert make_options_patch("t", {"nested": None}) == {"tables": {"t": {"nested": None}}}


def test_a_part_of_a_contract_that_is_one_object_is_taken_back() -> None:
    stored = {"options": {"contract": {"columns": "freeze", "types": "freeze"}, "nested": "json"}}
    changed = apply_merge_patch(stored, make_options_patch(None, {"contract.columns": None}))
    assert make_options(changed, "t") == TableOptions(contract_types="freeze", nested="json")
    assert (
        make_options(
            apply_merge_patch({}, make_options_patch(None, {"contract.columns": None})), "t"
        )
        == TableOptions()
    )


def test_an_option_fault_is_the_operator_s() -> None:
    assert issubclass(OptionError, OperatorError)
