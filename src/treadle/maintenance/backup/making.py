"""Writes a backup, also while the server runs.

The order matters for what is restored. The log and the store are of one moment. The DuckDB files
come after it. So what was accepted before that moment is in the copy of the log, or was loaded
before and is in the file. A file may hold more than the log: the log goes on behind all positions
that the file may know (`treadle.log.registry.continue_log`), so nothing new is taken for loaded.
"""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from treadle import __version__
from treadle.config import Config
from treadle.destinations.priority import LoaderPriority
from treadle.destinations.protocol import Destination
from treadle.destinations.registry import make_destination
from treadle.destinations.retry import open_with_retry
from treadle.errors import OperatorError, RetriableError
from treadle.files import give_to_owner, make_private_folder, sync_folder, write_private_file
from treadle.log.protocol import FIRST_LOG, LogSnapshot
from treadle.log.registry import list_log_files, open_log_snapshot
from treadle.maintenance.backup.manifest import (
    DESTINATIONS_FOLDER,
    KEY_NAME,
    MANIFEST_FORM,
    MANIFEST_NAME,
    SETTINGS_NAME,
    STORE_NAME,
    BackupFile,
    BackupManifest,
    CopiedLog,
    is_log_name,
    render_manifest,
)
from treadle.sqlite_snapshot import SqliteSnapshot, find_fault, open_snapshot
from treadle.store.store import Store
from treadle.text import digest_text

COPIED_BYTES: Final = 1 << 20

HOLD_SECONDS: Final = 60.0
"""Longest wait for a DuckDB file that the loader or somebody else holds."""

TURN_TRIES: Final = 6
"""How often a backup waits for the turn at a DuckDB file, `priority.WAIT_SECONDS_MAX` each time."""

Report = Callable[[str, int, int], None]
"""Called with the name of a file, how much of it was copied, and how much there is."""


def _ignore_progress(name: str, done: int, whole: int) -> None:
    """Do nothing with the progress of a copy."""


@dataclass(frozen=True, slots=True)
class BackupOrder:
    """What is to be backed up.

    Attributes:
        folder: of the backup; empty, or not there.
        now: microseconds since 1970.
        with_warehouse: copy the DuckDB files, too.
        with_key: copy the secret key, too.
    """

    folder: Path
    now: int
    with_warehouse: bool = False
    with_key: bool = False


def make_backup(
    config: Config, store: Store, order: BackupOrder, report: Report = _ignore_progress
) -> BackupManifest:
    """Write a backup; the manifest comes last, so that a folder with one is complete.

    Args:
        config: the settings.
        store: of the installation, open.
        order: what is to be done.
        report: told of the progress.

    Raises:
        OperatorError: the folder cannot be used, or a file is damaged or cannot be read.
        RetriableError: a disk failed, or somebody holds a DuckDB file.
    """
    require_file_store(config)
    with _make_folder(order.folder), _translate_errors(order.folder):
        head = _copy_state(config, order, report)
        logs = sorted(one.name for one in order.folder.iterdir() if is_log_name(one.name))
        names = [name for name in (STORE_NAME, *logs) if (order.folder / name).exists()]
        for name in names:
            fault = find_fault(order.folder / name)
            if fault is not None:
                raise OperatorError(
                    f"the copy of {name} is damaged ({fault}): see `treadle doctor`, which looks "
                    "at the file itself"
                )
        files = [_describe_file(order.folder, name, name) for name in names]
        for name, source in (
            (SETTINGS_NAME, config.data / SETTINGS_NAME),
            *([(KEY_NAME, config.key_path)] if order.with_key else []),
        ):
            if source.exists():
                _copy_file(source, order.folder / name)
                files.append(_describe_file(order.folder, name, name))
        left_out = []
        for destination, path in _list_duckdb_files(store):
            if order.with_warehouse:
                files += _copy_held(config, order.folder, destination, path, report)
            else:
                left_out.append(str(path))
        manifest = BackupManifest(**head, left_out=tuple(left_out), files=tuple(files))
        write_private_file(order.folder / MANIFEST_NAME, render_manifest(manifest), replace=False)
        sync_folder(order.folder.parent)
    return manifest


def require_file_store(config: Config) -> None:
    """Check that the store is a file; a backup copies files only.

    Raises:
        OperatorError: it is on PostgreSQL.
    """
    if config.store is not None:
        raise OperatorError(
            "the store is on PostgreSQL, which `treadle backup` and `treadle restore` cannot copy: "
            "back it up there, by pg_dump or point-in-time recovery, together with the key file "
            "and a snapshot of the data folder's disk that is not older"
        )


def _list_duckdb_files(store: Store) -> list[tuple[Destination, Path]]:
    """Return the destinations that are a file, with the file, of those where there is one."""
    found: dict[Path, Destination] = {}
    for row in store.destinations.list_destinations():
        if row.deleted_at is None and row.type == "duckdb":
            destination = make_destination(row.url)
            if destination.file is not None and destination.file.exists():
                found[destination.file] = destination
    return [(destination, path) for path, destination in found.items()]


