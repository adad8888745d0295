"""`treadle query`: runs a statement in the default destination, reading only."""

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from treadle.cli.command import Arguments, CliCommand, parse_positive
from treadle.cli.output import (
    print_csv_batches,
    print_fitting_table,
    print_line,
    print_object_batches,
    print_text,
)
from treadle.cli.output_spool import spool_output
from treadle.cli.query_names import (
    LIST_TABLES,
    find_whole_table,
    propose_table,
    replace_show_tables,
)
from treadle.cli.result_text import limit_batches
from treadle.cli.store_access import open_existing_store
from treadle.config import Config
from treadle.counting import count_noun
from treadle.destinations.protocol import (
    DestinationUnavailableError,
    MissingRelationError,
    QueryResult,
    QueryStream,
    Session,
)
from treadle.destinations.retry import open_with_retry
from treadle.errors import OperatorError, TreadleError
from treadle.questions.column_order import order_columns
from treadle.text import end_sentence

ROWS_SHOWN: Final = 1_000
"""Rows of a table on a screen, where nobody says how many."""

COUNT_SECONDS_MAX: Final = 0.4
"""How long the other rows are counted."""

LIST_KEYS: Final = """
SELECT parts.table_schema, parts.table_name, parts.column_name
FROM information_schema.key_column_usage AS parts
JOIN information_schema.table_constraints AS rules
  ON rules.constraint_name = parts.constraint_name
  AND rules.table_schema = parts.table_schema
  AND rules.table_name = parts.table_name
WHERE rules.constraint_type = 'PRIMARY KEY'
"""
"""The columns of all keys."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sql", metavar="SQL", help="one statement, for example a SELECT")
    parser.add_argument(
        "--limit",
        metavar="N",
        default=str(ROWS_SHOWN),
        help=f"rows of the table that is shown; --json and --csv give all (default: {ROWS_SHOWN})",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON array of objects")
    form.add_argument(
        "--csv",
        action="store_true",
        help="print CSV with a header line, exact; a spreadsheet takes texts such as =1+1 in it "
        "for formulas",
    )
    form.add_argument(
        "--csv-safe",
        action="store_true",
        help="print CSV for a spreadsheet: a text that would be a formula there begins with an "
        "apostrophe",
    )


def run_query(config: Config, arguments: Arguments) -> int:
    """Run one statement, and print its rows."""
    limit = parse_positive("--limit", arguments.limit)
    url = find_destination_url(config)
    statement = replace_show_tables(arguments.sql)
    try:
        with open_destination(url) as (session, exclusive):
            if arguments.json or arguments.csv or arguments.csv_safe:
                with spool_output() if exclusive else nullcontext():
                    _print_for_programs(session, statement, arguments)
                return 0
            shown = read_first_rows(session, statement, limit)
    except (MissingRelationError, DestinationUnavailableError) as error:
        raise _explain_fault(config, error) from error
    print_shown(shown)
    return 0


def _print_for_programs(session: Session, statement: str, arguments: Arguments) -> None:
    with _stream_named(session, statement) as found:
        if arguments.json:
            print_object_batches(found.columns, found.batches)
        else:
            print_csv_batches(found.columns, found.batches, safe=arguments.csv_safe)


@contextmanager
def _stream_named(session: Session, statement: str) -> Iterator[QueryStream]:
    """Run a statement; say which table was meant where one is missing."""
    try:
        with session.stream_query(statement) as found:
            yield found
    except MissingRelationError as error:
        meant = propose_table(statement, _list_tables(session))
        if meant is None:
            raise
        words = without_proposal(str(error)).rstrip(".!")
        raise MissingRelationError(f"{words}; {meant}") from error


def _list_tables(session: Session) -> list[tuple[str, str]]:
    try:
        return [(schema, table) for schema, table, _ in session.query(LIST_TABLES).rows]
    except TreadleError:  # the role may not look
        return []


@dataclass(frozen=True, slots=True)
class ShownRows:
    """The first rows of an answer.

    Attributes:
        columns: as they are shown.
        rows: of them.
        more: there are more rows.
        total: how many there are in all; None where it is not known.
    """

    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]
    more: bool = False
    total: int | None = None


def read_first_rows(session: Session, statement: str, limit: int) -> ShownRows:
    """Read the first rows of a statement, and count the others if that is quick."""
    rows: list[tuple[object, ...]] = []
    with _stream_named(session, statement) as found:
        for batch in limit_batches(found.batches, limit + 1):
            rows += zip(*batch, strict=True)
    more = len(rows) > limit
    del rows[limit:]
    total = session.count_query(statement, COUNT_SECONDS_MAX) if more else len(rows)
    if total is not None and total < len(rows) + more:
        total = None  # what gives other rows each time
    columns = found.columns
    whole = find_whole_table(statement)
    if whole is not None:
        order = order_columns(columns, _find_key(session, *whole))
        columns = tuple(columns[place] for place in order)
        rows = [tuple(row[place] for place in order) for row in rows]
    return ShownRows(columns, rows, more, total)


def _find_key(session: Session, schema: str | None, table: str) -> set[str]:
    """Return the columns of the key of a table; none where it has none or none may be seen."""
    try:
        found = session.query(LIST_KEYS).rows
    except TreadleError:
        return set()
    return {column for of, name, column in found if name == table and schema in (None, of)}


def print_shown(shown: ShownRows) -> None:
    """Print the first rows of an answer as a table, and what is not shown of it."""
    if not shown.columns:
        print_line("done; this statement gives no rows")
        return
    fitting = print_fitting_table(shown.columns, shown.rows)
    told = describe_shown(shown, fitting, on_terminal=sys.stdout.isatty())
    if told is not None:
        print_text(told)


def describe_shown(shown: ShownRows, fitting: int, *, on_terminal: bool) -> str | None:
    """Return the line below a table; None for none.

    Args:
        shown: the table.
        fitting: how many of its columns are printed.
        on_terminal: a person reads it.
    """
    ways = "--csv for all"
    if not shown.rows:
        return "no rows"
    if shown.more and shown.total is None:
        told = f"the first {count_noun(len(shown.rows), 'row')} of more; {ways}"
    elif shown.more:
        told = f"{len(shown.rows):,} of {count_noun(shown.total or 0, 'row')}; {ways}"
    elif on_terminal:
        told = count_noun(len(shown.rows), "row")
    else:
        return None
    hidden = shown.columns[fitting:]
    if hidden:
        told += f"\n{count_noun(len(hidden), 'column')} not shown, as the terminal is narrow: "
        told += f"{', '.join(hidden)}; --csv for all"
    return told


def without_proposal(words: str) -> str:
    """Return an error of the database without its own guess, which is often a table of its own."""
    return re.sub(r"\s*Did you mean .*\?", "", words, flags=re.DOTALL)


def _explain_fault(
    config: Config, error: MissingRelationError | DestinationUnavailableError
) -> OperatorError | MissingRelationError | DestinationUnavailableError:
    """Return an error that also tells of records that wait, since the table may come of them."""
    count = count_waiting(config)
    if not count:
        return error
    waits = "waits" if count == 1 else "wait"
    return OperatorError(
        f"{end_sentence(str(error))} {count_noun(count, 'accepted record')} {waits} to be "
        "loaded: `treadle ledger` shows of which tables, `treadle doctor` what is wrong with "
        "the destination"
    )


def find_destination_url(config: Config) -> str:
    """Return the URL of the default destination: from the settings, or else from the store.

    Raises:
        OperatorError: there are several, or all were deleted.
    """
    if config.destination is None and config.has_store():
        with open_existing_store(config) as store:
            accounts = store.accounts.list_accounts()
            rows = store.destinations.list_destinations()
        defaults = {account.destination_id for account in accounts}
        present = [row for row in rows if row.deleted_at is None]
        urls = {row.url for row in present if row.id in defaults} or {row.url for row in present}
        if len(urls) == 1:
            return urls.pop()
        if rows:
            found = "There are several destinations" if urls else "There is no destination"
            raise OperatorError(f"{found}; name the one to ask with --destination.")
    return config.destination_url


def count_waiting(config: Config) -> int:
    """Return how many accepted records are not loaded yet; 0 if there is no store or log."""
    from treadle.log.registry import has_log, open_reader
    from treadle.tracking.ledger import compute_ledger

    if not config.has_store():
        return 0
    with open_existing_store(config) as store:
        if not has_log(config, store.logs):
            return 0
        with closing(open_reader(config, store.logs)) as reader:
            return sum(line.waiting for line in compute_ledger(store, reader, None))


@contextmanager
def open_destination(url: str) -> Iterator[tuple[Session, bool]]:
    """Open a destination for reading. While another process has it open, try again for a while.

    Returns:
        A session, and whether nobody else can write to the database while it is open.

    Raises:
        DestinationUnavailableError: the database is still in use, or cannot be reached.
    """
    from treadle.destinations.registry import make_destination

    destination = make_destination(url)
    with open_with_retry(lambda: destination.open(read_only=True)) as session:
        yield session, destination.capabilities.exclusive


def query_destination(
    url: str,
    sql: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> QueryResult:
    """Return all rows of a statement, for a program; waits as `open_destination`.

    Raises:
        MissingRelationError: a table or schema does not exist.
        OperatorError: something else is wrong with the statement.
        DestinationUnavailableError: the database is still in use, or cannot be reached.
    """
    from treadle.destinations.registry import make_destination

    destination = make_destination(url)

    def attempt() -> QueryResult:
        with destination.open(read_only=True) as session:
            return session.query(sql)

    return open_with_retry(attempt, clock=clock, sleep=sleep)


COMMAND = CliCommand(
    words=("query",),
    help="run a statement in the destination, reading only, and print its rows",
    run=run_query,
    arguments=_arguments,
    settings=("destination",),
    defaults={"destination": "where the server loads"},
)
