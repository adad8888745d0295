"""`treadle table`: the tables of a source as the store and the log know them.

Nothing here opens a destination, so it can be asked while the server loads.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from treadle.cli.command import Arguments, CliCommand, parse_positive
from treadle.cli.output import print_json, print_line, print_table
from treadle.cli.store_access import open_named_source
from treadle.config import Config
from treadle.counting import count_subject
from treadle.errors import OperatorError, RequestRefusedError

if TYPE_CHECKING:
    from treadle.control.catalogue_operations import CatalogueOperations
    from treadle.store.model import Account

LIST_COLUMNS: Final = ("table", "state", "waiting", "oldest", "last load", "loaded", "rejected")
COLUMN_COLUMNS: Final = ("relation", "column", "field", "type", "nullable", "first seen")
LEFT_OUT_COLUMNS: Final = ("relation", "left-out field", "reason", "since")
EVENT_COLUMNS: Final = ("at", "kind", "load", "what")


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="name or id of the source")
    parser.add_argument("--account", metavar="ID", help="account of the source (default: any)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_table(parser: argparse.ArgumentParser) -> None:
    _add_source(parser)
    parser.add_argument("table", metavar="TABLE", help="the table, as it is named in pushes")


def _add_list_arguments(parser: argparse.ArgumentParser) -> None:
    _add_source(parser)
    parser.add_argument(
        "--state",
        metavar="STATE",
        help="only in this state: idle, loading, waiting, failing, stopped; several with commas",
    )
    parser.add_argument("--search", metavar="TEXT", help="only with this text in their name")
    parser.add_argument(
        "--sort", metavar="ORDER", help="name, waiting, oldest, last_load or rejected"
    )
    parser.add_argument("--limit", metavar="N", default="100", help="how many at most")


def _add_history_arguments(parser: argparse.ArgumentParser) -> None:
    _add_table(parser)
    parser.add_argument("--limit", metavar="N", default="100", help="how many at most, up to 100")


@contextmanager
def _open_catalogue(
    config: Config, arguments: Arguments
) -> Iterator[tuple["CatalogueOperations", "Account", str]]:
    """Open what the operations need; yields them, the account of the source, and its id.

    Raises:
        OperatorError: there is no such source, or the operation is refused.
    """
    from treadle.control.catalogue_operations import CatalogueOperations
    from treadle.control.waiting_view import WaitingView
    from treadle.log.registry import has_log, open_reader

    with open_named_source(config, arguments) as (store, source):
        reader = partial(open_reader, config, store.logs) if has_log(config, store.logs) else None
        [account] = [one for one in store.accounts.list_accounts() if one.id == source.account_id]
        with closing(WaitingView(reader)) as waiting:
            try:
                yield CatalogueOperations(store, waiting), account, str(source.id)
            except RequestRefusedError as refused:
                raise OperatorError(_read_message(refused.body)) from refused


def _read_message(body: object) -> str:
    found = body.get("data", body) if isinstance(body, dict) else body
    said = str(found.get("message", found) if isinstance(found, dict) else found)
    return f"{said[:1].upper()}{said[1:]}."


def list_tables(config: Config, arguments: Arguments) -> int:
    """List the tables of a source, with their states."""
    from treadle.control.catalogue_operations import TABLES_MAX, parse_table_question

    limit = parse_positive("--limit", arguments.limit)
    found: list[Any] = []
    after: str | None = None
    with _open_catalogue(config, arguments) as (catalogue, account, source_id):
        while len(found) < limit:
            count = str(min(TABLES_MAX, limit - len(found)))
            question = parse_table_question(
                arguments.state, arguments.search, arguments.sort, after, count
            )
            page = catalogue.list_source_tables(account, source_id, question)
            found += page["tables"]
            after = page["next"]
            if after is None:
                break
    if arguments.json:
        print_json({"tables": found, "total": page["total"], "states": page["states"]})
        return 0
    names = ["table", "state", "waiting_records", "oldest_waiting_at", "last_load_at"]
    names += ["loaded", "rejected"]
    print_table(LIST_COLUMNS, [tuple(table[name] for name in names) for table in found])
    return 0


def show_table(config: Config, arguments: Arguments) -> int:
    """Show a table with its columns, as its last load left them."""
    with _open_catalogue(config, arguments) as (catalogue, account, source_id):
        found = catalogue.get_source_table(account, source_id, arguments.table)
    if arguments.json:
        print_json(found)
        return 0
    for line in describe_table(found):
        print_line(line)
    print_table(
        COLUMN_COLUMNS,
        [
            (
                relation["relation"],
                column["column"],
                column["field"],
                column["type"],
                "yes" if column["nullable"] else "no",
                column["first_seen_at"],
            )
            for relation in found["relations"]
            for column in relation["columns"]
        ],
    )
    if found["left_out"]:
        print_line()
        names = ("relation", "field", "reason", "since")
        print_table(
            LEFT_OUT_COLUMNS, [tuple(one[name] for name in names) for one in found["left_out"]]
        )
    return 0


def describe_table(found: Mapping[str, Any]) -> list[str]:
    """Say on some lines how a table is."""
    key = ", ".join(found["key"]) or "none"
    place = f"{found['schema']}.{found['table']}"
    how = f"{found['state']}, key {key}, mode {found['mode']}, version {found['version']}"
    words = {"received": "received", "waiting_records": "waiting"}
    words |= {name: name for name in ("loaded", "superseded", "rejected")}
    counts = ", ".join(f"{found[name]} {word}" for name, word in words.items())
    troubles = [found[name] for name in ("error", "trouble") if found[name] is not None]
    return [f"{place}: {how}", f"records: {counts}", *troubles]


def show_history(config: Config, arguments: Arguments) -> int:
    """List what loads and others changed of a table, newest first."""
    with _open_catalogue(config, arguments) as (catalogue, account, source_id):
        found = catalogue.list_history(account, source_id, arguments.table, None, arguments.limit)
    if arguments.json:
        print_json(found)
        return 0
    rows = []
    for event in found["events"]:
        told = [change["text"] for change in event["changes"]] or [event["reason"] or event["text"]]
        rows += [(event["at"], event["kind"], event["load_id"], text) for text in told]
    print_table(EVENT_COLUMNS, rows)
    return 0


def _ask(
    config: Config,
    arguments: Arguments,
    operation: Callable[["CatalogueOperations", "Account", str, str], dict[str, Any]],
) -> int:
    with _open_catalogue(config, arguments) as (catalogue, account, source_id):
        found = operation(catalogue, account, source_id, arguments.table)
    if arguments.json:
        print_json(found)
    else:
        waiting = count_subject(found["waiting_records"], "record", "waits", "wait")
        print_line(f"Asked for {found['table']}, of which {waiting}.")
    return 0


def load_table(config: Config, arguments: Arguments) -> int:
    """Have a running server load what waits of a table now."""
    from treadle.control.catalogue_operations import CatalogueOperations

    return _ask(config, arguments, CatalogueOperations.load_table)


def retry_table(config: Config, arguments: Arguments) -> int:
    """Have a running server try a table again that stopped or failed."""
    from treadle.control.catalogue_operations import CatalogueOperations

    return _ask(config, arguments, CatalogueOperations.retry_table)


COMMANDS = (
    CliCommand(
        words=("table", "list"),
        help="list the tables of a source, with what waits of each",
        run=list_tables,
        arguments=_add_list_arguments,
    ),
    CliCommand(
        words=("table", "show"),
        help="show the columns of a table and what is left out of it",
        run=show_table,
        arguments=_add_table,
    ),
    CliCommand(
        words=("table", "history"),
        help="list what loads changed of a table's schema, newest first",
        run=show_history,
        arguments=_add_history_arguments,
    ),
    CliCommand(
        words=("table", "load"),
        help="have a running server load what waits of a table now",
        run=load_table,
        arguments=_add_table,
    ),
    CliCommand(
        words=("table", "retry"),
        help="have a running server try a stopped or failing table again",
        run=retry_table,
        arguments=_add_table,
    ),
)
