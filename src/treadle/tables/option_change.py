"""What a change of options does: which values change, and which tables are loaded differently.

A change is made from the command line or over the API; both ask here.
"""

from collections.abc import Collection, Mapping
from typing import Any

from treadle.tables.options import (
    EffectiveOption,
    OptionError,
    OptionValue,
    check_option,
    list_effective_options,
    list_values,
)


def check_assignments(assignments: Mapping[str, object]) -> dict[str, OptionValue]:
    """Return the options that somebody wants to set; None takes one back.

    Raises:
        OptionError: there is no such option, or it has no such value; names the nearest one.
    """
    wanted: dict[str, OptionValue] = {}
    for name, value in assignments.items():
        list_values(name)
        if value is not None:
            check_option(name, value)
        if value is not None and not isinstance(value, str | int | bool):
            raise OptionError(f"The option {name} cannot be {value!r}.")
        wanted[name] = value
    return wanted


def find_touched_tables(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    table_name: str | None,
    known: Collection[str],
) -> list[str]:
    """Return the tables of which an option has another value after a change, by name.

    Args:
        before: settings of the source.
        after: settings of the source.
        table_name: the only table that is changed; None for the whole source.
        known: names of the tables that the source has, as sent.

    Raises:
        OptionError: something stored is no option.
    """
    if table_name is not None:
        return [table_name] if _differ(before, after, table_name) else []
    named = {*_list_named(before), *_list_named(after)}
    plain = list(known) if _differ(before, after, None) else []
    return sorted(
        [
            *(name for name in plain if name not in named),
            *(name for name in named if _differ(before, after, name)),
        ]
    )


def _list_named(settings: Mapping[str, Any]) -> Collection[str]:
    """Return the names of the tables with options of their own."""
    found = settings.get("tables", {})
    return found.keys() if isinstance(found, Mapping) else ()


def _differ(before: Mapping[str, Any], after: Mapping[str, Any], table: str | None) -> bool:
    return _read(before, table) != _read(after, table)


def _read(settings: Mapping[str, Any], table: str | None) -> list[tuple[str, OptionValue]]:
    found: tuple[EffectiveOption, ...] = list_effective_options(settings, table)
    return [(name, value) for name, value, _ in found]
