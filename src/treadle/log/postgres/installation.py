"""Makes logs in a database, and tells whether the database can keep what a log promises."""

import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import psycopg
from psycopg import Connection

from treadle.clock import read_clock
from treadle.errors import OperatorError
from treadle.log.postgres import schema, statements
from treadle.log.postgres.connection import (
    Row,
    connect_reader,
    make_member,
    make_parameters,
    translate_errors,
)

SERVER_VERSION_MIN: Final = 140_000
SERVER_VERSION_ADVISED: Final = 150_000


class LogDurability(StrEnum):
    """What has to have happened before an append is answered.

    Attributes:
        REPLICATED: it is on the disks of the primary and of a standby.
        SINGLE: it is on the disk of the one server there is.
        STORAGE: as `SINGLE`, and the provider keeps copies of the disk.
        NONE: nothing, for data that may be lost.
    """

    REPLICATED = "replicated"
    SINGLE = "single"
    STORAGE = "storage"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ServerState:
    """What a server says of itself; None for what it does not let us see.

    Attributes:
        version: as in 180006.
        fsync: the setting.
        full_page_writes: the setting.
        synchronous_standby_names: the setting.
        data_checksums: the setting.
        standbys: how many of its standbys a commit may wait for.
        sees_standbys: whether this user may know that.
        checks_clients: whether it can notice that a client is gone.
    """

    version: int
    fsync: bool
    full_page_writes: bool
    synchronous_standby_names: str
    data_checksums: bool
    standbys: int
    sees_standbys: bool
    checks_clients: bool


@dataclass(frozen=True, slots=True)
class ServerJudgement:
    """What is wrong with a server.

    Attributes:
        refusals: why it cannot keep a log.
        warnings: what an operator should know.
        troubles: what has to be mended while it runs: the refusals, and what keeps appends waiting.
    """

    refusals: tuple[str, ...]
    warnings: tuple[str, ...]
    troubles: tuple[str, ...] = ()


def judge_server(found: ServerState, durability: LogDurability) -> ServerJudgement:
    """Return what is wrong with a server for that durability."""
    refusals: list[str] = []
    warnings: list[str] = []
    troubles: list[str] = []
    if found.version < SERVER_VERSION_MIN:
        refusals.append(
            f"the log needs PostgreSQL 14 or newer, found {found.version // 10_000}: upgrade it"
        )
    elif found.version < SERVER_VERSION_ADVISED:
        warnings.append("PostgreSQL 15 or newer is recommended for the log")
    if durability is LogDurability.NONE:
        return ServerJudgement(tuple(refusals), tuple(warnings), tuple(refusals))
    refusals += [
        f"{name} is off, so a power cut can take acknowledged records: set {name} = on there, or "
        "say with log_durability = none that they may be lost"
        for name in ("fsync", "full_page_writes")
        if not getattr(found, name)
    ]
    if durability is LogDurability.REPLICATED:
        if not found.synchronous_standby_names:
            refusals.append(
                "synchronous_standby_names is empty, so an acknowledged record is on one machine "
                "alone: set it to 'ANY 1 (..)', or set log_durability to single or storage"
            )
        elif not found.sees_standbys:
            warnings.append(
                "whether a standby is connected cannot be seen: GRANT pg_monitor to treadle's user"
            )
        elif not found.standbys:
            waits = "no synchronous standby is connected: appends wait until there is one"
            warnings.append(waits)
            troubles.append(waits)
    if not found.data_checksums:
        warnings.append(
            "data_checksums is off, so a damaged page can pass unnoticed: run pg_checksums --enable"
        )
    if not found.checks_clients:
        warnings.append("the server cannot notice that a client is gone before it answers")
    return ServerJudgement(tuple(refusals), tuple(warnings), (*refusals, *troubles))


def look_at_server(url: str, member: str | None = None) -> ServerState:
    """Ask a server what `judge_server` wants to know.

    Raises:
        OperatorError, RetriableError: it cannot be asked.
    """
    with translate_errors(), closing(_connect(url, member)) as connection:
        settings: dict[str, str] = dict(connection.execute(_SETTINGS.encode()).fetchall())
        standbys, hidden = _fetch(connection, _STANDBYS)
        try:
            connection.execute(statements.CHECK_CLIENT.encode())
            checks_clients = True
        except psycopg.Error:
            checks_clients = False
        return ServerState(
            version=connection.info.server_version,
            fsync=settings.get("fsync") == "on",
            full_page_writes=settings.get("full_page_writes") == "on",
            synchronous_standby_names=settings.get("synchronous_standby_names", ""),
            data_checksums=settings.get("data_checksums") == "on",
            standbys=int(standbys),
            sees_standbys=not hidden,
            checks_clients=checks_clients,
        )


