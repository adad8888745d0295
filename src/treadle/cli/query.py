"""`treadle query`: runs a statement in the default destination, reading only."""

import argparse
import time
from collections.abc import Callable
from contextlib import closing

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_csv, print_objects, print_table
from treadle.cli.store_access import open_existing_store
from treadle.config import Config
from treadle.destinations.protocol import (
    DestinationUnavailableError,
    MissingRelationError,
    QueryResult,
)
from treadle.destinations.retry import open_with_retry
from treadle.errors import OperatorError


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sql", metavar="SQL", help="one statement, for example a SELECT")
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
    try:
        result = query_destination(find_destination_url(config), arguments.sql)
    except (MissingRelationError, DestinationUnavailableError) as error:
        count = count_waiting(config)
        if not count:
            raise
        told = str(error) if str(error).endswith((".", "!", "?")) else f"{error}."
        raise OperatorError(
            f"{told} {count} accepted {'record waits' if count == 1 else 'records wait'} to be "
            "loaded: `treadle ledger` shows of which tables, `treadle doctor` what is wrong with "
            "the destination"
        ) from error
    if arguments.json:
        print_objects(result.columns, result.rows)
    elif arguments.csv or arguments.csv_safe:
        print_csv(result.columns, result.rows, safe=arguments.csv_safe)
    else:
        print_table(result.columns, result.rows)
    return 0


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

    if not config.has_store() or not has_log(config):
        return 0
    with open_existing_store(config) as store, closing(open_reader(config)) as reader:
        return sum(line.waiting for line in compute_ledger(store, reader.statistics, None))


def query_destination(
    url: str,
    sql: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> QueryResult:
    """Return the rows. While another process has the database open, try again for a while.

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
