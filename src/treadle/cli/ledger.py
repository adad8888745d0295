"""`treadle ledger`: counts what became of the records that were accepted."""

import argparse

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_rows
from treadle.cli.store_access import find_source, open_existing_store
from treadle.config import Config
from treadle.timestamps import to_datetime

COLUMNS = (
    "source",
    "table",
    "hour",
    "accepted",
    "loaded",
    "superseded",
    "rejected",
    "waiting",
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", metavar="SOURCE", help="only this source, by name or id")
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def print_ledger(config: Config, arguments: Arguments) -> int:
    """Print a line for each source, table and hour that the log still has."""
    from treadle.log.registry import open_reader
    from treadle.tracking.ledger import compute_ledger

    with open_existing_store(config) as store:
        chosen = None
        if arguments.source is not None:
            chosen = [find_source(store, None, arguments.source).id]
        names = {source.id: source.name for source in store.sources.list_sources()}
        reader = open_reader(config, store.logs)
        try:
            lines = compute_ledger(store, reader, chosen)
        finally:
            reader.close()
    rows = [
        (
            names.get(line.source_id, str(line.source_id)),
            line.table_name,
            f"{to_datetime(line.hour):%Y-%m-%dT%H:00Z}",
            line.accepted,
            line.loaded,
            line.superseded,
            line.rejected,
            line.waiting,
        )
        for line in lines
    ]
    print_rows(COLUMNS, rows, as_json=arguments.json)
    return 0


COMMAND = CliCommand(
    words=("ledger",),
    help="count what became of accepted records, by source, table and hour",
    run=print_ledger,
    arguments=_arguments,
)
