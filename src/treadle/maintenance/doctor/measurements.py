"""Measures what `findings` judges. It changes nothing and leaves nothing behind."""

import contextlib
import os
import pwd
import resource
import socket
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from treadle.certificate import load_certificate, read_certificate
from treadle.clock import read_system_clock
from treadle.config import Config, mask_password
from treadle.destinations.asking import AskedDestination, RoleRights
from treadle.destinations.protocol import Destination
from treadle.destinations.rehearsal import LoadRehearsal
from treadle.destinations.rehearsal_result import RehearsalResult
from treadle.destinations.upkeep import CrowdedTable, KeptDestination
from treadle.errors import TreadleError
from treadle.files import find_existing
from treadle.log.protocol import LogReader
from treadle.log.registry import list_log_files
from treadle.maintenance.doctor.findings import (
    CertificateMeasurement,
    DiskMeasurement,
    FileRights,
    HookCondition,
    KeyMeasurement,
    LogMeasurement,
    MachineFacts,
    MemberCondition,
    StoreMeasurement,
    find_mount,
)
from treadle.store import migration
from treadle.store.key_files import KEY_VARIABLE, load_cipher
from treadle.store.model import Source
from treadle.store.store import Store
from treadle.tables.schema_owner import SchemaOwner
from treadle.text import make_clause
from treadle.tracking.member_list import list_members

ROLE_SECONDS_MAX: Final = 10.0
"""How long the rights of a role are asked for."""
FSYNC_COUNT: Final = 25
FSYNC_BYTES: Final = 4096
MOUNTS_FILE: Final = Path("/proc/self/mountinfo")


def measure_disk(config: Config) -> DiskMeasurement:
    """Measure the disk of the data folder, or of the place where it will be made."""
    folder = find_existing(config.data)
    found = os.statvfs(folder)
    mounts = MOUNTS_FILE.read_text() if MOUNTS_FILE.exists() else ""
    used = sum(path.stat().st_size for path in list_log_files(config).values())
    return DiskMeasurement(
        find_mount(str(folder.resolve()), mounts),
        tuple(time_fsyncs(folder)),
        found.f_bavail * found.f_frsize,
        used,
        read_only=is_read_only(folder),
    )


def is_read_only(folder: Path) -> bool:
    """Return whether nothing can be written to the file system of a folder."""
    return bool(os.statvfs(find_existing(folder)).f_flag & os.ST_RDONLY)


def time_fsyncs(folder: Path) -> Iterator[float]:
    """Yield the times of small writes with an fsync, microseconds; none without permission."""
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(FSYNC_COUNT):
            file.write(bytes(FSYNC_BYTES))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            yield (time.perf_counter() - began) * 1e6


def measure_files(config: Config) -> list[FileRights]:
    """Return the permissions of treadle's files that exist."""
    named = {
        "The data folder": config.data,
        "The store": config.store_path,
        "The log": config.log_path,
        **{f"Log {log}": path for log, path in list_log_files(config).items() if log},
        "The warehouse": config.warehouse_path,
    }
    return [
        FileRights(
            name,
            str(path),
            stat.S_IMODE(path.stat().st_mode),
            os.access(path, os.R_OK | os.W_OK),
            path.stat().st_uid == os.geteuid(),
            path.is_dir(),
            find_user_name(path.stat().st_uid),
        )
        for name, path in named.items()
        if path.exists()
    ]


def find_user_name(user_id: int) -> str:
    """Return the name of a user of this machine; its number where it has none."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)


def measure_machine(config: Config) -> MachineFacts:
    """Return what the settings are compared with."""
    return MachineFacts(len(os.sched_getaffinity(0)), os.geteuid() == 0, look_up_host(config))


def look_up_host(config: Config) -> str | None:
    """Return the address that the server listens at; None if there is none, or for a socket."""
    if config.socket_path is not None:
        return None
    try:
        found = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError:
        return None
    return str(found[0][4][0])


def measure_certificate(config: Config) -> CertificateMeasurement:
    """Return what the certificate says, or why it cannot be used."""
    try:
        load_certificate(config.tls_cert, config.tls_key)
        facts = read_certificate(config.tls_cert) if config.tls_cert is not None else None
    except TreadleError as error:
        return CertificateMeasurement(_make_sentence(str(error)))
    assert facts is not None  # noqa: S101 - loaded before
    return CertificateMeasurement(None, facts.names, facts.expires)


def read_open_files_limit() -> int:
    """Return how many files a process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft


def measure_store(config: Config) -> tuple[StoreMeasurement, str | None, int | None]:
    """Return the store, the check value of its key, and the latest time that it contains."""
    if config.store is not None:
        return _measure_server(config)
    if not config.has_store():
        return StoreMeasurement(exists=False), None, None
    check, newest, form, least = None, None, None, ""
    try:
        with closing(_open_read_only(config.store_path)) as connection:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if said != "ok":
                return StoreMeasurement(exists=True, damage=str(said)), None, None
            (form,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            (check,) = connection.execute("SELECT key_check FROM meta").fetchone()
            if not migration.is_known(form):
                (least,) = connection.execute("SELECT least_version FROM meta").fetchone()
            (newest,) = connection.execute(
                "SELECT max((SELECT coalesce(max(finished_at), 0) FROM loads),"
                " (SELECT coalesce(max(updated_at), 0) FROM sources),"
                " (SELECT coalesce(max(created_at), 0) FROM accounts))"
            ).fetchone()
    except (sqlite3.Error, TypeError) as error:
        obstacle = find_obstacle(config.store_path, error)
        if obstacle is not None:
            return StoreMeasurement(exists=True, obstacle=obstacle), None, None
        return StoreMeasurement(exists=True, damage=str(error)), None, None
    newer = form is not None and not (migration.is_known(form) or migration.may_open(form, least))
    return StoreMeasurement(True, None, form, migration.HEAD_REVISION, newer), check, newest


def _measure_server(config: Config) -> tuple[StoreMeasurement, str | None, int | None]:
    from treadle.store.postgres import find_weakness, parse_place
    from treadle.store.server_examination import examine_server

    place = mask_password(config.store_url)
    try:
        place = parse_place(config.store_url).name
        began = read_system_clock()
        found = examine_server(config.store_url)
    except TreadleError as error:
        return StoreMeasurement(exists=True, server=place, obstacle=str(error)), None, None
    measured = StoreMeasurement(
        exists=found.form is not None,
        form=found.form,
        known=migration.HEAD_REVISION,
        newer=found.form is not None and not found.may_open,
        server=place,
        weakness=find_weakness(found.durability, config.store_durability),
        clock_ahead=found.now - (began + read_system_clock()) // 2,
    )
    return measured, found.key_check, found.newest


_DAMAGE_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def find_obstacle(path: Path, error: Exception) -> str | None:
    """Return why a file of SQLite cannot be opened; None where its content is at fault.

    A disk that is read-only, a file of another user, or a lock is no damage.

    Args:
        path: of the file.
        error: that came when it was opened or read.
    """
    if not isinstance(error, sqlite3.Error):
        return None  # a value that is not there
    code = getattr(error, "sqlite_errorcode", None)
    if code is None or code & 0xFF in _DAMAGE_CODES or code & 0xFF == sqlite3.SQLITE_ERROR:
        return None
    if is_read_only(path.parent):
        return "its disk is mounted read-only"
    if not os.access(path, os.R_OK):
        return f"it belongs to {find_user_name(path.stat().st_uid)}, and this user may not read it"
    if not os.access(path.parent, os.W_OK) or not os.access(path, os.W_OK):
        owner = find_user_name(path.parent.stat().st_uid)
        return f"its folder belongs to {owner}, and this user may not write there"
    return str(error)


def _open_read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=10)


def measure_key(config: Config, check: str | None) -> KeyMeasurement:
    """Return the key, compared with its check value in the store. Does not make a key."""
    given = bool(config.secret_key and config.secret_key.strip())
    place = f"environment variable {KEY_VARIABLE}" if given else "key file"
    if not given and not config.key_path.exists():
        return KeyMeasurement(place, exists=False, fits_store=None if check is None else False)
    try:
        cipher = load_cipher(config.key_path, config.secret_key, config.next_secret_key)
    except TreadleError as error:
        return KeyMeasurement(place, exists=True, fault=_make_sentence(str(error)))
    return KeyMeasurement(place, True, None, None if check is None else cipher.is_key_of(check))


def rehearse_load(
    config: Config,
    destination: Destination,
    sources: list[Source],
    now: int,
    installation_id: str = "",
) -> tuple[RehearsalResult, int | None]:
    """Carry out a load in each schema and undo it; return the result and the destination's time."""
    rehearsal = LoadRehearsal(destination, now, config.data)
    found = rehearsal.run(
        [
            (source.schema, SchemaOwner(installation_id, source.account_id, source.id))
            for source in sources
        ]
    )
    return found, rehearsal.there


def measure_crowded(destination: Destination) -> Sequence[CrowdedTable]:
    """Return the tables with too many files; none where tables are no files."""
    if not isinstance(destination, KeptDestination):
        return ()
    try:
        return destination.find_crowded()
    except TreadleError:  # the rehearsed load says what is wrong
        return ()


def measure_query_role(destination: Destination) -> RoleRights | None:
    """Return the rights of the role that runs statements; None where there is no role."""
    if destination.capabilities.exclusive or not isinstance(destination, AskedDestination):
        return None
    with destination.ask(ROLE_SECONDS_MAX) as session:
        return session.find_rights()


def measure_log(
    reader: LogReader,
    store_log_id: str | None,
    *,
    whole: bool,
    report: Callable[[int], None] = lambda entries: None,
) -> LogMeasurement:
    """Measure the log and, with `whole`, read every entry."""
    from treadle.log.verification import verify_log

    backlog = reader.list_backlogs()
    verdict = verify_log(reader, report) if whole else None
    return LogMeasurement(
        exists=True,
        known=None if not store_log_id else reader.log_id == store_log_id,
        sound=None if verdict is None else verdict.sound_entries,
        damaged=None if verdict is None else len(verdict.damaged_entries),
        waiting=sum(one.records for one in backlog),
        oldest=min((one.oldest for one in backlog), default=None),
    )


def _make_sentence(text: str) -> str:
    text = make_clause(text)
    return f"{text[0].upper()}{text[1:]}."


def measure_hooks(store: Store) -> list[HookCondition]:
    """Return the condition of each hook that is not disabled."""
    hooks = [hook for hook in store.hooks.list_hooks() if hook.disabled_at is None]
    backlogs = store.hooks.list_backlogs() if hooks else {}
    found = []
    for hook in hooks:
        failed = store.deliveries.list_deliveries(hook.id, state="failed", limit=1)
        waiting = backlogs[hook.id].waiting if hook.id in backlogs else 0
        error = failed[0].error if failed else None
        found.append(
            HookCondition(hook.id, waiting, len(failed), error, paused=hook.paused_at is not None)
        )
    return found


def measure_members(store: Store) -> list[MemberCondition]:
    """Return the processes of a cluster; none where the store is a file."""
    return [
        MemberCondition(
            one.member,
            one.process,
            one.role,
            (one.version, one.schema, one.form),
            one.beat_seconds,
            one.is_live,
        )
        for one in list_members(store)
    ]
