"""The lane of a log: one session, and one group of requests under way.

An answer that did not come is found out (`_resolve`): the old session is ended, a write that waits
for a standby makes durable whatever is there, and then the entries are looked up by their uid.
They are there, and the group is answered; or they are not, and it is appended again.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, TypeVar

from treadle import failpoint
from treadle.errors import InternalError, OperatorError, RetriableError, TreadleError
from treadle.log.append_intake import AppendOutcome, PendingAppend
from treadle.log.codec import PayloadCodec, StoredPayload, encode_payload
from treadle.log.postgres.connection import translate_error
from treadle.log.postgres.entry_rows import EntryColumns, make_columns
from treadle.log.postgres.grouping import (
    FoundKey,
    TableKey,
    assign_results,
    make_uids,
    split_repeats,
)
from treadle.log.postgres.outcome import AppendFate
from treadle.log.postgres.reading import make_other_log_error
from treadle.log.postgres.session import (
    KeyPlace,
    LaneSession,
    SessionIdentity,
    SessionLostError,
    StatementFailedError,
)
from treadle.log.protocol import AppendResult, AppendUnknownError, IdempotencyKey, NewEntry

logger = logging.getLogger("treadle.log")

APPEND_SECONDS_MAX: Final = 60.0
"""After so long a request is answered, whatever is known of it."""

RECONNECT_PAUSE_SECONDS: Final = 0.2

TABLE_IDS_MAX: Final = 100_000

UID_PREFIX_BYTES: Final = 12

Answer = TypeVar("Answer")


@dataclass(slots=True)
class EncodedRequest:
    """A request whose payloads are as they will be stored.

    Attributes:
        pending: the request, and who waits.
        payloads: of its entries.
        stored_bytes: theirs together.
        began: when it was taken, by the monotonic clock.
    """

    pending: PendingAppend
    payloads: Sequence[StoredPayload]
    stored_bytes: int
    began: float

    @property
    def entry_count(self) -> int:
        """How many entries it has."""
        return len(self.pending.entries)


def encode_request(codec: PayloadCodec, pending: PendingAppend, began: float) -> EncodedRequest:
    """Encode the payloads of a request, where they are not yet."""
    payloads = pending.payloads
    if payloads is None:
        payloads = [encode_payload(codec, entry.payload) for entry in pending.entries]
    return EncodedRequest(pending, payloads, sum(len(its[0]) for its in payloads), began)


@dataclass(slots=True)
class SentGroup:
    """A group that was sent, and whose answer did not come.

    Attributes:
        segment: that it was sent to.
        above: a position that was given before.
    """

    segment: int
    above: int


@dataclass(slots=True)
class _Group:
    requests: Sequence[EncodedRequest]
    until: float
    uids: Sequence[bytes]
    offsets: Sequence[int]
    """Of each request: how many entries of the group come before it."""
    sent: SentGroup | None = None
    refused: dict[int, TreadleError] = field(default_factory=dict)
    """Index of a request -> why it is not stored, whatever becomes of the others."""
    placed: dict[int, int] = field(default_factory=dict)
    """Index of a request with a key -> first position, where an earlier attempt stored it."""

    @property
    def chosen(self) -> list[int]:
        """Indexes of the requests that are not refused."""
        return [index for index in range(len(self.requests)) if index not in self.refused]

    @property
    def may_be_stored(self) -> bool:
        """Whether some of it may be in the log, so that nobody is told that nothing is."""
        return self.sent is not None or bool(self.placed)


class LogLane:
    """Appends groups, one after the other, on one event loop.

    Args:
        parameters: of the connection; see `connection.make_parameters`.
        log: the log's number.
        get_tables_max: source id -> how many tables it may have, 0 for any.
        report_failure: called for each group that the database did not take.
        report_commit: called with the microseconds of each append that was answered.
        clock: the monotonic clock, in seconds.
        pick_prefix: returns 12 random bytes, for the uids of a group.
        log_id: the name that the log has to have; empty for that of the first connection.
    """

    def __init__(
        self,
        parameters: str,
        log: int,
        *,
        get_tables_max: Callable[[int], int],
        report_failure: Callable[[], None],
        report_commit: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
        pick_prefix: Callable[[], bytes] = lambda: os.urandom(UID_PREFIX_BYTES),
        log_id: str = "",
    ) -> None:
        self._parameters = parameters
        self._log = log
        self._get_tables_max = get_tables_max
        self._report_failure = report_failure
        self._report_commit = report_commit
        self._clock = clock
        self._pick_prefix = pick_prefix
        self._session: LaneSession | None = None
        self._previous: SessionIdentity | None = None
        self._table_ids: dict[TableKey, int] = {}
        self.log_id = log_id
        self.silent_since: float | None = None
        """Since when the database has not answered; None while it does, or nothing was asked."""
        self.stored_bytes = 0
        """Of what was appended here."""
        self.resolved = {"stored": 0, "not stored": 0, "unknown": 0}
        """How often it was found out what had become of a group."""

    async def open(self) -> None:
        """Connect for the first time.

        Raises:
            OperatorError: there is no such log, or the database refuses.
            RetriableError: the database is not available now.
        """
        try:
            session = await self._connect()
        except SessionLostError as error:
            raise RetriableError(f"the log's database is not available now ({error})") from error
        self.log_id = session.place.log_id

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def append(self, requests: Sequence[EncodedRequest]) -> list[AppendOutcome]:
        """Append a group: all of them have a key, or none has; return what became of each."""
        *offsets, count = accumulate((one.entry_count for one in requests), initial=0)
        until = min(one.began for one in requests) + APPEND_SECONDS_MAX
        group = _Group(requests, until, make_uids(self._pick_prefix(), count), offsets)
        if self.silent_since is None:
            self.silent_since = self._clock()
        try:
            found = await self._store(group)
        except (RetriableError, OperatorError, AppendUnknownError) as error:
            self._report_failure()
            if self._session is not None:  # the database answers, though it takes nothing
                self.silent_since = None
            outcome = self._judge_failure(group, error)
            return self._tell(group, [outcome] * len(group.requests))
        except Exception as error:  # whatever it is, nobody may wait for ever
            logger.exception("the log could not append a group")
            await self._lose()
            return self._tell(group, [self._make_defect(group, error)] * len(group.requests))
        self.silent_since = None
        self.stored_bytes += sum(request.stored_bytes for request in group.requests)
        return self._tell(group, found)

    async def measure(self) -> int | None:
        """Return the bytes of the log; None where the database does not tell now."""
        if self._session is None:
            return None
        if self.silent_since is None:
            self.silent_since = self._clock()
        found = None
        try:
            found = await self._session.measure_space()
        except SessionLostError:
            await self._lose()
            return None
        except StatementFailedError:
            pass
        self.silent_since = None
        return found

    async def recover(self) -> None:
        """Connect again where the database did not answer, though nothing waits to be appended."""
        try:
            if self._session is None:
                await self._connect()
        except (SessionLostError, TreadleError):
            await asyncio.sleep(RECONNECT_PAUSE_SECONDS)
        else:
            self.silent_since = None

    @staticmethod
    def _judge_failure(group: _Group, error: TreadleError) -> TreadleError:
        """Return what those who wait are told of a group that could not be appended."""
        if group.may_be_stored and not isinstance(error, AppendUnknownError):
            return AppendUnknownError(f"{error}; nobody knows whether the entries are in the log")
        if isinstance(error, OperatorError):  # whoever sends can do nothing about it
            logger.error("%s", error)
            return RetriableError(str(error))
        return error

    @staticmethod
    def _make_defect(group: _Group, error: Exception) -> TreadleError:
        text = f"the log could not append a group of entries ({error!r})"
        if group.may_be_stored:
            return AppendUnknownError(f"{text}; nobody knows whether they are in the log")
        return InternalError(text)

    @staticmethod
    def _tell(group: _Group, found: Sequence[AppendOutcome]) -> list[AppendOutcome]:
        return [group.refused.get(index, outcome) for index, outcome in enumerate(found)]

    # --- one group --------------------------------------------------------------------------------

    async def _store(self, group: _Group) -> Sequence[AppendOutcome]:
        """Append a group, as often as it takes.

        Raises:
            RetriableError, OperatorError: it is not in the log.
            AppendUnknownError: nobody knows, and its time is over.
        """
        said = "nothing was tried"
        while True:
            self._check_time(group, said)
            try:
                session = self._session or await self._connect()
                found = await self._attempt(session, group)
            except SessionLostError as error:
                said = str(error)
                logger.warning("the log lost its database: %s", said)
                await self._lose()
                await asyncio.sleep(RECONNECT_PAUSE_SECONDS)
            except StatementFailedError as failed:
                self.silent_since = self._clock()  # it answered, though not with success
                said = str(translate_error(failed.error))
                if failed.fate is not AppendFate.REPEAT and not group.may_be_stored:
                    raise translate_error(failed.error) from failed.error
                await self._refresh(group)
            else:
                if found is not None:
                    return found
                await self._refresh(group)

    def _check_time(self, group: _Group, said: str) -> None:
        if self._clock() < group.until:
            return
        if not group.may_be_stored:
            raise RetriableError(f"the log's database is not available now ({said})")
        self.resolved["unknown"] += 1
        raise AppendUnknownError(
            f"the log's database did not answer for {APPEND_SECONDS_MAX:.0f} s ({said}): nobody "
            f"knows whether the entries are in the log"
        )

    async def _refresh(self, group: _Group) -> None:
        """Read where the log goes on.

        Raises:
            RetriableError: it was closed.
        """
        session = self._session
        if session is None:
            return
        before = session.place
        try:
            place = await session.refresh()
        except (SessionLostError, StatementFailedError):
            await self._lose()
            return
        if place.state == "closed" and not group.may_be_stored:
            raise RetriableError(f"log {self._log} is closed and takes nothing more")
        if place.segment == before.segment:  # another lock, or another timeline: begin anew
            await asyncio.sleep(RECONNECT_PAUSE_SECONDS)
            await self._lose()

    async def _attempt(self, session: LaneSession, group: _Group) -> Sequence[AppendOutcome] | None:
        """Append a group once; return None where the log goes on elsewhere."""
        if group.sent is not None:
            found = await self._resolve(session, group, group.sent)
            if found is not None:
                return found
        await self._find_tables(session, group)
        if not group.chosen:
            return [group.refused[index] for index in range(len(group.requests))]
        if group.requests[0].pending.key is not None:
            return await self._append_keyed(session, group)
        columns = self._make_columns(group, group.chosen)
        first = await self._send(session, group, lambda: session.append(columns))
        return None if first is None else self._place_plain(group, first)

    async def _send(
        self, session: LaneSession, group: _Group, send: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """Send a group, and remember that it may be stored while its answer has not come."""
        group.sent = SentGroup(session.place.segment, session.place.last)
        failpoint.reach("log.pg.before-append")
        began = time.perf_counter_ns()
        try:
            answer = await send()
        except StatementFailedError:
            group.sent = None
            raise
        group.sent = None
        failpoint.reach("log.pg.after-append")
        self._report_commit((time.perf_counter_ns() - began) // 1000)
        return answer

    def _place_plain(self, group: _Group, first: int) -> Sequence[AppendOutcome]:
        """Return the place of each request of a group that begins at a position."""
        found: list[AppendOutcome] = []
        for index, request in enumerate(group.requests):
            refusal = group.refused.get(index)
            if refusal is not None:
                found.append(refusal)
            else:
                found.append(AppendResult(first, b"", duplicate=False))
                first += request.entry_count
        return found

    async def _append_keyed(self, session: LaneSession, group: _Group) -> Sequence[AppendOutcome]:
        """Append requests with keys, those of new names; return what became of each."""
        chosen = group.chosen
        keys = [_get_key(group.requests[index]) for index in chosen]
        firsts, repeats = split_repeats(keys)
        before_of: dict[int, int] = {}

        def make(
            found: Mapping[bytes, FoundKey],
        ) -> tuple[EntryColumns | None, Sequence[KeyPlace]]:
            new = [index for index in firsts if found[keys[index].name].new]
            places: list[KeyPlace] = []
            before = 0
            for index in new:
                request = chosen[index]
                before_of[index] = before
                uid = group.uids[group.offsets[request]]
                places.append(KeyPlace(keys[index].name, before, uid))
                before += group.requests[request].entry_count
            columns = self._make_columns(group, [chosen[index] for index in new]) if new else None
            return columns, places

        times = [group.requests[chosen[index]].pending.entries[0].received_at for index in firsts]
        names = [keys[index] for index in firsts]
        found, first = await self._send(
            session, group, lambda: session.append_once(names, times, make)
        )
        placed = {
            index: group.placed[request]
            for index, request in enumerate(chosen)
            if request in group.placed
        }
        if first is not None:
            placed |= {index: first + before for index, before in before_of.items()}
        results = iter(assign_results(keys, firsts, repeats, found, placed))
        return [
            group.refused[index] if index in group.refused else next(results)
            for index in range(len(group.requests))
        ]

    # --- finding out ------------------------------------------------------------------------------

    async def _resolve(
        self, session: LaneSession, group: _Group, sent: SentGroup
    ) -> Sequence[AppendOutcome] | None:
        """Find out what became of a group that was not answered.

        The session was confirmed when it was opened: the old one is at its end, and what is visible
        is on a standby.

        Returns:
            The answers; None where the group is not in the log.
        """
        failpoint.reach("log.pg.resolve")
        first_uids = {group.uids[group.offsets[index]]: index for index in group.chosen}
        there = await session.find_uids(sent.segment, sent.above, list(first_uids))
        group.sent = None
        self.resolved["stored" if there else "not stored"] += 1
        logger.warning(
            "a group of the log that was not answered is %s", "stored" if there else "not stored"
        )
        if group.requests[0].pending.key is None:
            return self._place_plain(group, min(there.values())) if there else None
        # What is stored under the other names is told by the write of the names, done again.
        group.placed |= {first_uids[uid]: position for uid, position in there.items()}
        return None

    async def _connect(self) -> LaneSession:
        """Open a session that is confirmed, and end the one before it.

        Raises:
            SessionLostError: not now.
            OperatorError: there is no such log, or the database refuses.
        """
        try:
            session = await LaneSession.open(
                self._parameters, self._log, self._previous, self._note_session
            )
        except StatementFailedError as failed:
            error = translate_error(failed.error)
            if isinstance(error, OperatorError):
                raise error from failed.error
            raise SessionLostError(str(error)) from failed.error
        if self.log_id and session.place.log_id != self.log_id:
            await session.close()
            raise make_other_log_error(self._log)
        self._session = session
        # Of a table that was lost with its primary the id may be given to another one.
        self._table_ids.clear()
        return session

    def _note_session(self, session: LaneSession) -> None:
        self._previous = session.identity

    async def _lose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.shut()
            await session.close()

    # --- what a group is made of ------------------------------------------------------------------

    async def _find_tables(self, session: LaneSession, group: _Group) -> None:
        """Make the tables known that a group needs; note which requests may not add theirs."""
        kept = self._table_ids
        wanted: dict[int, list[TableKey]] = {}
        for index, request in enumerate(group.requests):
            if index in group.refused:
                continue
            tables = ((entry.source_id, entry.table_name) for entry in request.pending.entries)
            unknown = [table for table in tables if table not in kept]
            if unknown:
                wanted[index] = unknown
        if not wanted:
            return
        every = list(dict.fromkeys(table for tables in wanted.values() for table in tables))
        if len(kept) + len(every) > TABLE_IDS_MAX:
            kept.clear()
            await self._find_tables_anew(session, group)
            return
        kept.update(await session.find_tables(every))
        missing = {
            index: [table for table in tables if table not in kept]
            for index, tables in wanted.items()
        }
        missing = {index: tables for index, tables in missing.items() if tables}
        if not missing:
            return
        ids, refused = await session.add_tables(list(missing.values()), self._get_tables_max)
        kept.update(ids)
        indexes = list(missing)
        group.refused.update({indexes[number]: error for number, error in refused.items()})

    async def _find_tables_anew(self, session: LaneSession, group: _Group) -> None:
        """Make all tables of a group known; none is kept."""
        every = list(
            dict.fromkeys(
                (entry.source_id, entry.table_name)
                for request in group.requests
                for entry in request.pending.entries
            )
        )
        self._table_ids.update(await session.find_tables(every))
        if any(table not in self._table_ids for table in every):
            wanted = [
                [(entry.source_id, entry.table_name) for entry in request.pending.entries]
                for request in group.requests
            ]
            ids, refused = await session.add_tables(wanted, self._get_tables_max)
            self._table_ids.update(ids)
            group.refused.update(refused)

    def _make_columns(self, group: _Group, chosen: Sequence[int]) -> EntryColumns:
        entries: list[NewEntry] = []
        payloads: list[StoredPayload] = []
        uids: list[bytes] = []
        for index in chosen:
            request = group.requests[index]
            offset = group.offsets[index]
            entries += request.pending.entries
            payloads += request.payloads
            uids += group.uids[offset : offset + request.entry_count]
        kept = self._table_ids
        table_ids = [kept[entry.source_id, entry.table_name] for entry in entries]
        return make_columns(entries, payloads, table_ids, uids)


def _get_key(request: EncodedRequest) -> IdempotencyKey:
    key = request.pending.key
    if key is None:
        raise InternalError("a group has only requests with a key, found one without")
    return key
