"""`treadle audit`: compares the destination with what was loaded."""

import argparse
from collections.abc import Collection
from contextlib import closing

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_line, print_objects, print_table
from treadle.cli.store_access import find_source, open_existing_store
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


def run_audit(config: Config, arguments: Arguments) -> int:
    """Print a line for each table; return 1 if a table differs."""
    from treadle.destinations.registry import make_destination
    from treadle.log.registry import open_reader
    from treadle.maintenance.audit.differences import find_differences
    from treadle.maintenance.audit.evidence import gather_evidence
    from treadle.tracking.ledger import compute_ledger, sum_lines

    rows: list[tuple[object, ...]] = []
    told: list[str] = []
    differs = False
    with (
        open_existing_store(config) as store,
        closing(open_reader(config, store.logs)) as reader,
    ):
        if arguments.source is not None:
            sources = [find_source(store, None, arguments.source)]
        else:
            sources = [
                source for source in store.sources.list_sources() if source.deleted_at is None
            ]
        lines = compute_ledger(store, reader, [source.id for source in sources])
        for found in gather_evidence(
            store,
            reader,
            make_destination,
            sources,
            table=arguments.table,
            keys=not arguments.counts,
            now=read_clock(),
        ):
            parted = find_differences(found)
            differs = differs or bool(parted)
            sums = sum_lines(
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
    elif not rows:
        print_line(explain_nothing(arguments.table, {line.table_name for line in lines}))
    else:
        print_table(COLUMNS, [row[: len(COLUMNS)] for row in rows])
        for text in told:
            print_line(text)
    return 1 if differs else 0


def explain_nothing(table: str | None, known: Collection[str]) -> str:
    """Say why no table was compared.

    Args:
        table: that was asked for; None for all.
        known: names of the tables that records were accepted for.
    """
    if table is None:
        return "Nothing was compared: no load into the present destination of a source is known."
    if table in known:
        return (
            f"Nothing was compared: no load of {table!r} into the present destination of its "
            "source is known. `treadle ledger` shows what waits, `treadle replay` compares with "
            "the log."
        )
    return f"Nothing was compared: no records were accepted for a table {table!r}."


COMMAND = CliCommand(
    words=("audit",),
    help="compare what was loaded with the rows in the destination and report differences",
    run=run_audit,
    arguments=_arguments,
)
