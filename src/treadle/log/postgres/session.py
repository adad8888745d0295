"""One session of a lane: a connection that appends, never cancelled, and known to be confirmed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import Diagnostic

from treadle.counting import count_noun
from treadle.errors import OperatorError
from treadle.log.postgres import statements
from treadle.log.postgres.connection import (
    Row,
    connect_lane,
    get_severity,
    shut_socket,
)
from treadle.log.postgres.entry_rows import (
    EntryColumns,
    decode_name,
    encode_blobs,
    encode_int4s,
    encode_int8s,
    encode_uuids,
)
from treadle.log.postgres.grouping import FoundKey, TableKey, judge_new_tables
from treadle.log.postgres.outcome import (
    AppendFate,
    ServerNotice,
    is_english,
    is_unreplicated,
    judge_error,
)
from treadle.log.postgres.schema import find_obstacle
from treadle.log.protocol import IdempotencyKey
from treadle.log.slots import compute_slot
from treadle.quotas import QuotaReachedError

logger = logging.getLogger("treadle.log")

SILENCE_SECONDS_MAX: Final = 20.0
"""A statement that is not answered for so long is given up, and resolved."""

GRACE_SECONDS: Final = 5.0
"""How long the driver may take to notice that its socket was shut."""

T = TypeVar("T")


class SessionLostError(Exception):
    """The session cannot be used any more; what was under way has to be found out."""


class StatementFailedError(Exception):
    """A statement failed, and stored nothing.

    Attributes:
        fate: `REPEAT` or `REFUSED`.
        error: the driver's.
    """

    def __init__(self, fate: AppendFate, error: psycopg.Error) -> None:
        super().__init__(str(error))
        self.fate = fate
        self.error = error


@dataclass(frozen=True, slots=True)
class SessionIdentity:
    """What a session is known by, to end it from another one.

    Attributes:
        pid: of its process on the server.
        began: when that process began.
        server_began: when its server began: tells servers, and their restarts, apart.
    """

    pid: int
    began: str
    server_began: str


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where a log stands.

    Attributes:
        log_id: its name.
        state: open, draining or closed.
        segment: where appends go.
        last: the greatest position given.
        timeline: of the server.
    """

    log_id: str
    state: str
    segment: int
    last: int
    timeline: int


