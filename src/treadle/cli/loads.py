"""`treadle loads`: lists the reports of loads."""

import argparse
from collections.abc import Iterator
from itertools import islice

from treadle.cli.command import Arguments, CliCommand, parse_positive
from treadle.cli.output import print_json, print_table, to_whole_second
from treadle.cli.store_access import find_source, open_existing_store
from treadle.cli.time_argument import parse_time
from treadle.config import Config
from treadle.store.load_folding import count_parts
from treadle.store.model import LoadReport
from treadle.store.recent_loads import LoadFilter

COLUMNS = (
    "finished",
    "source",
    "table",
    "received",
    "loaded",
    "discarded",
    "rejected",
    "notes",
    "error",
)
PAGE = 1000


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", help="only of the source with this name or id")
    parser.add_argument("--table", metavar="NAME", help="only of this table, as named in pushes")
    parser.add_argument("--failed", action="store_true", help="only tries that failed")
    parser.add_argument(
        "--changed", action="store_true", help="only loads that changed the schema of their table"
    )
    parser.add_argument(
        "--from",
        dest="since",
        metavar="TIME",
        help="only loads that finished at or after this time",
    )
    parser.add_argument(
        "--to", dest="until", metavar="TIME", help="only loads that finished before this time"
    )
    parser.add_argument("--limit", metavar="N", default="100", help="how many at most")
    parser.add_argument("--json", action="store_true", help="print a JSON array of reports")


def print_loads(config: Config, arguments: Arguments) -> int:
    """List loads, newest first."""
    from treadle.tracking.load_reports import render_load_report

    limit = parse_positive("--limit", arguments.limit)
    chosen = LoadFilter(
        arguments.failed or None,
        arguments.changed or None,
        parse_time("--from", arguments.since),
        parse_time("--to", arguments.until),
    )
    with open_existing_store(config) as store:
        source = find_source(store, None, arguments.source) if arguments.source else None
        names = {each.id: each.name for each in store.sources.list_sources()}

        def every() -> Iterator[LoadReport]:
            before = None
            while page := store.loads.list_loads(
                source_id=source.id if source else None,
                table_name=arguments.table,
                chosen=chosen,
                limit=min(limit, PAGE),
                before=before,
            ):
                yield from page
                before = page[-1].id

        found = list(islice(every(), limit))
    if arguments.json:
        print_json([render_load_report(load) for load in found])
    else:
        print_table(
            COLUMNS,
            [
                (
                    to_whole_second(load.finished_at),
                    names.get(load.source_id, load.source_id),
                    load.table_name,
                    load.rows_received,
                    load.rows_loaded,
                    load.rows_discarded,
                    load.rows_rejected,
                    describe_notes(load),
                    load.error,
                )
                for load in found
            ],
        )
    return 0


def describe_notes(load: LoadReport) -> str | None:
    """Return what else there is to know of a committed load, on one line; None for nothing."""
    details = load.details
    count = count_parts(load)
    told = [f"{count} loads"] if count > 1 else []
    told += [f"{note['field']} left out ({note['total']})" for note in details.get("left_out", ())]
    told += [f"{note['field']} rounded ({note['total']})" for note in details.get("rounded", ())]
    if details.get("trouble"):
        told.append(details["trouble"])
    return "; ".join(told) or None


COMMAND = CliCommand(
    words=("loads",),
    help="list loads, newest first, with what each did",
    run=print_loads,
    arguments=_arguments,
)
