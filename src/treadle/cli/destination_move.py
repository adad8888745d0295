"""`treadle source move` (or `destination move`): has a source load into another destination."""

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from treadle import failpoint
from treadle.cli.command import Arguments, CliCommand
from treadle.cli.destination import find_destination
from treadle.cli.output import print_json, print_line, print_table
from treadle.cli.store_access import open_existing_log, open_named_source, require_log
from treadle.clock import read_clock
from treadle.config import Config
from treadle.counting import count_noun, count_subject
from treadle.data_lock import take_lock
from treadle.errors import OperatorError
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

if TYPE_CHECKING:
    from treadle.maintenance.history import HistoryCopy, TableHistory
    from treadle.store.model import ConfiguredDestination, Source
    from treadle.store.store import Store

COLUMNS: Final = ("table", "copied", "there", "gone", "rejected", "damaged")

REASONS_SHOWN: Final = 3

WAIT_SECONDS_MAX: Final = 90.0
"""Longest wait for a running server: it waits a minute for a former destination that is silent."""

POLL_SECONDS: Final = 0.05


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="name or id of the source")
    parser.add_argument("destination_name", metavar="DESTINATION", help="id or name of the new one")
    parser.add_argument("--account", metavar="ID", help="account of the source (default: any)")
    parser.add_argument(
        "--with-history",
        action="store_true",
        help="first copy what the log still holds of the source",
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what it would do; do nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def move_source(config: Config, arguments: Arguments) -> int:
    """Move a source; with its history, copy that first, while the source loads where it did."""
    with open_named_source(config, arguments) as (store, source):
        former = store.destinations.find_destination_of_source(source.id)
        chosen = choose_destination(store, source, former, arguments.destination_name)
        copy: HistoryCopy | None = None
        if arguments.with_history:
            copy = _copy_history(config, store, source, chosen, counts_only=arguments.dry_run)
        schema = store.moves.find_schema(source, chosen.id)
        if not arguments.dry_run:
            failpoint.reach("move.before-switch")
            schema = store.moves.move_source(
                source.id,
                chosen.id,
                schema=None if copy is None else copy.schema,
                with_history=copy is not None,
            ).schema
            failpoint.reach("move.after-switch")
        settled = not arguments.dry_run and await_settlement(config, store, source)
        outcome = MoveOutcome(
            source,
            former,
            chosen,
            schema,
            _count_waiting(config, store, source),
            None if copy is None else list(copy.tables.values()),
            moved=not arguments.dry_run,
            settled=settled,
        )
    if arguments.json:
        print_json(outcome.render())
    else:
        _print_move(outcome)
    return 0


@dataclass(frozen=True, slots=True)
class MoveOutcome:
    """A move, as it was done or would be.

    Attributes:
        former: the destination before; None where it had none.
        chosen: the new one.
        schema: that the source fills there.
        waiting: records that are not loaded yet.
        tables: what became of the history of each; None where it was not asked for.
        moved: it was done.
        settled: a running server loads the source there now.
    """

    source: "Source"
    former: "ConfiguredDestination | None"
    chosen: "ConfiguredDestination"
    schema: str
    waiting: int
    tables: "list[TableHistory] | None"
    moved: bool
    settled: bool

    def render(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        told: dict[str, Any] = {
            "source": self.source.name,
            "source_id": self.source.id,
            "from": None if self.former is None else self.former.id,
            "to": self.chosen.id,
            "schema": self.schema,
            "waiting": self.waiting,
            "moved": self.moved,
            "settled": self.settled,
        }
        if self.tables is not None:
            told["tables"] = [
                dict(zip(COLUMNS, _list_numbers(table), strict=True))
                | {"held": table.held, "reasons": dict(table.rejected)}
                for table in self.tables
            ]
        return told


def await_settlement(
    config: Config, store: "Store", source: "Source", seconds: float = WAIT_SECONDS_MAX
) -> bool:
    """Wait until a running server loads a source into its new destination; return whether it does.

    Without a server nobody waits: its next start settles the move.
    """
    until = time.monotonic() + seconds
    while _is_loaded(config, store):
        move = store.moves.find_move(source.id)
        if move is None or move.settled_at is not None:
            return True
        if time.monotonic() >= until:
            break
        time.sleep(POLL_SECONDS)
    return False


def _is_loaded(config: Config, store: "Store") -> bool:
    """Return whether a server runs that loads: on any machine where the store is on a server."""
    from treadle.data_lock import is_lock_taken
    from treadle.store.membership import LOADER_ROLE

    if config.store is None:
        return is_lock_taken(config.lock_path)
    return any(
        seen.is_live and seen.member.role == LOADER_ROLE for seen in store.members.list_members()
    )


def choose_destination(
    store: "Store", source: "Source", former: "ConfiguredDestination | None", wanted: str
) -> "ConfiguredDestination":
    """Return the destination that a source is to be moved to.

    Args:
        store: knows it.
        source: to be moved.
        former: its destination; None where it has none.
        wanted: id or name of the new one; of several with that name, the one of its account.

    Raises:
        OperatorError: there is none, or the source cannot be moved there.
    """
    ours = [
        row
        for row in store.destinations.list_destinations(source.account_id)
        if row.deleted_at is None and wanted in (str(row.id), row.name)
    ]
    chosen = ours[0] if len(ours) == 1 else find_destination(store, None, wanted)
    named = f"{chosen.name} ({chosen.id})"
    if chosen.account_id != source.account_id:
        raise OperatorError(
            f"The destination {named} belongs to the account {chosen.account_id}, and the source "
            f"{source.name} to the account {source.account_id}. A source loads into a destination "
            "of its own account: make one there with `treadle destination create "
            f"--account {source.account_id}`."
        )
    if former is not None and former.id == chosen.id:
        raise OperatorError(
            f"The source {source.name} loads into the destination {named} already; nothing was "
            "moved."
        )
    if chosen.usable_since is None:
        raise OperatorError(
            f"The destination {named} has had no check that succeeded, so nothing is loaded into "
            f"it yet; nothing was moved. `treadle destination check {chosen.id}` says what is "
            "wrong with it."
        )
    return chosen


def _copy_history(
    config: Config,
    store: "Store",
    source: "Source",
    chosen: "ConfiguredDestination",
    *,
    counts_only: bool,
) -> "HistoryCopy":
    """Copy what the log holds of a source into its new destination."""
    from treadle.destinations.registry import make_destination
    from treadle.log.joined import choose_reader
    from treadle.log.protocol import ReadLimits
    from treadle.maintenance.history import HistoryCopy

    require_log(config, store)
    with _lock_copies(config), open_existing_log(config, store) as reader:
        copy = HistoryCopy(
            store=store,
            reader=choose_reader(reader, source.id),
            destination=make_destination(chosen.url),
            source=source,
            schema=store.moves.find_schema(source, chosen.id),
            limits=ReadLimits.within_memory(config.load_rows, config.load_bytes),
            clock=read_clock,
        )
        if counts_only:
            copy.survey()
            return copy
        with store.trail.follow_action(
            TrailAction.COPY_HISTORY,
            TrailTarget(TargetKind.SOURCE, source.id, source.name),
            account_id=source.account_id,
            detail={"to": chosen.id},
        ) as noted:
            try:
                copy.run()
            finally:
                noted["copied"] = sum(table.copied for table in copy.tables.values())
                noted["gone"] = sum(table.gone for table in copy.tables.values())
    return copy


@contextmanager
def _lock_copies(config: Config) -> Iterator[None]:
    """Allow one copy at a time. A server may run.

    Raises:
        OperatorError: another copy is under way.
    """
    descriptor = take_lock(
        config.data / "move.lock",
        0.0,
        taken=f"Another move copies a history in {config.data}; wait for its end.",
    )
    try:
        yield
    finally:
        os.close(descriptor)


def _count_waiting(config: Config, store: "Store", source: "Source") -> int:
    """Return how many records of a source wait to be loaded; 0 without a log."""
    from treadle.log.registry import has_log
    from treadle.tracking.ledger import compute_ledger

    if not has_log(config, store.logs):
        return 0
    with open_existing_log(config, store) as reader:
        lines = compute_ledger(store, reader, (source.id,))
    return sum(line.waiting for line in lines)


def _list_numbers(table: "TableHistory") -> tuple[object, ...]:
    return (
        table.table,
        table.copied,
        table.there,
        table.gone,
        table.rejected.total(),
        table.damaged,
    )


def _print_move(outcome: MoveOutcome) -> None:
    source, former, chosen = outcome.source, outcome.former, outcome.chosen
    if outcome.tables is not None:
        print_table(COLUMNS, [_list_numbers(table) for table in outcome.tables])
        for line in describe_gaps(outcome.tables):
            print_line(line)
    done = "Moved" if outcome.moved else "Would move"
    whence = "" if former is None else f" from {former.name} ({former.id})"
    print_line(f"{done} {source.name} ({source.id}){whence} to {chosen.name} ({chosen.id}).")
    if outcome.schema != source.name:
        print_line(f"Its schema there is {outcome.schema}.")
    if not outcome.moved:
        return
    waiting = count_subject(outcome.waiting, "record", "waits", "wait")
    print_line(f"{waiting}, and what comes now is loaded there, once.")
    if former is not None:
        print_line(f"What was loaded before stays in {former.name}.")
    if not outcome.settled:
        print_line("A server that runs from now on loads it there; none has done so yet.")


def describe_gaps(tables: "Sequence[TableHistory]") -> list[str]:
    """Return a line for each thing that the new destination does not have."""
    told = [
        f"Not copied: {count_noun(table.gone, 'record')} of {table.table}, which the log does not "
        "hold any more."
        for table in tables
        if table.gone
    ]
    told += [
        f"Not copied: {count_noun(table.damaged, 'record')} of {table.table} in damaged entries; "
        "`treadle log verify` names them."
        for table in tables
        if table.damaged
    ]
    for table in tables:
        if table.rejected:
            reasons = "; ".join(
                f"{reason} ({count})" for reason, count in table.rejected.most_common(REASONS_SHOWN)
            )
            told.append(
                f"Rejected: {count_noun(table.rejected.total(), 'record')} of {table.table}, "
                f"now in _sdc_rejected: {reasons}."
            )
    return told


COMMAND = CliCommand(
    words=("source", "move"),
    help="have a source load into another destination; with its history, if that is asked for",
    run=move_source,
    arguments=_arguments,
    settings=("load_rows", "load_bytes"),
)

FORMER_COMMAND = replace(COMMAND, words=("destination", "move"))
"""The same under the words that it had first."""
