"""`treadle source show`, `source quota` and `account quota`: quotas, and what is used of them."""

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from treadle.cli.command import Arguments, CliCommand, parse_digits
from treadle.cli.output import print_json, print_line, print_rows, to_whole_second
from treadle.cli.result_text import to_json_value
from treadle.cli.source import describe_state
from treadle.cli.store_access import find_account, open_existing_store, open_named_source
from treadle.config import Config
from treadle.errors import OperatorError
from treadle.quotas import (
    ACCOUNT_QUOTAS,
    LOG_PART,
    RATES,
    REFUSALS,
    SOURCE_QUOTAS,
    USAGE_COLUMNS,
    AccountQuota,
    SourceQuota,
)

if TYPE_CHECKING:
    from treadle.store.model import Source
    from treadle.store.store import Store

COLUMNS = ("quota", "limit", "set_by", "used", "refused")
ACCOUNT_COLUMNS = COLUMNS[:3]

RATE_SECONDS = 1.0
"""Seconds over which `source show` measures the rates of a source."""

NONE = "none"

_VALUE_HELP = (
    "set a quota, such as records=5000; none for no limit, NAME= to take it back; without any, "
    "print them"
)


def parse_quotas(texts: Sequence[str], known: Sequence[str]) -> dict[str, int | None]:
    """Return name -> value of texts such as `tables=500`; None for the setting's value.

    Args:
        texts: as they were given.
        known: names of quotas.

    Raises:
        OperatorError: a text is none, its name is unknown, or its value is no number.
    """
    found: dict[str, int | None] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            raise OperatorError(
                f"{text!r} is no quota: expected NAME=VALUE with one of the names "
                f"{', '.join(known)}."
            )
        least = 1 if name == "weight" else 0
        number = parse_digits(value)
        if not value:
            found[name] = None
        elif value == NONE and not least:
            found[name] = 0
        elif number is not None and number >= least:
            found[name] = number
        else:
            raise OperatorError(
                f"The value of {name} is to be a whole number from {least} to 2^63 - 1, or "
                f"{NONE}, not {value!r}; {name}= takes it back."
            )
    return found


def _show_limit(value: int) -> object:
    return value or NONE


