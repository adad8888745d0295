"""`treadle replay`: rebuilds a table from the log, compares it, and swaps it in."""

import argparse
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from treadle.cli.command import Arguments, CliCommand, UsageError
from treadle.cli.output import print_json, print_line, print_table
from treadle.cli.store_access import (
    find_source,
    find_url_of_source,
    open_existing_log,
    open_existing_store,
    require_log,
)
from treadle.cli.time_argument import parse_time
from treadle.clock import read_clock
from treadle.config import Config
from treadle.counting import count_noun
from treadle.data_lock import take_lock
from treadle.errors import OperatorError
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

if TYPE_CHECKING:
    from treadle.maintenance.rebuild import RebuildOutcome, TableRebuild

COLUMNS = ("table", "only_there", "only_in_the_log", "different")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", required=True, metavar="SOURCE", help="name or id of the source"
    )
    parser.add_argument("--table", required=True, metavar="NAME", help="as named in pushes")
    parser.add_argument(
        "--from", dest="since", metavar="TIME", help="only what was accepted at or after this time"
    )
    parser.add_argument(
        "--to", dest="until", metavar="TIME", help="only what was accepted before this time"
    )
    parser.add_argument(
        "--into", metavar="SCHEMA", help="build in this schema and keep it; swap nothing"
    )
    parser.add_argument("--dry-run", action="store_true", help="build and compare; swap nothing")
    parser.add_argument("--force", action="store_true", help="swap even if rows may be lost")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run_replay(config: Config, arguments: Arguments) -> int:
    """Build, compare and swap; return 1 if the table differs and nothing was to be swapped."""
    from treadle.destinations.registry import make_destination
    from treadle.log.joined import choose_reader
    from treadle.log.protocol import ReadLimits
    from treadle.maintenance.rebuild import TableRebuild, TimeWindow

    swaps = arguments.into is None and not arguments.dry_run
    if arguments.force and not swaps:
        raise UsageError("--force is about swapping, and --into and --dry-run swap nothing.")
    window = TimeWindow(parse_time("--from", arguments.since), parse_time("--to", arguments.until))
    if not window.is_possible:
        raise UsageError("--to is to be later than --from; nothing is accepted in between.")
    require_log(config)
    with (
        open_existing_store(config) as store,
        _lock_replays(config),
        open_existing_log(config, store) as reader,
    ):
        source = find_source(store, None, arguments.source)
        url = find_url_of_source(store, config, source)
        if (source.id, arguments.table) not in reader.statistics.list_tables():
            known = sorted(
                name
                for source_id, name in reader.statistics.list_tables()
                if source_id == source.id
            )
            raise OperatorError(
                f"Nothing was ever accepted for a table {arguments.table!r} of the source "
                f"{source.name}; there is {', '.join(known) or 'none'}."
            )
        replay = TableRebuild(
            store=store,
            reader=choose_reader(reader, source.id),
            destination=make_destination(url),
            source=source,
            table_name=arguments.table,
            schema=choose_schema(
                source.schema,
                arguments.into,
                {each.schema for each in store.sources.list_sources()},
                store.destinations.list_identities(source.account_id, source.destination_id),
            ),
            window=window,
            limits=ReadLimits.within_memory(config.load_rows, config.load_bytes),
            clock=read_clock,
        )
        with store.trail.follow_action(
            TrailAction.REPLAY_TABLE,
            TrailTarget(TargetKind.TABLE, source.id, arguments.table),
            account_id=source.account_id,
            detail={"source": source.name, "into": arguments.into, "force": arguments.force},
        ) as noted:
            outcome = replay.carry_out(
                swaps=swaps, force=arguments.force, keeps=arguments.into is not None
            )
            noted["swapped"] = outcome.swapped
        _print_result(replay, outcome, arguments)
    if swaps and outcome.differs and not outcome.swapped:
        raise OperatorError(
            f"Nothing was swapped, because rows may be lost: {'; '.join(outcome.doubts)}. Look at "
            "the numbers, and add --force to swap all the same."
        )
    return 1 if outcome.differs and not outcome.swapped else 0


@contextmanager
def _lock_replays(config: Config) -> Iterator[None]:
    """Allow one replay at a time, since two would build in the same schema. A server may run.

    Raises:
        OperatorError: another replay runs.
    """
    descriptor = take_lock(
        config.data / "replay.lock",
        0.0,
        taken=f"Another replay is at work in {config.data}; wait for its end.",
    )
    try:
        yield
    finally:
        os.close(descriptor)


def choose_schema(
    source: str, into: str | None, taken: Iterable[str], identities: Iterable[str] = ()
) -> str:
    """Return the schema to build in.

    Args:
        source: the schema of the source.
        into: the schema that was asked for; None for one of its own.
        taken: the schemas of all sources.
        identities: of the destination.

    Raises:
        OperatorError: the schema cannot be used.
    """
    from treadle.control.schema_names import is_schema_name
    from treadle.maintenance.rebuild import name_rebuild_schema

    names = set(taken)
    if into is None:
        return name_rebuild_schema(source, names)
    if not is_schema_name(into, identities):
        raise OperatorError(
            f"{into!r} cannot be a schema to build in: it is to have 1 to 49 of the characters "
            "a-z, 0-9, _ and $, to begin with a letter or _, and not to be one that a database or "
            "treadle keeps for itself."
        )
    if into in names:
        raise OperatorError(f"{into!r} is the schema of a source; name another one with --into.")
    return into


def _print_result(replay: "TableRebuild", outcome: "RebuildOutcome", arguments: Arguments) -> None:
    built, found = replay.progress, outcome.found
    rows = [
        (each.relation, each.diff.only_here, each.diff.only_there, each.diff.different)
        for each in found
    ]
    if arguments.json:
        told: dict[str, Any] = {
            "source": replay.source.name,
            "table": replay.table_name,
            "entries": built.entries,
            "records": built.records,
            "position": built.position,
            "built_in": arguments.into,
            "tables": [dict(zip(COLUMNS, row, strict=True)) for row in rows],
            "differs": outcome.differs,
            "doubts": list(outcome.doubts),
            "swapped": outcome.swapped,
        }
        print_json(told)
        return
    name = f"{replay.source.name}.{replay.destination_name}"
    print_line(
        f"Built {name} again from {count_noun(built.records, 'record')} in "
        f"{count_noun(built.entries, 'entry', 'entries')} of the log, up to position "
        f"{built.position}."
    )
    print_table(COLUMNS, rows)
    for doubt in outcome.doubts:
        print_line(f"Beware: {doubt}.")
    if outcome.swapped:
        print_line(f"{name} now holds the rebuilt rows.")
    elif not outcome.differs:
        print_line("The table holds the same.")
    if arguments.into is not None:
        print_line(f"It stays in the schema {arguments.into}.")


COMMAND = CliCommand(
    words=("replay",),
    help="build a table again from the log, compare it, and swap it in",
    run=run_replay,
    arguments=_arguments,
    settings=("load_rows", "load_bytes"),
)
