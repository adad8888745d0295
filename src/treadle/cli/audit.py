"""`treadle audit`: does the destination still hold what was loaded."""

import argparse
from contextlib import closing

from treadle.cli.command import Arguments, Command
from treadle.cli.output import print_objects, print_table
from treadle.cli.store import opened, source_named
from treadle.clock import read_clock
from treadle.config import Config

COLUMNS = (
    "source",
    "table",
    "accepted",
    "loaded",
    "superseded",
    "rejected",
    "waiting",
    "rows",
    "looked_up",
    "verdict",
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", help="only of the source with this name or id")
    parser.add_argument("--table", metavar="NAME", help="only this table, as named in pushes")
    parser.add_argument(
        "--counts", action="store_true", help="compare counts only, without reading the log"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def run(config: Config, arguments: Arguments) -> int:
    """Print a line for each table; 1 when one of them differs."""
    from treadle.audit.judge import differences
    from treadle.audit.walk import evidence
    from treadle.control.ledger import ledger, total
    from treadle.destinations.registry import open_url
    from treadle.log.local import LocalReader

    rows: list[tuple[object, ...]] = []
    told: list[str] = []
    differs = False
    with opened(config) as store, closing(LocalReader(config.log_path)) as reader:
        if arguments.source is not None:
            sources = [source_named(store, None, arguments.source)]
        else:
            sources = [source for source in store.sources() if source.deleted_at is None]
        lines = ledger(store, reader, [source.id for source in sources])
        for found in evidence(
            store,
            reader,
            open_url,
            sources,
            table=arguments.table,
            keys=not arguments.counts,
            now=read_clock(),
        ):
            parted = differences(found)
            differs = differs or bool(parted)
            sums = total(
                line
                for line in lines
                if line.source_id == found.source_id and line.table_name in found.names
            )
            verdict = "not compared" if found.skipped else "differs" if parted else "as loaded"
            where = f"{found.source}.{found.table}"
            told += [f"{where}: {one.text}." for one in parted]
            if found.skipped:
                told.append(f"{where} was not compared: {found.skipped.rstrip('.')}.")
            head = (found.source, found.table, sums.accepted, sums.loaded, sums.superseded)
            rest = (sums.rejected, sums.waiting, found.rows, found.compared, verdict)
            rows.append((*head, *rest, [one.text for one in parted], found.skipped))
    if arguments.json:
        print_objects((*COLUMNS, "differences", "not_compared"), rows)
    else:
        print_table(COLUMNS, [row[: len(COLUMNS)] for row in rows])
        print("\n".join(told), end="\n" if told else "")
    return 1 if differs else 0


COMMAND = Command(
    words=("audit",),
    help="compare what was loaded with the rows in the destination, and say where they part",
    run=run,
    arguments=_arguments,
)