@contextmanager
def _make_folder(folder: Path) -> Iterator[None]:
    """Make the folder of a backup; remove what was written where the backup fails."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OperatorError(
                f"{folder} is not an empty folder: name a new one, such as {folder}/new"
                if folder.is_dir()
                else f"{folder} is no folder: name another one"
            )
        make_private_folder(folder)
    except OSError as error:
        raise OperatorError(
            f"the folder {folder} cannot be made: {error.strerror}; name one that this user may "
            "write to"
        ) from error
    try:
        yield
    except BaseException:
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        raise


@contextmanager
def _translate_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RetriableError(
            f"the backup in {folder} cannot be written: {error.strerror}"
            + (f" ({error.filename})" if error.filename else "")
        ) from error
    except sqlite3.Error as error:
        raise RetriableError(f"the backup in {folder} cannot be written: {error}") from error


def _copy_state(config: Config, order: BackupOrder, report: Report) -> dict[str, Any]:
    """Copy the store and all logs of one moment; return what the manifest says of them."""
    with open_snapshot(config.store_path) as store, ExitStack() as opened:
        logs = {
            number: (path.name, opened.enter_context(open_log_snapshot(config, number)))
            for number, path in list_log_files(config).items()
        }
        begin = store.begin
        for _, log in logs.values():  # nothing can be appended to one while the next one begins
            begin = partial(log.begin, alongside=begin)
        begin()
        for name, log in logs.values():
            log.copy(order.folder / name, partial(report, name))
        log_head = _describe_logs({number: log for number, (_, log) in logs.items()})
        store.copy(order.folder / STORE_NAME, partial(report, STORE_NAME))
        return {
            "form": MANIFEST_FORM,
            "made_at": order.now,
            "treadle": __version__,
            "data": str(config.data.resolve()),
            **_describe_store(store),
            **log_head,
        }


def _describe_logs(logs: Mapping[int, LogSnapshot]) -> dict[str, Any]:
    first = logs.get(FIRST_LOG)
    return {
        "log_id": None if first is None else first.log_id,
        "log_form": None if first is None else first.form,
        "log_end": 0 if first is None else first.end_position,
        "other_logs": tuple(
            CopiedLog(number, log.log_id, log.form, log.end_position)
            for number, log in logs.items()
            if number != FIRST_LOG
        ),
    }


def _describe_store(store: SqliteSnapshot) -> dict[str, Any]:
    return {
        "installation_id": str(store.read_value("SELECT installation_id FROM meta")),
        "store_revision": str(store.read_value("SELECT version_num FROM alembic_version")),
        "key_check": str(store.read_value("SELECT key_check FROM meta")),
    }


def _copy_held(
    config: Config, folder: Path, destination: Destination, path: Path, report: Report
) -> Iterator[BackupFile]:
    """Copy a DuckDB file while nobody writes it; loading waits meanwhile."""
    inside = path.is_relative_to(config.data.resolve())
    place = str(path.relative_to(config.data.resolve())) if inside else str(path)
    with ExitStack() as held:
        _take_turn(held, LoaderPriority(config.turns_path), destination.identity)
        held.enter_context(open_with_retry(lambda: destination.open(read_only=True), HOLD_SECONDS))
        files = [path, *([wal] if (wal := path.with_name(path.name + ".wal")).exists() else [])]
        # DuckDB's lock is gone as soon as this process closes any descriptor of the file, so all
        # of them are copied before one is closed.
        names = _copy_together(
            files, folder / DESTINATIONS_FOLDER / digest_text(place).hex()[:16], report
        )
    for name, file in zip(names, files, strict=True):
        suffix = file.name.removeprefix(path.name)
        yield _describe_file(folder, str(name.relative_to(folder)), place + suffix)


def _take_turn(held: ExitStack, priority: LoaderPriority, identity: str) -> None:
    """Wait for a turn at a file longer than a dry run does: nobody wants half a backup."""
    for tries_left in reversed(range(TURN_TRIES)):
        try:
            held.enter_context(priority.take_turn(identity))
        except RetriableError:
            if not tries_left:
                raise
        else:
            return


def _copy_together(files: list[Path], folder: Path, report: Report) -> list[Path]:
    make_private_folder(folder)
    opened = [os.open(file, os.O_RDONLY | os.O_CLOEXEC) for file in files]
    try:
        copies = []
        for file, descriptor in zip(files, opened, strict=True):
            copies.append(folder / file.name)
            _copy_descriptor(descriptor, copies[-1], partial(report, file.name))
        return copies
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _copy_file(source: Path, target: Path) -> None:
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _copy_descriptor(descriptor, target)
    finally:
        os.close(descriptor)


def _copy_descriptor(
    source: int, target: Path, report: Callable[[int, int], None] = lambda done, whole: None
) -> None:
    """Copy an open file into a new one, durable; file systems that can share its blocks."""
    whole, done = os.fstat(source).st_size, 0
    written = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        give_to_owner(written, target.parent)
        while done < whole:
            try:
                count = os.copy_file_range(source, written, min(whole - done, 64 << 20))
            except OSError:  # from one file system to another, on an older kernel
                count = os.write(written, os.pread(source, COPIED_BYTES, done))
                os.lseek(source, done + count, os.SEEK_SET)
            if count == 0:
                break
            done += count
            report(done, whole)
        os.fsync(written)
    finally:
        os.close(written)


def _describe_file(folder: Path, name: str, place: str) -> BackupFile:
    path = folder / name
    return BackupFile(name, path.stat().st_size, hash_file(path), place)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
