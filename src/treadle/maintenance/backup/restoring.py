"""Brings a backup back into an empty data folder."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treadle.config import Config
from treadle.data_lock import take_lock
from treadle.destinations.duckdb_form import move_file
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError, RetriableError
from treadle.files import keep_owner, make_private_folder, sync_folder
from treadle.log.registry import check_copy, continue_log
from treadle.maintenance.backup.making import hash_file, require_file_store
from treadle.maintenance.backup.manifest import (
    DRAFT_SUFFIX,
    KEY_NAME,
    LOG_NAME,
    MANIFEST_NAME,
    STORE_NAME,
    BackupFile,
    BackupManifest,
    find_obstacles,
    is_log_name,
    judge_manifest,
    parse_manifest,
)
from treadle.sqlite_snapshot import find_fault
from treadle.store import migration
from treadle.store.key_files import load_cipher
from treadle.store.store import Store
from treadle.store.trail_event import StoreActor, TargetKind, TrailAction, TrailOutcome, TrailTarget
from treadle.timestamps import format_seconds

FENCES_LEFT_OUT: Final = 1_000_000
"""Lease numbers left out, of loaders that took the lease since the backup was made. A server that
still runs on the former folder loads nothing more into the same destinations."""

IDS_LEFT_OUT: Final = 10_000
"""Ids of accounts, and of sources and destinations, left out that were given since the backup was
made: destinations have rows of those."""


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore did.

    Attributes:
        manifest: of the backup.
        begins_after: the position behind which new entries of the first log begin; None without it.
        left: files that stay in the backup, because something is at their place already.
    """

    manifest: BackupManifest
    begins_after: int | None
    left: tuple[BackupFile, ...]


def read_backup(folder: Path) -> BackupManifest:
    """Read the manifest of a backup, and see whether its files are there.

    Raises:
        OperatorError: the folder is no complete backup, or one that cannot be restored here.
    """
    try:
        text = (folder / MANIFEST_NAME).read_bytes()
    except FileNotFoundError:
        raise OperatorError(
            f"{folder} is no complete backup, for it has no {MANIFEST_NAME}: name a folder that "
            "`treadle backup` has written to its end"
        ) from None
    except OSError as error:
        raise OperatorError(f"the backup {folder} cannot be read: {error.strerror}") from error
    manifest = parse_manifest(text)
    there = [file.name for file in manifest.files if (folder / file.name).is_file()]
    sizes = {name: (folder / name).stat().st_size for name in there}
    why = judge_manifest(manifest, migration.is_known, sizes)
    if why is not None:
        raise OperatorError(why)
    return manifest


def verify_backup(
    folder: Path, manifest: BackupManifest, report: Callable[[str], None] = lambda name: None
) -> None:
    """Compare the digest of each file with the manifest.

    Args:
        folder: of the backup.
        manifest: of it.
        report: called with the name of each file before it is read.

    Raises:
        OperatorError: a file has changed since the backup was made.
    """
    for file in manifest.files:
        report(file.name)
        with _translate_errors(folder):
            found = hash_file(folder / file.name)
        if found != file.sha256:
            raise OperatorError(
                f"the file {file.name} has changed since the backup was made: take another backup"
            )


def restore_backup(
    config: Config,
    folder: Path,
    actor: StoreActor,
    report: Callable[[str], None] = lambda name: None,
) -> RestoreResult:
    """Restore a backup into the data folder, which holds nothing but perhaps key and settings.

    The store gets its name last: without it, there is nothing that a server would begin with. A
    restore that was cut short is begun again.

    Args:
        config: names the data folder, and perhaps the key.
        folder: of the backup.
        actor: who restores, for the trail.
        report: called with the name of each file before it is verified or copied.

    Raises:
        OperatorError: the backup or the folder cannot be used; nothing was restored.
        RetriableError: a disk failed; nothing was restored.
    """
    require_file_store(config)
    manifest = read_backup(folder)
    _check_folder(config)
    _check_key(config, folder, manifest)
    verify_backup(folder, manifest, report)
    config.make_data_folder()
    with keep_owner(config.data), _translate_errors(config.data):
        lock = take_lock(config.lock_path, 0.0)
        try:
            left, begins_after = _restore_files(config, folder, manifest, report)
            _record(config, manifest, actor)
        finally:
            os.close(lock)
    return RestoreResult(manifest, begins_after, left)


def _check_folder(config: Config) -> None:
    try:
        names = [path.name for path in config.data.iterdir()]
    except FileNotFoundError:
        return
    except OSError as error:
        raise OperatorError(
            f"the data folder {config.data} cannot be read: {error.strerror}; run this as the user "
            "that it belongs to"
        ) from error
    obstacles = find_obstacles(names)
    if obstacles:
        more = len(obstacles) - 3
        raise OperatorError(
            f"the data folder {config.data} is not empty (it has {', '.join(obstacles[:3])}"
            + (f" and {more} more" if more > 0 else "")
            + "): name a new one with --data"
        )


