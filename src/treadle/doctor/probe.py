"""Measures what `judge` judges. Changes nothing that is there, and makes nothing that stays."""

import contextlib
import os
import resource
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from treadle.clock import read_clock
from treadle.config import FILE_NAME, Config
from treadle.destinations.forecast import forecast
from treadle.destinations.patience import patiently
from treadle.destinations.protocol import Destination, Session
from treadle.destinations.registry import open_url
from treadle.doctor import judge
from treadle.doctor.judge import Finding
from treadle.errors import TreadleError, TryLater
from treadle.log.protocol import Reader
from treadle.records.message import Batch
from treadle.store import migrate
from treadle.store.model import Source
from treadle.store.secrets import KEY_VARIABLE, load_key
from treadle.store.store import Store

FSYNCS: Final = 25
FSYNC_BYTES: Final = 4096
MOUNTS: Final = Path("/proc/self/mountinfo")
SCHEMAS_MAX: Final = 20
"""Schemas in which a load is rehearsed: each holds its destination for some milliseconds."""
TABLE: Final = "treadle_doctor"


def disk(config: Config) -> judge.Disk:
    """The disk of the data folder, or of where it will be made."""
    folder = existing(config.data)
    found = os.statvfs(folder)
    mounts = MOUNTS.read_text() if MOUNTS.exists() else ""
    used = config.log_path.stat().st_size if config.log_path.exists() else 0
    return judge.Disk(
        judge.mount_of(str(folder.resolve()), mounts),
        tuple(fsyncs(folder)),
        found.f_bavail * found.f_frsize,
        used,
    )


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())


def fsyncs(folder: Path) -> Iterator[float]:
    """How long small writes with an fsync take there, microseconds; none where none is allowed."""
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(FSYNCS):
            file.write(bytes(FSYNC_BYTES))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            yield (time.perf_counter() - began) * 1e6


def files(config: Config) -> list[judge.File]:
    """Treadle's files that are there."""
    named = {
        "The data folder": config.data,
        "The store": config.store_path,
        "The log": config.log_path,
        "The warehouse": config.warehouse_path,
    }
    return [
        judge.File(
            name,
            str(path),
            path.stat().st_mode & 0o777,
            os.access(path, os.R_OK | os.W_OK),
            path.stat().st_uid == os.geteuid(),
            path.is_dir(),
        )
        for name, path in named.items()
        if path.exists()
    ]


def machine(config: Config) -> judge.Machine:
    """What the settings are compared with."""
    file = config.data / FILE_NAME
    mode = file.stat().st_mode & 0o777 if file.exists() else None
    return judge.Machine(len(os.sched_getaffinity(0)), mode)


def open_files() -> int:
    """How many files a process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft


def store(config: Config) -> tuple[judge.StoreFile, str | None, int | None]:
    """The store, its key's check value, and the latest time noted in it."""
    if not config.store_path.exists():
        return judge.StoreFile(there=False), None, None
    check, newest, form = None, None, None
    try:
        with closing(_reading(config.store_path)) as connection:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if said != "ok":
                return judge.StoreFile(there=True, damage=str(said)), None, None
            (form,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            (check,) = connection.execute("SELECT key_check FROM meta").fetchone()
            (newest,) = connection.execute(
                "SELECT max((SELECT coalesce(max(finished_at), 0) FROM loads),"
                " (SELECT coalesce(max(updated_at), 0) FROM sources),"
                " (SELECT coalesce(max(created_at), 0) FROM accounts))"
            ).fetchone()
    except (sqlite3.Error, TypeError) as error:
        return judge.StoreFile(there=True, damage=str(error)), None, None
    newer = form is not None and form > migrate.HEAD  # they are numbered 0001, 0002, ...
    return judge.StoreFile(True, None, form, migrate.HEAD, newer), check, newest


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=10)


def key(config: Config, check: str | None) -> judge.Key:
    """The key, compared with what the store remembers of it; never made."""
    given = bool(config.secret_key and config.secret_key.strip())
    place = f"environment variable {KEY_VARIABLE}" if given else "key file"
    if not given and not config.key_path.exists():
        return judge.Key(place, there=False, right=None if check is None else False)
    try:
        cipher = load_key(config.key_path, config.secret_key)
    except TreadleError as error:
        return judge.Key(place, there=True, fault=_sentence(str(error)))
    return judge.Key(place, True, None, None if check is None else cipher.is_key_of(check))


