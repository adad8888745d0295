"""`treadle destination check`: rehearses a load in a destination, and says how each phase went."""

import argparse
import time
from typing import TYPE_CHECKING, Final

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.destination import find_destination
from treadle.cli.output import print_json, print_line, print_table
from treadle.cli.store_access import open_existing_store
from treadle.config import Config
from treadle.errors import RetriableError

if TYPE_CHECKING:
    from treadle.store.model import ConfiguredDestination, DestinationCheck
    from treadle.store.store import Store

WAIT_SECONDS_MAX: Final = 120.0
"""Longest wait for the server's desk: a check takes a minute at most, and others may be before."""

_POLL_SECONDS: Final = 0.1


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("wanted", metavar="DESTINATION", help="id or name of the destination")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def check_destination(config: Config, arguments: Arguments) -> int:
    """Check a destination: by the server's desk where a server runs, else in this process."""
    from treadle.data_lock import is_lock_taken

    with open_existing_store(config) as store:
        row = find_destination(store, None, arguments.wanted)
        check = store.checks.start_check(None, row.id)
        if not is_lock_taken(config.lock_path):
            from treadle.server.desk_process import make_desk

            make_desk(config, store).run_once()
        found = await_check(store, check)
    _print_check(row, found, as_json=arguments.json)
    return 0 if found.error is None else 1


def await_check(
    store: "Store", check: "DestinationCheck", seconds: float = WAIT_SECONDS_MAX
) -> "DestinationCheck":
    """Wait until a check, or the one that took its place, has ended.

    Raises:
        RetriableError: it did not end in time.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = store.checks.find_last_check(check.destination_id)
        if found is not None and found.finished_at is not None and found.id >= check.id:
            return found
        time.sleep(_POLL_SECONDS)
    raise RetriableError(
        f"The check did not end within {seconds:g} seconds; it goes on, and the log lines of the "
        "server tell how it ends."
    )


def _print_check(row: "ConfiguredDestination", check: "DestinationCheck", *, as_json: bool) -> None:
    from treadle.destinations.service_proof import describe_proof

    unproven = describe_proof(row.type)
    if as_json:
        print_json(
            {
                "destination_id": row.id,
                "name": check.name,
                "status": check.status,
                "error": check.error,
                "phases": list(check.phases),
                "proof": unproven,
            }
        )
        return
    print_table(
        ("phase", "milliseconds", "ended"),
        [
            (each["phase"], each["milliseconds"], "failed" if each["failed"] else "well")
            for each in check.phases
        ],
    )
    print_line(check.error or f"A load into {row.name} ({row.id}) is possible.")
    if unproven is not None:
        print_line(unproven)


COMMAND = CliCommand(
    words=("destination", "check"),
    help="rehearse a load in a destination, and say how each phase of it went",
    run=check_destination,
    arguments=_arguments,
)
