"""The options of a table as they are set: names, values and origins (loading.md 12.2).

A source's settings hold them as {"options": {name: value}, "tables": {table: {name: value}}};
what is set for a table wins over what is set for its source. A contract may be written as one
object, {"contract": {"columns": "freeze"}}.
"""

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin, get_type_hints

from treadle.errors import OperatorError, TableStoppedError
from treadle.tables.model import TableOptions

OptionValue = str | int | bool | None
OptionOrigin = Literal["default", "source", "table"]

MAX_NESTING: Final = "max_nesting"
DEFAULT_OPTIONS: Final = TableOptions()

_OPTION_FIELDS: Final = {
    each.name.replace("contract_", "contract."): each.name for each in fields(TableOptions)
}
"""Name of an option -> field of `TableOptions`."""

_OPTION_HINTS: Final = get_type_hints(TableOptions)

OPTION_NAMES: Final = tuple(_OPTION_FIELDS)


OPTION_MEANINGS: Final[Mapping[str, str]] = {
    "split_mode": "what a column becomes whose field gets values of a second type",
    "on_bad_value": "whether a value that cannot be stored rejects its record or becomes NULL",
    "nested": "whether objects and arrays become columns and subtables, or one JSON column",
    "max_nesting": "levels of objects that become columns; deeper ones become JSON text",
    "contract.tables": "what becomes of a record that brings a new table or subtable",
    "contract.columns": "what becomes of a record that brings a new column",
    "contract.types": "what becomes of a record that brings a new type for a field",
    "long_names": "whether a field whose name is too long is left out or gets a shorter name",
    "collisions": "what becomes of the second of two fields with one name",
    "stale_children": "what becomes of rows of a subtable that a newer record no longer has",
    "hard_delete": "whether a record with _sdc_deleted_at removes its row",
    "sequence_tie": "which of two records with the same key and sequence is the row",
    "leading_nonletter": "whether names keep what is before their first letter (PostgreSQL)",
    "key_change": "what becomes of a table whose records name other keys than it has",
    "key_types": "what becomes of a record whose key has another type than the table's",
    "loading_behavior": "whether a record replaces the row of its key, or every one is appended",
    "nul_characters": "what becomes of NUL characters in texts",
    "decimals": "what becomes of decimals with more digits than DuckDB's columns have",
    "json_special_numbers": "what NaN and infinities become in JSON",
}
"""Name of an option -> what it decides, on one line."""


class OptionError(OperatorError):
    """There is no such option, or it has no such value."""


class EffectiveOption(NamedTuple):
    """An option of a table, its value and where that was set."""

    name: str
    value: OptionValue
    origin: OptionOrigin


def get_default(name: str) -> OptionValue:
    """Return the value that an option has where nobody set it.

    Raises:
        OptionError: there is no such option.
    """
    value: OptionValue = getattr(DEFAULT_OPTIONS, _find_field(name))
    return value


def list_values(name: str) -> tuple[str, ...]:
    """Return the values of an option as texts, the default first.

    Raises:
        OptionFault: there is no such option.
    """
    field = _find_field(name)
    hint = _OPTION_HINTS[field]
    if name == MAX_NESTING:
        return ("none", "a whole number from 0")
    if hint is bool:
        return ("false", "true")
    return get_args(hint) if get_origin(hint) is Literal else ()


def parse_option(name: str, text: str) -> OptionValue:
    """Return the value that a text of the command line means.

    Raises:
        OptionFault: there is no such option, or it has no such value.
    """
    value: OptionValue = text
    if _OPTION_HINTS[_find_field(name)] is bool:
        value = {"true": True, "false": False}.get(text, text)
    elif name == MAX_NESTING and text.isascii() and text.isdigit() and len(text) < 10:
        value = int(text)
    elif name == MAX_NESTING and text == "none":
        value = None
    check_option(name, value)
    return value


