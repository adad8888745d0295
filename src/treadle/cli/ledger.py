"""`treadle ledger`: what became of every record that was accepted."""

import argparse

from treadle.cli.command import Arguments, Command
from treadle.cli.output import print_objects, print_table
from treadle.cli.store import opened, source_named
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


def run(config: Config, arguments: Arguments) -> int:
    """Print a line for each source, table and hour that the log still holds."""
    from treadle.control.ledger import ledger
    from treadle.log.local import LocalReader

    with opened(config) as store:
        chosen = None
        if arguments.source is not None:
            chosen = [source_named(store, None, arguments.source).id]
        names = {source.id: source.name for source in store.sources()}
        reader = LocalReader(config.log_path)
        try:
            lines = ledger(store, reader, chosen)
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
    if arguments.json:
        print_objects(COLUMNS, rows)
    else:
        print_table(COLUMNS, rows)
    return 0


COMMAND = Command(
    words=("ledger",),
    help="count what became of accepted records, by source, table and hour",
    run=run,
    arguments=_arguments,
)