def _list_limits(
    quota: SourceQuota | AccountQuota, names: Sequence[str], overrides: Mapping[str, int]
) -> list[tuple[str, object, str]]:
    """Return name, limit, and who set it, of each quota."""
    return [
        (name, _show_limit(getattr(quota, name)), "operator" if name in overrides else "setting")
        for name in names
    ]


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="name or id of the source")
    parser.add_argument("--account", metavar="ID", help="account of the source (default: any)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def show_source(config: Config, arguments: Arguments) -> int:
    """Show a source, its quotas, what it uses of them, and how often it was refused."""
    with open_named_source(config, arguments) as (store, source):
        rows = list_source_quotas(config, store, source)
    if arguments.json:
        print_json(
            {
                "id": source.id,
                "name": source.name,
                "display_name": source.display_name,
                "state": describe_state(source),
                "stitch_client_id": source.account_id,
                "created_at": to_json_value(to_whole_second(source.created_at)),
                "quotas": [dict(zip(COLUMNS, row, strict=True)) for row in rows],
            }
        )
        return 0
    print_line(f"id: {source.id}")
    print_line(f"name: {source.name}")
    print_line(f"state: {describe_state(source)}")
    print_line(f"stitch_client_id: {source.account_id}")
    print_line()
    print_rows(COLUMNS, rows, as_json=False)
    return 0


def list_source_quotas(
    config: Config, store: "Store", source: "Source"
) -> list[tuple[str, object, str, object, object]]:
    """Return a row of `COLUMNS` for each quota of a source, and one for its part of the log."""
    from treadle.log.registry import has_log, open_reader
    from treadle.server.factories import make_quota_table
    from treadle.shared_rows import sum_rows
    from treadle.waiting_rows import WaitingRow, read_waiting

    overrides = store.quotas.list_overrides().sources.get(source.id, {})
    quota = make_quota_table(config).source.override(overrides)
    nothing = (0,) * len(USAGE_COLUMNS)
    before = sum_rows(config.counters_path, USAGE_COLUMNS).get(source.id, nothing)
    began = time.monotonic()
    time.sleep(RATE_SECONDS)
    counted = sum_rows(config.counters_path, USAGE_COLUMNS).get(source.id, nothing)
    seconds = time.monotonic() - began
    used: dict[str, object] = {
        name: round((after - earlier) / seconds)
        for name, earlier, after in zip(RATES, before, counted, strict=False)
    }
    refused = dict(zip(REFUSALS, counted[len(RATES) :], strict=True))
    waits = read_waiting(config.counters_path).get(source.id, WaitingRow())
    used["waiting_bytes"] = waits.size
    if has_log(config, store.logs):
        reader = open_reader(config, store.logs)
        try:
            tables = reader.statistics.list_tables()
        finally:
            reader.close()
        used["tables"] = sum(source_id == source.id for source_id, _ in tables)
    rows = [
        (name, limit, set_by, used.get(name), refused.get(name))
        for name, limit, set_by in _list_limits(quota, SOURCE_QUOTAS, overrides)
    ]
    part = "above" if waits.is_above else "within"
    return [*rows, (LOG_PART, None, "shares", part, refused[LOG_PART])]


def _quota_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="name or id of the source")
    parser.add_argument("quotas", metavar="NAME=VALUE", nargs="*", help=_VALUE_HELP)
    parser.add_argument("--account", metavar="ID", help="account of the source (default: any)")
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def set_source_quotas(config: Config, arguments: Arguments) -> int:
    """Set quotas of a source, and print those in force."""
    from treadle.server.factories import make_quota_table

    values = parse_quotas(arguments.quotas, SOURCE_QUOTAS)
    with open_named_source(config, arguments) as (store, source):
        if values:
            store.quotas.set_source_quotas(source, values)
        overrides = store.quotas.list_overrides().sources.get(source.id, {})
    quota = make_quota_table(config).source.override(overrides)
    rows = _list_limits(quota, SOURCE_QUOTAS, overrides)
    print_rows(ACCOUNT_COLUMNS, rows, as_json=arguments.json)
    return 0


def _account_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("quotas", metavar="NAME=VALUE", nargs="*", help=_VALUE_HELP)
    parser.add_argument("--account", metavar="ID", help="id or name (default: the only one)")
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def set_account_quotas(config: Config, arguments: Arguments) -> int:
    """Set quotas of an account, and print those in force."""
    from treadle.server.factories import make_quota_table

    values = parse_quotas(arguments.quotas, ACCOUNT_QUOTAS)
    with open_existing_store(config) as store:
        account = find_account(store, arguments.account)
        if values:
            store.quotas.set_account_quotas(account, values)
        overrides = store.quotas.list_overrides().accounts.get(account.id, {})
    quota = make_quota_table(config).account.override(overrides)
    rows = _list_limits(quota, ACCOUNT_QUOTAS, overrides)
    print_rows(ACCOUNT_COLUMNS, rows, as_json=arguments.json)
    return 0


COMMANDS = (
    CliCommand(
        words=("source", "show"),
        help="show a source, its quotas, what it uses of them and what it was refused",
        run=show_source,
        arguments=_show_arguments,
    ),
    CliCommand(
        words=("source", "quota"),
        help="print or set how much a source may use",
        run=set_source_quotas,
        arguments=_quota_arguments,
        intermixed=True,
    ),
    CliCommand(
        words=("account", "quota"),
        help="print or set how much all sources of an account may use together",
        run=set_account_quotas,
        arguments=_account_arguments,
        intermixed=True,
    ),
)
