"""`treadle backup` and `treadle restore`: copies an installation, and brings a copy back."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_error, print_json, print_line
from treadle.cli.store_access import find_user_name, open_existing_store
from treadle.clock import read_clock
from treadle.config import Config
from treadle.store.trail_event import (
    ActorKind,
    StoreActor,
    TargetKind,
    TrailAction,
    TrailOutcome,
    TrailTarget,
)
from treadle.text import format_bytes
from treadle.timestamps import format_microseconds, format_seconds

if TYPE_CHECKING:
    from treadle.maintenance.backup.manifest import BackupManifest


def _backup_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="DIR", help="folder for the backup: a new one, or an empty one"
    )
    parser.add_argument(
        "--with-warehouse",
        action="store_true",
        help="copy the DuckDB files of destinations, too; loading into them waits meanwhile",
    )
    parser.add_argument(
        "--with-key",
        action="store_true",
        help="copy the secret key, too: whoever reads the backup can then read every token",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def back_up(config: Config, arguments: Arguments) -> int:
    """Copy store, log and settings, and what the flags ask for, while a server may run."""
    from treadle.maintenance.backup.making import BackupOrder, make_backup

    folder = Path(arguments.folder).absolute()
    with open_existing_store(config) as store:
        order = BackupOrder(
            folder,
            read_clock(),
            with_warehouse=arguments.with_warehouse,
            with_key=arguments.with_key,
        )
        manifest = make_backup(config, store, order, _make_report())
        # Only now: an event before would be in the backup, without its end.
        store.trail.record_event(
            TrailAction.MAKE_BACKUP,
            TrailTarget(TargetKind.STORE),
            TrailOutcome.DONE,
            detail={
                "bytes": manifest.size,
                "with_warehouse": order.with_warehouse,
                "with_key": order.with_key,
            },
        )
    if arguments.json:
        print_json(_render(manifest, folder))
        return 0
    print_line(
        f"Backed up {config.data} to {folder}: {_count_files(manifest)}, "
        f"{format_bytes(manifest.size)}, as of {format_seconds(manifest.made_at)}."
    )
    for path in manifest.left_out:
        print_line(f"Not in it: the rows in {path}; --with-warehouse copies them.")
    if not manifest.has_key:
        where = "The secret key" if config.secret_key else f"The key {config.key_path}"
        print_line(f"{where} is not in it, and it is needed to restore: keep it in another place.")
    return 0


def _restore_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="folder that `treadle backup` has written")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="only compare the backup with its digests; restore nothing",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def restore(config: Config, arguments: Arguments) -> int:
    """Verify a backup, and bring it back into an empty data folder."""
    from treadle.maintenance.backup.restoring import read_backup, restore_backup, verify_backup

    folder = Path(arguments.folder).absolute()
    report = _make_report()
    if arguments.verify:
        manifest = read_backup(folder)
        verify_backup(folder, manifest, lambda name: report(name, 1, 1))
        if arguments.json:
            print_json(_render(manifest, folder))
        else:
            print_line(
                f"The backup {folder} is complete: {_count_files(manifest)}, "
                f"{format_bytes(manifest.size)}, as of {format_seconds(manifest.made_at)}, made by "
                f"treadle {manifest.treadle}."
            )
        return 0
    actor = StoreActor(ActorKind.COMMAND_LINE, find_user_name(os.getuid()))
    done = restore_backup(config, folder, actor, lambda name: report(name, 1, 1))
    if arguments.json:
        print_json(
            _render(done.manifest, folder)
            | {"data": str(config.data), "left": [file.place for file in done.left]}
        )
        return 0
    print_line(
        f"Restored {folder} to {config.data}, as of {format_seconds(done.manifest.made_at)}."
    )
    for file in done.left:
        print_line(f"Left as it is: {config.data / file.place}, which was there already.")
    for path in done.manifest.left_out:
        print_line(
            f"Not in the backup: the rows in {path}; copy that file, or see `treadle replay`."
        )
    print_line("Start the server. What was accepted since that time is not in it.")
    return 0


def _count_files(manifest: "BackupManifest") -> str:
    count = len(manifest.files)
    return f"{count} file{'' if count == 1 else 's'}"


def _render(manifest: "BackupManifest", folder: Path) -> dict[str, object]:
    return {
        "folder": str(folder),
        "made_at": format_microseconds(manifest.made_at),
        "treadle": manifest.treadle,
        "store_revision": manifest.store_revision,
        "log_id": manifest.log_id,
        "bytes": manifest.size,
        "with_key": manifest.has_key,
        "left_out": list(manifest.left_out),
        "files": [{"name": f.name, "bytes": f.size, "place": f.place} for f in manifest.files],
    }


def _make_report() -> Callable[[str, int, int], None]:
    """Return what tells a person at a terminal which file is copied or verified now."""
    shown: list[str] = []

    def report(name: str, done: int, whole: int) -> None:
        if sys.stderr.isatty() and name not in shown:
            shown.append(name)
            print_error(f"{name} ...")

    return report


BACKUP = CliCommand(
    words=("backup",),
    help="copy store, log and settings into a folder, also while the server runs",
    run=back_up,
    arguments=_backup_arguments,
)
RESTORE = CliCommand(
    words=("restore",),
    help="verify a backup, and bring it back into an empty data folder",
    run=restore,
    arguments=_restore_arguments,
)
COMMANDS = (BACKUP, RESTORE)
