"""`treadle source options`: sets how the tables of a source are loaded (loading.md 12.2)."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.cli.command import Arguments, CliCommand, UsageError
from treadle.cli.output import print_json, print_line, print_table
from treadle.cli.store_access import open_named_source
from treadle.config import Config
from treadle.errors import OperatorError

if TYPE_CHECKING:
    from treadle.tables.options import EffectiveOption, OptionValue

TOUCHED_SHOWN = 20
"""Names of tables that are printed after a change."""

COLUMNS = ("option", "value", "set for", "values")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="name or id of the source")
    parser.add_argument(
        "assignments",
        metavar="NAME=VALUE",
        nargs="*",
        help="set an option; NAME= takes it back; without any, print them",
    )
    parser.add_argument("--table", help="for this table alone, as it is named in pushes")
    parser.add_argument("--account", metavar="ID", help="account of the source (default: any)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(config: Config, arguments: Arguments) -> int:
    """Set options, and print those in force."""
    from treadle.tables.options import list_effective_options
    from treadle.tracking.source_options import set_source_options

    wanted = parse_assignments(arguments.assignments)
    with open_named_source(config, arguments) as (store, source):
        if not wanted:
            found = list_effective_options(source.settings, arguments.table)
            _print(found, as_json=arguments.json)
            return 0
        changed = set_source_options(store, source, arguments.table, wanted)
        if changed is None:  # deleted by somebody else a moment ago
            raise OperatorError(f"The source {source.name} was deleted.")
    _print(changed.options, as_json=arguments.json)
    if not arguments.json:
        print_line(describe_touched(changed.touched))
    return 0


def describe_touched(touched: Sequence[str]) -> str:
    """Say which tables are loaded differently from now on."""
    if not touched:
        return "No table is loaded differently by that."
    names = ", ".join(touched[:TOUCHED_SHOWN])
    more = len(touched) - TOUCHED_SHOWN
    return f"Loaded so from now on: {names}" + (f", and {more} other tables" if more > 0 else "")


def parse_assignments(texts: list[str]) -> "dict[str, OptionValue]":
    """Return option -> its new value, None to unset it.

    Raises:
        UsageError: a text is not an assignment.
        OptionError: an unknown option, or a value that is not valid.
    """
    from treadle.tables.options import list_values, parse_option

    wanted: dict[str, OptionValue] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"Expected NAME=VALUE, found {text!r}; NAME= takes an option back.")
        list_values(name)
        # The value `none` is a null, which unsets the option: no limit is the default.
        wanted[name] = parse_option(name, value) if value else None
    return wanted


def _print(found: "tuple[EffectiveOption, ...]", *, as_json: bool) -> None:
    from treadle.tables.options import list_values

    if as_json:
        print_json({name: value for name, value, _ in found})
        return
    print_table(
        COLUMNS,
        [
            (
                name,
                _format_value(value),
                "" if origin == "default" else origin,
                ", ".join(list_values(name)),
            )
            for name, value, origin in found
        ],
    )


def _format_value(value: "OptionValue") -> str:
    """Write a value as it is written in an assignment."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


COMMAND = CliCommand(
    words=("source", "options"),
    help="print or set how the tables of a source are loaded",
    run=run,
    arguments=_arguments,
    intermixed=True,
)
