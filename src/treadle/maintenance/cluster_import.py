"""Moves the installation of one data folder into a store and a log on PostgreSQL.

The order makes sure that nothing half-made is taken for whole:

1. The folder is locked, and a note in it keeps servers from using it.
2. The logs are copied, read back and compared. Until step 4 no server can use the copies.
3. The store is copied and compared in one transaction. Where the log is, is in it.
4. The copies of the logs take entries. The note says that the move is done.

A run that was cut short is repeated: it goes on behind what is whole.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from treadle.clock import read_clock
from treadle.config import Config
from treadle.data_lock import take_lock
from treadle.errors import OperatorError
from treadle.folder_move import FolderMove, remove_move, write_move
from treadle.log.protocol import FIRST_LOG
from treadle.log.registry import SQLITE, list_log_files, open_log_export
from treadle.log.remote_registry import (
    POSTGRES,
    check_remote_log,
    import_remote_log,
    open_imported_logs,
)
from treadle.log.transfer import TransferProgress, TransferResult
from treadle.store.key_files import has_next_key, load_cipher, require_key
from treadle.store.model import StoredLog
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store
from treadle.store.trail_event import StoreActor
from treadle.store.transfer import (
    StoreCopy,
    copy_store,
    find_installation,
    find_target_weakness,
    list_differing_tables,
    name_target,
)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Where an import tells how far it is.

    Attributes:
        warn: called with what an operator should know of the databases.
        show_log: called with the number of a log, and how far its copy is.
        finish_log: called with the number of a log, and what arrived.
        show_table: called with the name of a table of the store and how many rows it has.
    """

    warn: Callable[[str], None] = lambda text: None
    show_log: Callable[[int, TransferProgress], None] = lambda number, progress: None
    finish_log: Callable[[int, TransferResult], None] = lambda number, result: None
    show_table: Callable[[str, int], None] = lambda name, rows: None


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did.

    Attributes:
        place: the database of the store, without secrets.
        logs: number -> what arrived of each log; empty where an earlier run did all of it.
        store: what was copied of the store; None where an earlier run did.
        files: DuckDB files that sources load into, which stay on this machine.
    """

    place: str
    logs: dict[int, TransferResult]
    store: StoreCopy | None
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _FolderContent:
    """What the store of the folder says.

    Attributes:
        installation_id: of the installation.
        log_ids: number -> id, of the logs in the folder.
        others: logs that are elsewhere already.
        files: DuckDB files of destinations.
    """

    installation_id: str
    log_ids: dict[int, str]
    others: tuple[StoredLog, ...]
    files: tuple[str, ...]


def import_folder(
    config: Config, log_url: str, actor: StoreActor, report: ImportReport
) -> ImportResult:
    """Move the installation in the data folder to the databases of the settings.

    Args:
        config: names the data folder, and with `store` the database for its store.
        log_url: of the database for its logs.
        actor: who does it, for the trail.
        report: is told how far it is.

    Raises:
        OperatorError: a server uses the folder, a database is not empty or refuses, or the folder
            has no installation. The folder is as it was, unless an earlier run was cut short.
        RetriableError: a database is not available now; it can be tried again.
    """
    if config.store is None:
        raise OperatorError(
            "`treadle cluster import` copies into a store on PostgreSQL: name it with --store, "
            "TREADLE_STORE or store_file"
        )
    if not config.store_path.exists():
        raise OperatorError(
            f"there is no treadle data in {config.data}: name the folder of the server with --data"
        )
    lock = take_lock(
        config.lock_path,
        0.0,
        taken=f"a server runs on {config.data}: stop it, and keep it stopped",
    )
    try:
        return _import_locked(config, log_url, actor, report)
    finally:
        os.close(lock)


def _import_locked(
    config: Config, log_url: str, actor: StoreActor, report: ImportReport
) -> ImportResult:
    cipher = _load_key(config)
    content = _read_folder(config, cipher, actor)
    target = config.store_url
    weakness = find_target_weakness(target, config.store_durability)
    if weakness is not None:
        raise OperatorError(weakness)
    for warning in check_remote_log(log_url, config.log_durability):
        report.warn(warning)
    present = find_installation(target)
    if present is not None and present != content.installation_id:
        raise OperatorError(
            f"{name_target(target)} has a store already, of another installation: name an empty "
            "database with --store"
        )
    place = name_target(target)
    write_move(config.move_path, FolderMove(is_done=False, at=read_clock(), place=place))
    is_copied = present is not None
    try:
        arrived = _import_logs(config, log_url, content, report, is_copied=is_copied)
        copied = None
        if not is_copied:
            logs = [
                StoredLog(number, log_id, POSTGRES, log_url, "open")
                for number, log_id in content.log_ids.items()
            ]
            logs += content.others
            source = _name_source(config)
            copied = copy_store(source, target, cipher, logs, actor, report.show_table)
            is_copied = True
        elif arrived:
            _compare_store(config, cipher)
    except BaseException:
        if not is_copied:  # nothing that was copied can be used, so the folder can
            remove_move(config.move_path)
        raise
    open_imported_logs(log_url, content.log_ids)
    write_move(config.move_path, FolderMove(is_done=True, at=read_clock(), place=place))
    return ImportResult(place, arrived, copied, content.files)


def _name_source(config: Config) -> str:
    return replace(config, store=None).store_url


def _load_key(config: Config) -> SecretCipher:
    require_key(config.key_path, config.secret_key)
    if has_next_key(config.key_path):
        raise OperatorError(
            "a rotation of the secret key was begun and is not finished: run `treadle key rotate` "
            f"on {config.data} first"
        )
    return load_cipher(config.key_path, config.secret_key)


def _read_folder(config: Config, cipher: SecretCipher, actor: StoreActor) -> _FolderContent:
    """Open the store of the folder, which migrates an older one, and see which logs it has."""
    files = list_log_files(config)
    with closing(Store.open(_name_source(config), cipher, actor=actor, make=False)) as store:
        logs = store.logs.list_logs()
        known = {one.number: one for one in logs if one.kind == SQLITE}
        others = tuple(one for one in logs if one.kind != SQLITE)
        missing = sorted(known.keys() - files.keys())
        if missing:
            raise OperatorError(
                f"log {missing[0]} is not in {config.data}, and the store knows it: bring its file "
                "back, or start the server once, which begins a new one"
            )
        log_ids = {}
        for number in sorted(known.keys() or {FIRST_LOG} - {one.number for one in others}):
            with open_log_export(config, number) as export:  # an empty one where there was none
                log_ids[number] = export.log_id
            if number not in known:  # no server has opened it yet
                store.use_log(export.log_id, number)
            elif known[number].log_id != export.log_id:
                raise OperatorError(
                    f"log {number} in {config.data} is not the one that the store belongs to: "
                    "start the server once, and stop it"
                )
        return _FolderContent(
            store.installation_id, log_ids, others, tuple(_list_duckdb_files(store))
        )


def _list_duckdb_files(store: Store) -> Sequence[str]:
    return sorted(
        {
            row.identity
            for row in store.destinations.list_destinations()
            if row.deleted_at is None and row.type == "duckdb"
        }
    )


def _import_logs(
    config: Config,
    log_url: str,
    content: _FolderContent,
    report: ImportReport,
    *,
    is_copied: bool,
) -> dict[int, TransferResult]:
    """Copy the logs; return number -> what arrived, of those that nobody can use yet."""
    arrived = {}
    for number in content.log_ids:
        with open_log_export(config, number) as export:
            result = import_remote_log(
                log_url,
                number,
                export,
                content.installation_id,
                lambda progress, number=number: report.show_log(number, progress),  # type: ignore[misc]
                accepts_open=is_copied,
            )
        if result is not None:
            arrived[number] = result
            report.finish_log(number, result)
    return arrived


def _compare_store(config: Config, cipher: SecretCipher) -> None:
    """Compare the copy that an earlier run made of the store.

    Raises:
        OperatorError: it is another one now.
    """
    differing = list_differing_tables(_name_source(config), config.store_url, cipher)
    if differing:
        raise OperatorError(
            f"the store in {name_target(config.store_url)} is a copy of this folder as it was "
            f"earlier ({', '.join(differing[:3])} differ): drop its tables and the schema "
            "treadle_log there, and run this again"
        )
