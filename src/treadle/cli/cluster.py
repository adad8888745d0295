"""`treadle cluster`: makes a cluster, moves one machine into it, and shows how it is."""

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from treadle.cli import cluster_status, init
from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_error, print_json, print_line
from treadle.cli.store_access import make_command_actor
from treadle.config import Config
from treadle.counting import count_noun
from treadle.errors import OperatorError
from treadle.text import format_bytes

if TYPE_CHECKING:
    from treadle.log.transfer import TransferProgress, TransferResult
    from treadle.maintenance.cluster_import import ImportResult

PROGRESS_SECONDS: Final = 2.0
"""How often a line says how far the import is."""


class ProgressLines:
    """Tells on standard error how far an import is, a line every two seconds."""

    def __init__(self) -> None:
        """Begin now."""
        self._began = time.monotonic()
        self._told = self._began

    def show_log(self, number: int, progress: "TransferProgress") -> None:
        """Tell how far the copy of a log is, where the last line is old enough."""
        now = time.monotonic()
        if now - self._told < PROGRESS_SECONDS:
            return
        self._told = now
        rate = progress.stored_bytes / (now - self._began)
        print_error(
            f"log {number}: {format_bytes(progress.stored_bytes)}, {progress.part:.0%}, "
            f"{format_bytes(int(rate))}/s"
        )

    def finish_log(self, number: int, result: "TransferResult") -> None:
        """Tell what arrived of a log."""
        print_error(f"log {number}: {_describe_log(result)} arrived and compared")

    def show_table(self, name: str, rows: int) -> None:
        """Tell that a large table of the store was copied."""
        if rows and time.monotonic() - self._told >= PROGRESS_SECONDS:
            self._told = time.monotonic()
            print_error(f"store: {name}, {count_noun(rows, 'row')}")


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def import_installation(config: Config, arguments: Arguments) -> int:
    """Copy store and log of the data folder into databases, and compare them."""
    from treadle.maintenance.cluster_import import ImportReport, import_folder

    if config.log is None:
        raise OperatorError(
            "`treadle cluster import` copies the log into a database: name it with --log, "
            "TREADLE_LOG or log_url_file; it may be the one of --store"
        )
    lines = ProgressLines()
    report = ImportReport(
        warn=lambda text: print_error(f"Warning: {text}."),
        show_log=lines.show_log,
        finish_log=lines.finish_log,
        show_table=lines.show_table,
    )
    done = import_folder(config, config.log, make_command_actor(), report)
    if arguments.json:
        print_json(_render_import(config, done))
    else:
        _tell_import(config, done)
    return 0


def _render_import(config: Config, done: "ImportResult") -> dict[str, object]:
    return {
        "data": str(config.data),
        "store": done.place,
        "was_done": done.store is None and not done.logs,
        "rows": None if done.store is None else done.store.rows,
        "logs": [
            {
                "number": number,
                "log_id": one.log_id,
                "end_position": one.end_position,
                "entries": one.entries,
                "records": one.records,
                "bytes": one.stored_bytes,
                "keys": one.keys,
                "damaged": one.damaged,
            }
            for number, one in done.logs.items()
        ],
        "local_files": list(done.files),
    }


def _tell_import(config: Config, done: "ImportResult") -> None:
    if done.store is None and not done.logs:
        print_line(f"{config.data} was moved to {done.place} already; nothing was changed.")
        return
    print_line(f"Moved {config.data} to {done.place}:")
    if done.store is not None:
        copied = f"{count_noun(done.store.rows, 'row')} in {count_noun(done.store.tables, 'table')}"
        print_line(f"- the store: {copied}")
    for number, one in done.logs.items():
        print_line(f"- log {number}: {_describe_log(one)}")
        if one.damaged:
            print_line(
                f"  {count_noun(one.damaged, 'entry', 'entries')} of it were damaged before, and "
                "still are: see `treadle log verify`"
            )
    print_line("All of it was read back and compared. The folder is as it was, and is not served.")
    for path in done.files:
        print_line(
            f"{path} stays on this machine: only a loader here, with --holds, loads into it."
        )
    where = "TREADLE_SECRET_KEY" if config.secret_key else str(config.key_path)
    print_line(f"Every machine needs the same key: {where}. See docs/how-to/three-machines.md.")


def _describe_log(result: "TransferResult") -> str:
    keys = f" and {count_noun(result.keys, 'idempotency key')}" if result.keys else ""
    return (
        f"{count_noun(result.entries, 'entry', 'entries')} with "
        f"{count_noun(result.records, 'record')}, {format_bytes(result.stored_bytes)}{keys}"
    )


IMPORT = CliCommand(
    words=("cluster", "import"),
    help="copy the store and the log of one machine, which is stopped, into a cluster's databases",
    run=import_installation,
    arguments=_import_arguments,
    settings=("store_durability", "log", "log_durability"),
)
INIT = replace(
    init.COMMAND,
    words=("cluster", "init"),
    help="make the store and the logs of a cluster, and the first account, once; as `init` does",
)
COMMANDS = (INIT, IMPORT, cluster_status.COMMAND)