def check_option(name: str, value: object) -> None:
    """Check a stored option.

    Raises:
        OptionFault: there is no such option, or it has no such value; names the nearest one.
    """
    field = _find_field(name)
    if name == MAX_NESTING:
        good = value is None or (type(value) is int and value >= 0)
    elif _OPTION_HINTS[field] is bool:
        good = type(value) is bool
    else:
        good = isinstance(value, str) and value in list_values(name)
    if not good:
        known = list_values(name)
        near = get_close_matches(str(value), known, n=1)
        meant = f"; did you mean {near[0]}?" if near else "."
        raise OptionError(
            f"The option {name} cannot be {_show_value(value)}: it is {' or '.join(known)}{meant}"
        )


def list_effective_options(
    settings: Mapping[str, Any], table_name: str | None
) -> tuple[EffectiveOption, ...]:
    """Return every option of a table, or of a source's tables in general, in loading.md's order.

    Args:
        settings: of the source.
        table_name: as sent; None for what holds for tables without options of their own.

    Raises:
        OptionFault: something stored is no option.
    """
    of_source = _get_options(settings, "options", "the source")
    of_table: Mapping[str, Any] = {}
    if table_name is not None:
        tables = _get_group(settings, "tables", "the tables of the source")
        of_table = _get_options(tables, table_name, f"the table {table_name!r}")
    for group in (of_source, of_table):
        for name, value in group.items():
            check_option(name, value)

    def one(name: str) -> EffectiveOption:
        if name in of_table:
            return EffectiveOption(name, of_table[name], "table")
        if name in of_source:
            return EffectiveOption(name, of_source[name], "source")
        return EffectiveOption(name, getattr(DEFAULT_OPTIONS, _OPTION_FIELDS[name]), "default")

    return tuple(map(one, OPTION_NAMES))


def make_options(settings: Mapping[str, Any], table_name: str) -> TableOptions:
    """Return the options of a table for its loads.

    Args:
        settings: of the source.
        table_name: as sent.

    Raises:
        TableStoppedError: something stored is no option; the table waits until it is mended.
    """
    if not settings:
        return DEFAULT_OPTIONS
    try:
        found: dict[str, Any] = {
            _OPTION_FIELDS[name]: value
            for name, value, _ in list_effective_options(settings, table_name)
        }
    except OptionError as fault:
        raise TableStoppedError(
            f"the options of table {table_name!r} cannot be used. {fault} "
            "Mend them with `treadle source options`; its records wait."
        ) from fault
    return TableOptions(**found)


def make_options_patch(
    table_name: str | None, assignments: Mapping[str, OptionValue]
) -> dict[str, Any]:
    """Make the merge patch of a source's settings that sets options; None takes one back.

    Args:
        table_name: as sent; None for the whole source.
        assignments: option -> value, checked before.
    """
    patch: dict[str, Any] = dict(assignments)
    for name, value in assignments.items():
        whole, _, part = name.partition(".")
        if part and value is None:  # it may be stored as a part of one object
            patch.setdefault(whole, {})[part] = None
    return {"options": patch} if table_name is None else {"tables": {table_name: patch}}


def _find_field(name: str) -> str:
    field = _OPTION_FIELDS.get(name)
    if field is None:
        near = get_close_matches(name, OPTION_NAMES, n=1, cutoff=0.5)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(OPTION_NAMES)}."
        raise OptionError(f"There is no option {name!r}; {meant}")
    return field


def _get_group(settings: Mapping[str, Any], key: str, whose: str) -> Mapping[str, Any]:
    found = settings.get(key, {})
    if not isinstance(found, Mapping):
        raise OptionError(
            f"The options of {whose} are to be an object; they are {_show_value(found)}."
        )
    return found


def _get_options(settings: Mapping[str, Any], key: str, whose: str) -> Mapping[str, Any]:
    """Return a group of options by their names, a contract's parts among them."""
    found = _get_group(settings, key, whose)
    contract = found.get("contract")
    if not isinstance(contract, Mapping):
        return found
    parts = {f"contract.{part}": value for part, value in contract.items()}
    return {**parts, **{name: value for name, value in found.items() if name != "contract"}}


def _show_value(value: object) -> str:
    return value if isinstance(value, str) and value else repr(value)