_SETTINGS: Final = """
    SELECT name, setting FROM pg_settings
    WHERE name IN ('fsync', 'full_page_writes', 'synchronous_standby_names', 'data_checksums')
    """
# Who may not see the others' sessions finds their rows with nothing in them.
_STANDBYS: Final = """
    SELECT
        count(*) FILTER (WHERE sync_state <> 'async'),
        count(*) FILTER (WHERE sync_state IS NULL)
    FROM pg_stat_replication
    """


def make_log(
    url: str,
    number: int,
    installation: str = "",
    *,
    member: str | None = None,
    clock: Callable[[], int] = read_clock,
) -> str:
    """Make a log where there is none of that number; return its name.

    Several processes may do so at once. What is made is durable when it returns. A log that an
    earlier attempt of the same installation made is taken as it is.

    Args:
        url: of the database; see `connection.make_parameters`.
        number: of the log, from 0.
        installation: the id of the store that it is made for.
        member: who connects, as the database shows it.
        clock: microseconds since 1970.

    Raises:
        OperatorError: the database refuses, has a log of that number that is another
            installation's, or has tables that a newer treadle made.
        RetriableError: the database is not available now.
    """
    with translate_errors(), closing(_connect(url, member)) as connection:
        connection.execute(b"SET synchronous_commit = on")
        with connection.transaction():
            connection.execute(statements.LOCK_SCHEMA.encode())
            for statement in schema.CREATE_SCHEMA:
                connection.execute(statement.encode())
            added = connection.execute(
                statements.ADD_LOG.encode(),
                (
                    number,
                    str(uuid.uuid4()),
                    installation,
                    schema.FIRST_SEGMENT,
                    read_timeline(connection),
                    schema.FORM,
                ),
            ).rowcount
            if added:
                for segment in (schema.RESCUE_SEGMENT, schema.FIRST_SEGMENT):
                    make_segment(connection, number, segment, 1, clock())
            log_id, state, _, _, form = _fetch(connection, statements.READ_LOG, number)
            [owner] = _fetch(connection, statements.READ_INSTALLATION, number)
        if owner != installation:
            raise OperatorError(
                f"the database has a log {number} of another treadle already: name another database"
            )
        obstacle = schema.find_obstacle(number, state, form)
        if obstacle is not None:
            raise OperatorError(obstacle)
        return str(log_id)


def set_log_state(url: str, number: int, log_id: str, state: str) -> None:
    """Note in the database what a log takes: one that is closed refuses every append.

    Raises:
        OperatorError: there is no such log.
        RetriableError: the database is not available now.
    """
    with translate_errors(), closing(_connect(url, None)) as connection:
        connection.execute(b"SET synchronous_commit = on")
        changed = connection.execute(statements.SET_STATE.encode(), (number, state, log_id))
        if not changed.rowcount:
            raise OperatorError(f"the log's database has no log {number} of that name")


def make_segment(
    connection: Connection[Row], log: int, segment: int, first: int | None, now: int
) -> None:
    """Make a segment of a log, where it is missing."""
    for statement in schema.make_segment_ddl(log, segment):
        connection.execute(statement.encode())
    connection.execute(statements.ADD_SEGMENT.encode(), (log, segment, first, now))


def read_timeline(connection: Connection[Row]) -> int:
    """Return the timeline of the server, or a number that changes with each of its restarts."""
    try:
        with connection.transaction():
            return int(_fetch(connection, statements.READ_TIMELINE)[0])
    except psycopg.OperationalError:
        raise
    except psycopg.Error:  # no such function, or no right to it
        return int(_fetch(connection, statements.READ_START_TIME)[0])


def _fetch(connection: Connection[Row], statement: str, *values: Any) -> Row:
    row = connection.execute(statement.encode(), values).fetchone()
    if row is None:
        raise OperatorError("the log's database answered nothing: it is no database of a log")
    return row


def _connect(url: str, member: str | None) -> Connection[Row]:
    return connect_reader(make_parameters(url, make_member() if member is None else member))