def _check_key(config: Config, folder: Path, manifest: BackupManifest) -> None:
    """Check that the key is there which the secrets of the store were encrypted with.

    Raises:
        OperatorError: it is not, or it is another one.
    """
    given = bool(config.secret_key and config.secret_key.strip())
    path = config.key_path if config.key_path.exists() else folder / KEY_NAME
    if not given and not path.exists():
        raise OperatorError(
            f"the backup has no {KEY_NAME}, and the tokens in it cannot be read without: put the "
            f"key that you kept into {config.key_path} (mode 0600), and run this again"
        )
    cipher = load_cipher(path, config.secret_key, config.next_secret_key)
    if not cipher.is_key_of(manifest.key_check):
        place = "the key in the environment" if given else f"the key in {path}"
        raise OperatorError(
            f"{place} is not the one that this backup was made with: bring back that one, perhaps "
            "one of those from before a rotation"
        )


def _restore_files(
    config: Config, folder: Path, manifest: BackupManifest, report: Callable[[str], None]
) -> tuple[tuple[BackupFile, ...], int | None]:
    """Copy all files under other names, make them ready, and give them their names."""
    drafts: list[tuple[Path, Path]] = []
    left: list[BackupFile] = []
    begins_after = None
    try:
        for file in manifest.files:
            target = config.data / file.place
            if target.exists():  # the key and the settings, or a DuckDB file elsewhere
                left.append(file)
                continue
            report(file.name)
            draft = target.with_name(target.name + DRAFT_SUFFIX)
            make_private_folder(target.parent)
            drafts.append((draft, target))
            for path in _list_companions(draft):  # of a restore that was killed
                path.unlink(missing_ok=True)
            shutil.copyfile(folder / file.name, draft)
            draft.chmod(0o600)
            if is_log_name(file.name):
                end = _prepare_log(draft)
                begins_after = end if file.name == LOG_NAME else begins_after
            elif file.name == STORE_NAME:
                _prepare_store(draft)
            _sync_file(draft)
        for draft, target in sorted(drafts, key=lambda pair: pair[1] == config.store_path):
            draft.rename(target)
        for parent in {target.parent for _, target in drafts}:
            sync_folder(parent)
    except BaseException:
        for draft, _ in drafts:
            for path in _list_companions(draft):
                path.unlink(missing_ok=True)
        raise
    for draft, _ in drafts:
        for path in _list_companions(draft):
            path.unlink(missing_ok=True)
    return tuple(left), begins_after


def _list_companions(draft: Path) -> list[Path]:
    """Return a draft and the files that SQLite and the log may make beside it."""
    return [draft.with_name(draft.name + suffix) for suffix in ("", "-wal", "-shm", "-lock")]


def _prepare_log(path: Path) -> int:
    fault = check_copy(path)
    if fault is not None:
        raise OperatorError(f"the log of the backup cannot be used: {fault}; take another backup")
    return continue_log(path)


def _prepare_store(path: Path) -> None:
    fault = find_fault(path)
    if fault is not None:
        raise OperatorError(f"the store of the backup is damaged: {fault}; take another backup")


def _record(config: Config, manifest: BackupManifest, actor: StoreActor) -> None:
    """Open the store, which migrates an older one, and note in it that it was restored."""
    cipher = load_cipher(config.key_path, config.secret_key, config.next_secret_key)
    store = Store.open(config.store_url, cipher, actor=actor)
    try:
        store.units.leave_fences_out(FENCES_LEFT_OUT)
        store.accounts.leave_ids_out(IDS_LEFT_OUT)
        store.sources.leave_ids_out(IDS_LEFT_OUT)
        _follow_files(store, Path(manifest.data), config.data.resolve())
        store.trail.record_event(
            TrailAction.RESTORE_BACKUP,
            TrailTarget(TargetKind.STORE),
            TrailOutcome.DONE,
            detail={"made_at": format_seconds(manifest.made_at), "treadle": manifest.treadle},
        )
    finally:
        store.close()


def _follow_files(store: Store, former: Path, data: Path) -> None:
    """Name the DuckDB files anew that were in the former data folder: they are in this one now."""
    if former == data:
        return
    for row in store.destinations.list_destinations():
        if row.deleted_at is None and row.type == "duckdb":
            url = move_file(row.url, former, data)
            if url != row.url:
                store.destinations.follow_folder(row.id, url, make_destination(url).identity)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translate_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RetriableError(
            f"{error.filename or folder} cannot be read or written: {error.strerror}"
        ) from error
