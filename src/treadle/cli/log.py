"""`treadle log verify` and `treadle log stats`: look into the log."""

import argparse

from treadle.cli.command import Arguments, Command
from treadle.cli.output import print_objects, print_table
from treadle.config import Config
from treadle.errors import OperatorFault

COLUMNS = ("source", "table", "entries_waiting", "records_waiting", "bytes_waiting", "loaded_up_to")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def stats(config: Config, arguments: Arguments) -> int:
    """Print what waits, by table."""
    from treadle.log.local import LocalReader

    _check(config)
    reader = LocalReader(config.log_path)
    try:
        rows = [
            (one.source_id, one.table_name, one.entries, one.records, one.size, one.loaded)
            for one in sorted(reader.backlog(), key=lambda one: (one.source_id, one.table_name))
        ]
        space = reader.space()
    finally:
        reader.close()
    if arguments.json:
        print_objects(COLUMNS, rows)
        return 0
    print_table(COLUMNS, rows)
    print(f"The log holds {space.used} bytes and can grow by {space.free}.")
    return 0


def verify(config: Config, arguments: Arguments) -> int:
    """Read every entry and say which are damaged; 2 when any is."""
    from treadle.log.local import LocalReader
    from treadle.log.protocol import Damaged
    from treadle.log.salvage import Known, trouble

    _check(config)
    why = trouble(config.log_path, Known())
    if why is not None:
        raise OperatorFault(
            f"the log {config.log_path} is damaged ({why}); start treadle again, which puts it "
            "aside and goes on with what can be read"
        )
    damaged: list[Damaged] = []
    sound = 0
    reader = LocalReader(config.log_path)
    try:
        for source_id, table_name in reader.tables():
            after = 0
            while items := reader.read(source_id, table_name, after, 100_000, 50_000_000):
                after = items[-1].position
                found = [one for one in items if isinstance(one, Damaged)]
                damaged += found
                sound += len(items) - len(found)
    finally:
        reader.close()
    for one in damaged:
        print(
            f"entry {one.position} of {one.table_name!r}, source {one.source_id}, is damaged and "
            f"will be left out: {one.why}"
        )
    print(f"{sound} entries are sound, {len(damaged)} are damaged.")
    return 2 if damaged else 0


def _check(config: Config) -> None:
    if not config.log_path.exists():
        raise OperatorFault(f"There is no log in {config.data}; name its folder with --data.")


COMMANDS = (
    Command(
        words=("log", "stats"),
        help="show what waits in the log, by table",
        run=stats,
        arguments=_arguments,
    ),
    Command(
        words=("log", "verify"),
        help="read the whole log and name what is damaged",
        run=verify,
    ),
)
