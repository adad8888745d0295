"""The options of a table as they are set: names, values and where they come from (loading.md 12.2).

A source's settings hold them as {"options": {name: value}, "tables": {table: {name: value}}};
what is set for a table wins over what is set for its source. A contract may be written as one
object, {"contract": {"columns": "freeze"}}.
"""

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin, get_type_hints

from treadle.errors import OperatorFault, TableStopped
from treadle.tables.model import Options

Value = str | int | bool | None
From = Literal["default", "source", "table"]

MAX_NESTING: Final = "max_nesting"
DEFAULTS: Final = Options()

_FIELDS: Final = {
    each.name.replace("contract_", "contract."): each.name for each in fields(Options)
}
"""Name of an option -> field of `Options`."""

_HINTS: Final = get_type_hints(Options)

NAMES: Final = tuple(_FIELDS)


class OptionFault(OperatorFault):
    """An option or a value that is none."""


class InForce(NamedTuple):
    """An option of a table: its value and where that was set."""

    name: str
    value: Value
    origin: From


def values_of(name: str) -> tuple[str, ...]:
    """What an option may be set to, as texts, the default first.

    Raises:
        OptionFault: there is no such option.
    """
    field = _field(name)
    hint = _HINTS[field]
    if name == MAX_NESTING:
        return ("none", "a whole number from 0")
    if hint is bool:
        return ("false", "true")
    return get_args(hint) if get_origin(hint) is Literal else ()


def parse(name: str, text: str) -> Value:
    """The value that a text of the command line means.

    Raises:
        OptionFault: there is no such option, or it has no such value.
    """
    value: Value = text
    if _HINTS[_field(name)] is bool:
        value = {"true": True, "false": False}.get(text, text)
    elif name == MAX_NESTING and text.isascii() and text.isdigit() and len(text) < 10:
        value = int(text)
    elif name == MAX_NESTING and text == "none":
        value = None
    check(name, value)
    return value


def check(name: str, value: object) -> None:
    """Check a stored option.

    Raises:
        OptionFault: there is no such option, or it has no such value; names the nearest one.
    """
    field = _field(name)
    if name == MAX_NESTING:
        good = value is None or (type(value) is int and value >= 0)
    elif _HINTS[field] is bool:
        good = type(value) is bool
    else:
        good = isinstance(value, str) and value in values_of(name)
    if not good:
        known = values_of(name)
        near = get_close_matches(str(value), known, n=1)
        meant = f"; did you mean {near[0]}?" if near else "."
        raise OptionFault(
            f"The option {name} cannot be {_shown(value)}: it is {' or '.join(known)}{meant}"
        )


def in_force(settings: Mapping[str, Any], table_name: str | None) -> tuple[InForce, ...]:
    """Every option of a table, or of a source's tables in general, in the order of loading.md.

    Args:
        settings: of the source.
        table_name: as sent; None for what holds for tables without options of their own.

    Raises:
        OptionFault: something stored is no option.
    """
    of_source = _options(settings, "options", "the source")
    of_table: Mapping[str, Any] = {}
    if table_name is not None:
        tables = _group(settings, "tables", "the tables of the source")
        of_table = _options(tables, table_name, f"the table {table_name!r}")
    for group in (of_source, of_table):
        for name, value in group.items():
            check(name, value)

    def one(name: str) -> InForce:
        if name in of_table:
            return InForce(name, of_table[name], "table")
        if name in of_source:
            return InForce(name, of_source[name], "source")
        return InForce(name, getattr(DEFAULTS, _FIELDS[name]), "default")

    return tuple(map(one, NAMES))


def options_of(settings: Mapping[str, Any], table_name: str) -> Options:
    """The options of a table, for its loads.

    Args:
        settings: of the source.
        table_name: as sent.

    Raises:
        TableStopped: something stored is no option; the table waits until it is mended.
    """
    if not settings:
        return DEFAULTS
    try:
        found: dict[str, Any] = {
            _FIELDS[name]: value for name, value, _ in in_force(settings, table_name)
        }
    except OptionFault as fault:
        raise TableStopped(
            f"the options of table {table_name!r} cannot be used. {fault} "
            "Mend them with `treadle source options`; its records wait."
        ) from fault
    return Options(**found)


def change(table_name: str | None, assignments: Mapping[str, Value]) -> dict[str, Any]:
    """The merge patch of a source's settings that sets options; None takes one back.

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


def _field(name: str) -> str:
    field = _FIELDS.get(name)
    if field is None:
        near = get_close_matches(name, NAMES, n=1, cutoff=0.5)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}."
        raise OptionFault(f"There is no option {name!r}; {meant}")
    return field


def _group(settings: Mapping[str, Any], key: str, whose: str) -> Mapping[str, Any]:
    found = settings.get(key, {})
    if not isinstance(found, Mapping):
        raise OptionFault(f"The options of {whose} are to be an object; they are {_shown(found)}.")
    return found


def _options(settings: Mapping[str, Any], key: str, whose: str) -> Mapping[str, Any]:
    """A group of options by their names, a contract's parts among them."""
    found = _group(settings, key, whose)
    contract = found.get("contract")
    if not isinstance(contract, Mapping):
        return found
    parts = {f"contract.{part}": value for part, value in contract.items()}
    return {**parts, **{name: value for name, value in found.items() if name != "contract"}}


def _shown(value: object) -> str:
    return value if isinstance(value, str) and value else repr(value)