def rehearsal(
    config: Config, destination: Destination, sources: list[Source], now: int
) -> tuple[judge.Reached, int | None]:
    """What a destination says to a load that is undone, and what its clock says."""
    name = destination.identity
    if destination.kind == "duckdb":
        path = Path(name.removeprefix("duckdb://"))
        if not path.exists():
            fault = _unmade(path.parent, config.data)
            return judge.Reached(name, (), fault=fault, missing=fault is None), None
    schemas = [source.name for source in sources][:SCHEMAS_MAX] or [TABLE]
    began = time.monotonic()
    try:
        with patiently(destination.open) as session:
            took = (time.monotonic() - began) * 1000
            there = _clock(destination, session)
            for schema in schemas:
                found = forecast(
                    session,
                    [_batch()],
                    schema=schema,
                    profile=destination.profile,
                    settings={},
                    now=now,
                    rehearse=True,
                )
                if found.stopped is not None:
                    return judge.Reached(name, (schema,), took, _clause(found.stopped)), there
    except TreadleError as error:
        passing = isinstance(error, TryLater)
        return judge.Reached(name, (), 0.0, _clause(str(error)), passing), None
    return judge.Reached(name, tuple(schemas), took), there


def _unmade(folder: Path, data: Path) -> str | None:
    """Why a file cannot be made in a folder; the data folder itself is made by a start."""
    if not folder.exists() and folder != data.resolve():
        return f"there is no folder {folder}"
    return None if os.access(existing(folder), os.W_OK) else f"{folder} cannot be written to"


def _clock(destination: Destination, session: Session) -> int | None:
    """Microseconds since 1970 there; None where it runs on this machine, or does not say."""
    if destination.kind != "postgres":
        return None
    [(seconds,)] = session.query(
        "select extract(epoch from clock_timestamp())::double precision"
    ).rows
    return int(seconds * 1_000_000)


def _batch() -> Batch:
    return Batch(TABLE, ("id",), "json", b"", (), [1], 0, None, [], b'[{"id":1,"text":"a"}]')


def reading(reader: Reader, store_log_id: str | None, *, whole: bool) -> judge.LogFile:
    """The log, and with `whole` every entry of it."""
    from treadle.log.verify import verify

    backlog = reader.backlog()
    verdict = verify(reader) if whole else None
    return judge.LogFile(
        there=True,
        known=None if not store_log_id else reader.log_id == store_log_id,
        sound=None if verdict is None else verdict.sound,
        damaged=None if verdict is None else len(verdict.damaged),
        waiting=sum(one.records for one in backlog),
        oldest=min((one.oldest for one in backlog), default=None),
    )


def destinations(config: Config, store: Store, now: int) -> Iterator[Finding]:
    """Every destination, and tables whose last load failed."""
    sources = [source for source in store.sources() if source.deleted_at is None]
    of_source = store.destination_ids()
    rows = [row for row in store.destinations() if row.deleted_at is None]
    defaults = {account.destination_id for account in store.accounts()}
    used = defaults | set(of_source.values())
    for row in rows:
        if row.id not in used:
            continue
        its = [source for source in sources if of_source.get(source.id) == row.id]
        # A start takes the URL of the settings for the default destination.
        url = config.destination if config.destination and row.id in defaults else row.url
        yield from _destination(config, url, its, now)
    names = {source.id: source.name for source in sources}
    for status in store.table_statuses():
        if status.error is not None and status.source_id in names:
            yield judge.table(
                judge.Stuck(
                    names[status.source_id], status.table_name, status.error, status.stopped
                )
            )


def configured(config: Config, now: int) -> Iterator[Finding]:
    """The destination of the settings, where there is no store yet."""
    yield from _destination(config, config.destination_url, [], now)


def _destination(config: Config, url: str, sources: list[Source], now: int) -> Iterator[Finding]:
    try:
        destination = open_url(url)
    except TreadleError as error:
        yield judge.destination(judge.Reached("The destination", (), 0.0, _clause(str(error))))
        return
    found, there = rehearsal(config, destination, sources, now)
    yield judge.destination(found)
    if there is not None:
        off = judge.other_clock(destination.identity, read_clock(), there)
        if off is not None:
            yield off


def _clause(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _sentence(text: str) -> str:
    text = _clause(text)
    return f"{text[0].upper()}{text[1:]}."
