"""`treadle members`: lists the processes that share the work."""

import argparse

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_list
from treadle.cli.store_access import open_existing_store
from treadle.config import Config

COLUMNS = (
    "member",
    "process",
    "role",
    "version",
    "units",
    "state",
    "beat_seconds",
    "since",
    "host",
    "address",
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def print_members(config: Config, arguments: Arguments) -> int:
    """Print a line for each process that says that it is there, or was lost in the last hour."""
    from treadle.timestamps import format_microseconds
    from treadle.tracking.member_list import list_members

    with open_existing_store(config) as store:
        found = list_members(store)
    rows = [
        (
            one.member,
            one.process,
            one.role,
            one.version,
            one.units,
            one.phase.value,
            round(one.beat_seconds, 1),
            format_microseconds(one.since),
            one.host,
            one.address or None,
        )
        for one in found
    ]
    print_list(COLUMNS, rows, as_json=arguments.json)
    return 0


COMMAND = CliCommand(
    words=("members",),
    help="list the processes of a cluster: who runs, what it does, when it was heard of last",
    run=print_members,
    arguments=_arguments,
)