class LaneSession:
    """A connection that is open; made by `open`.

    Args:
        connection: to the server that takes writes.
        log: the log's number.
    """

    def __init__(self, connection: AsyncConnection[Row], log: int) -> None:
        self._connection = connection
        self._log = log
        self._notices: list[ServerNotice] = []
        self._english = True
        self.identity: SessionIdentity | None = None
        self.place = LogPlace("", "", 0, 0, 0)
        connection.add_notice_handler(self._note)

    @classmethod
    async def open(
        cls,
        parameters: str,
        log: int,
        previous: SessionIdentity | None,
        note: Callable[["LaneSession"], None],
    ) -> Self:
        """Connect, end the previous session, and make durable what it may have left.

        Args:
            parameters: of the connection.
            log: the log's number.
            previous: the session before this one, if there was one.
            note: called before the session writes for the first time, when the previous one is at
                its end: the next one has to end this one.

        Raises:
            SessionLostError: no server that takes writes was reached, or it was lost again.
            StatementFailedError: the server refuses; nothing is confirmed.
            OperatorError: there is no such log, or it is a newer treadle's.
        """
        try:
            connection = await connect_lane(parameters)
        except (psycopg.Error, OSError) as error:
            raise SessionLostError(_say(error)) from error
        self = cls(connection, log)
        try:
            await self._run(self._identify)
            await self._run(lambda: self._end_previous(previous))
            note(self)
            await self._run(self._end_holders)
            await self._run(self._confirm)
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    # --- what a lane asks -------------------------------------------------------------------------

    async def append(self, columns: EntryColumns) -> int | None:
        """Append entries; they are durable when it returns.

        Returns:
            The position of the first; None where the log goes on elsewhere: see `refresh`.

        Raises:
            StatementFailedError: nothing was stored.
            SessionLostError: nobody knows.
        """

        async def run() -> int | None:
            row = await (await self._append(columns)).fetchone()
            return None if row is None else int(row[0])

        first = await self._run(run)
        if first is not None:
            self._advance(first + columns.count - 1)
        return first

    async def append_once(
        self,
        keys: Sequence[IdempotencyKey],
        times: Sequence[int],
        make: Callable[
            [Mapping[bytes, FoundKey]], tuple[EntryColumns | None, Sequence["KeyPlace"]]
        ],
    ) -> tuple[Mapping[bytes, FoundKey], int | None]:
        """Append the entries of new names, in one transaction with these.

        Args:
            keys: each name once, in order of name.
            times: when each of these requests was received.
            make: given what is stored under the names, returns the entries to append and where
                each of the new names begins among them.

        Returns:
            What was found under the names, and the first position appended; None for nothing.

        Raises:
            StatementFailedError: nothing was stored; `REPEAT` also where the log goes on elsewhere.
            SessionLostError: nobody knows.
        """

        async def run() -> tuple[Mapping[bytes, FoundKey], int | None]:
            async with self._connection.pipeline():
                await self._connection.execute(b"BEGIN")
                cursor = await self._connection.execute(
                    statements.PUT_KEYS.encode(),
                    (
                        self._log,
                        encode_blobs([key.name for key in keys]),
                        encode_blobs([key.digest for key in keys]),
                        encode_int8s(times),
                    ),
                    prepare=True,
                )
                found = {
                    bytes(name): FoundKey(bytes(digest), int(first), bool(new))
                    for name, digest, first, new in await cursor.fetchall()
                }
                columns, places = make(found)
                if columns is None:
                    await self._connection.execute(b"COMMIT")
                    return found, None
                appending = await self._append(columns)
                await self._connection.execute(
                    statements.make_place_keys(self._log, self.place.segment).encode(),
                    (
                        self._log,
                        columns.count,
                        encode_blobs([place.name for place in places]),
                        encode_int8s([place.before for place in places]),
                        encode_uuids([place.uid for place in places]),
                    ),
                    prepare=True,
                )
                await self._connection.execute(b"COMMIT")
                row = await appending.fetchone()
            if row is None:  # then `make_place_keys` failed, and this is not reached
                raise SessionLostError("an append of keyed requests had no answer")
            self._advance(int(row[0]) + columns.count - 1)
            return found, int(row[0])

        return await self._run(run)

    async def find_uids(self, segment: int, above: int, uids: Sequence[bytes]) -> dict[bytes, int]:
        """Return uid -> position of those entries that are there.

        Args:
            segment: the one that they were sent to.
            above: a position that was given before they were sent.
            uids: theirs.

        Raises:
            SessionLostError, StatementFailedError: it cannot be asked now; nothing is said.
        """
        if self.place.segment < segment:  # it was made in what a failover lost
            return {}
        statement = statements.make_find_uids(self._log, segment).encode()

        async def run() -> dict[bytes, int]:
            cursor = await self._connection.execute(statement, (above, encode_uuids(uids)))
            return {uid.bytes: int(position) for uid, position in await cursor.fetchall()}

        return await self._run(run)

    async def refresh(self) -> LogPlace:
        """Read again where the log stands."""

        async def run() -> LogPlace:
            cursor = await self._connection.execute(statements.READ_LOG.encode(), (self._log,))
            return self._judge_log(await cursor.fetchone(), self.place.timeline)

        self.place = await self._run(run)
        return self.place

    async def measure_space(self) -> int:
        """Return the bytes of the log's segments."""

        async def run() -> int:
            cursor = await self._connection.execute(statements.MEASURE_SPACE.encode(), (self._log,))
            row = await cursor.fetchone()
            return 0 if row is None else int(row[0])

        return await self._run(run)

    async def find_tables(self, tables: Sequence[TableKey]) -> dict[TableKey, int]:
        """Return the ids of those tables that the log knows."""
        return await self._run(lambda: self._find_tables(tables))

    async def add_tables(
        self, wanted: Sequence[Sequence[TableKey]], get_tables_max: Callable[[int], int]
    ) -> tuple[dict[TableKey, int], dict[int, QuotaReachedError]]:
        """Add the new tables of requests; see `grouping.judge_new_tables`.

        All lanes take turns here, so the number of tables is exact over all of them, and a reader
        that knows a table knows all that were added before it.

        Returns:
            The ids of all tables asked about but those of refused requests; index -> refusal.
        """

        async def run() -> tuple[dict[TableKey, int], dict[int, QuotaReachedError]]:
            async with self._connection.transaction():
                await self._connection.execute(statements.LOCK_TABLES.encode(), (self._log,))
                every = list(dict.fromkeys(table for tables in wanted for table in tables))
                ids = await self._find_tables(every)
                most = {source_id: get_tables_max(source_id) for source_id, _ in every}
                counts: dict[int, int] = {}
                if any(most.values()):
                    cursor = await self._connection.execute(
                        statements.COUNT_TABLES.encode(), (self._log, encode_int8s(list(most)))
                    )
                    counts = {int(one): int(count) for one, count in await cursor.fetchall()}
                unknown = [[table for table in tables if table not in ids] for tables in wanted]
                added, refused = judge_new_tables(unknown, counts, most)
                if added:
                    cursor = await self._connection.execute(
                        statements.ADD_TABLES.encode(),
                        (
                            self._log,
                            encode_int8s([source_id for source_id, _ in added]),
                            encode_blobs([name.encode() for _, name in added]),
                            encode_int4s([compute_slot(*table) for table in added]),
                        ),
                    )
                    ids |= _read_ids(await cursor.fetchall())
            return ids, refused

        return await self._run(run)

    # --- how it asks ------------------------------------------------------------------------------

    async def _run(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Run statements, for `SILENCE_SECONDS_MAX` at most, and judge how they ended.

        The task that waits for the server is never cancelled: the driver would cancel the
        statement on the server.
        """
        self._notices.clear()
        task: asyncio.Task[T] = asyncio.get_running_loop().create_task(_await(ask()))
        done, _ = await asyncio.wait({task}, timeout=SILENCE_SECONDS_MAX)
        if not done:
            self.shut()
            await asyncio.wait({task}, timeout=GRACE_SECONDS)
            task.add_done_callback(_forget)
            raise SessionLostError(f"it has not answered for {SILENCE_SECONDS_MAX:.0f} s")
        try:
            found = task.result()
        except psycopg.Error as error:
            fate = judge_error(get_severity(error), error.sqlstate)
            if fate is AppendFate.UNKNOWN or self._connection.closed:
                raise SessionLostError(_say(error)) from error
            await self._leave_transaction()
            raise StatementFailedError(fate, error) from error
        if any(is_unreplicated(one, english=self._english) for one in self._notices):
            raise SessionLostError("a wait for a standby was ended before the standby answered")
        return found

    async def _leave_transaction(self) -> None:
        """Undo what a failed statement left open, so that the session can go on."""
        if self._connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            return
        task = asyncio.get_running_loop().create_task(self._connection.rollback())
        await asyncio.wait({task}, timeout=SILENCE_SECONDS_MAX)
        if not task.done() or task.exception() is not None:
            self.shut()
            raise SessionLostError("a transaction could not be undone")

    def shut(self) -> None:
        """Shut the connection's socket, so that whoever waits on it ends."""
        try:
            descriptor = self._connection.pgconn.socket
        except psycopg.Error:  # it is closed
            return
        shut_socket(descriptor)

    def _note(self, found: Diagnostic) -> None:
        text = " ".join(part for part in (found.message_primary, found.message_detail) if part)
        self._notices.append(
            ServerNotice(found.severity_nonlocalized or "", found.sqlstate or "", text)
        )

    def _advance(self, last: int) -> None:
        place = self.place
        self.place = LogPlace(place.log_id, place.state, place.segment, last, place.timeline)

    async def _append(self, columns: EntryColumns) -> psycopg.AsyncCursor[Row]:
        place = self.place
        return await self._connection.execute(
            statements.make_append(self._log, place.segment).encode(),
            (
                columns.count,
                self._log,
                place.segment,
                place.timeline,
                columns.received_at,
                columns.table_ids,
                columns.records,
                columns.sizes,
                columns.crcs,
                columns.uids,
                columns.payloads,
            ),
            prepare=True,
        )

    async def _find_tables(self, tables: Sequence[TableKey]) -> dict[TableKey, int]:
        cursor = await self._connection.execute(
            statements.FIND_TABLES.encode(),
            (
                self._log,
                encode_int8s([source_id for source_id, _ in tables]),
                encode_blobs([name.encode() for _, name in tables]),
            ),
        )
        return _read_ids(await cursor.fetchall())

    async def _identify(self) -> None:
        for setting in statements.SESSION_SETTINGS:
            await self._connection.execute(setting.encode())
        try:
            await self._connection.execute(statements.CHECK_CLIENT.encode())
        except psycopg.Error as error:  # the server's system cannot tell
            if get_severity(error) != "ERROR":
                raise
        cursor = await self._connection.execute(statements.IDENTIFY_SESSION.encode())
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - it has no FROM
        self.identity = SessionIdentity(int(row[0]), str(row[1]), str(row[2]))
        self._english = is_english(str(row[3]))

    async def _end_previous(self, previous: SessionIdentity | None) -> None:
        """End the session before this one where it may still be there: nothing comes of it later.

        On another server, or after a restart, it is gone.
        """
        if previous is None or self.identity is None:
            return
        if previous.server_began != self.identity.server_began:
            return
        cursor = await self._connection.execute(
            statements.TERMINATE_SESSION.encode(), (previous.pid, previous.began)
        )
        row = await cursor.fetchone()
        if row is not None and not row[0]:
            raise SessionLostError("the session before this one does not end")

    async def _end_holders(self) -> None:
        """End sessions of processes that stand still and keep everybody from appending."""
        cursor = await self._connection.execute(statements.END_HOLDERS.encode())
        if cursor.rowcount:
            logger.warning(
                "ended %s of processes that stand still, which kept others from appending",
                count_noun(cursor.rowcount, "session"),
            )

    async def _confirm(self) -> None:
        timeline = await self._read_timeline()
        cursor = await self._connection.execute(statements.CONFIRM.encode(), (self._log, timeline))
        self.place = self._judge_log(await cursor.fetchone(), timeline)

    async def _read_timeline(self) -> int:
        for statement in (statements.READ_TIMELINE, statements.READ_START_TIME):
            try:
                cursor = await self._connection.execute(statement.encode())
            except psycopg.Error as error:  # no such function, or no right to it
                if get_severity(error) != "ERROR" or statement is statements.READ_START_TIME:
                    raise
            else:
                row = await cursor.fetchone()
                assert row is not None  # noqa: S101 - it has no FROM
                return int(row[0])
        raise AssertionError("unreachable")

    def _judge_log(self, row: Row | None, timeline: int) -> LogPlace:
        if row is None:
            raise OperatorError(
                f"the log's database has no log {self._log}: name another database, or add the log"
            )
        log_id, state, segment, last, form = row
        obstacle = find_obstacle(self._log, state, form)
        if obstacle is not None:
            raise OperatorError(obstacle)
        return LogPlace(str(log_id), str(state), int(segment), int(last), timeline)


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where the entries of a new name begin in a group.

    Attributes:
        name: of the request.
        before: how many entries of the group come before its first one.
        uid: of its first one.
    """

    name: bytes
    before: int
    uid: bytes


def _read_ids(rows: Sequence[Row]) -> dict[TableKey, int]:
    return {(int(source_id), decode_name(name)): int(one) for one, source_id, name in rows}


async def _await(found: Awaitable[T]) -> T:
    return await found


def _forget(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()


def _say(error: Exception) -> str:
    return " ".join(str(error).split()) or repr(error)
