"""What happened since a moment: loads, rejected records, requests, refusals and problems.

Everything here blocks, and is called in one thread.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from treadle.control.problem_operations import ProblemWatch, name_problem
from treadle.control.refusal_operations import render_refused_request
from treadle.control.request_operations import render_accepted_request
from treadle.control.status_operations import show_status
from treadle.control.traces import TraceFiles, sees_installation
from treadle.log.joined import list_readers
from treadle.log.protocol import LogReader
from treadle.store.model import Account, LoadReport
from treadle.store.store import Store
from treadle.timestamps import format_microseconds
from treadle.traces.refusal_file import read_refusals
from treadle.tracking.receipts import ReceiptCodec, make_receipt_codec
from treadle.tracking.request_tail import AcceptedRequest, group_entries

TOPICS: Final = ("status", "load", "reject", "request", "refusal", "problem")

LOADS_MAX: Final = 200
"""Loads that are read at once; further ones are told a second later."""

ENTRIES_MAX: Final = 500
"""Entries of the log that are read at once; of more, the newest ones are told."""

SHOWN_MAX: Final = 50
"""Requests or refusals of one event; it says how many more there were."""

_CURSOR: Final = re.compile(
    r"([0-9]{1,18})-([0-9]{1,18})-([0-9]{1,18})((?:-[0-9]{1,4}:[0-9]{1,18}){0,99})"
)

AccountEvents = dict[int, list[tuple[str, dict[str, Any]]]]
"""Account id -> topic and data of each event, in order."""


@dataclass(frozen=True, slots=True)
class EventCursor:
    """How far everything was told.

    Attributes:
        load: number of the last load report.
        position: of the last entry of the first log.
        refused_at: time of the last refusal, microseconds since 1970.
        others: number and position of the last entry of each further log.
    """

    load: int
    position: int
    refused_at: int
    others: tuple[tuple[int, int], ...] = ()

    def encode(self) -> str:
        """Return the id of an event."""
        others = "".join(f"-{log}:{position}" for log, position in self.others)
        return f"{self.load}-{self.position}-{self.refused_at}{others}"

    def get_position(self, log: int) -> int:
        """Return the position of the last entry of a log."""
        return dict(self.others).get(log, 0) if log else self.position

    def at_position(self, log: int, position: int) -> "EventCursor":
        """Return the same moment with another last entry of a log."""
        if not log:
            return replace(self, position=position)
        others = dict(self.others) | {log: position}
        return replace(self, others=tuple(sorted(others.items())))


def decode_cursor(text: str) -> EventCursor | None:
    """Return the cursor of the id of an event; None for another text."""
    found = _CURSOR.fullmatch(text)
    if found is None:
        return None
    load, position, refused_at, others = found.groups()
    pairs = [pair.split(":") for pair in others.split("-")[1:]]
    return EventCursor(
        int(load),
        int(position),
        int(refused_at),
        tuple((int(log), int(at)) for log, at in pairs),
    )


@dataclass(slots=True)
class EventReadings:
    """Reads what happened, for all accounts that listen.

    Attributes:
        store: loads, sources and destinations.
        files: of the server.
        open_reader: opens the log; called at the first look.
        problems: finds problems.
    """

    store: Store
    files: TraceFiles
    open_reader: Callable[[], LogReader]
    problems: ProblemWatch
    _reader: LogReader | None = None
    _last_status: dict[int, dict[str, Any]] = field(default_factory=dict)
    _last_problems: dict[int, frozenset[str]] = field(default_factory=dict)

    def begin(self) -> EventCursor:
        """Return the present moment."""
        refused = read_refusals(self.files.refusals)
        cursor = EventCursor(self.store.loads.get_last_number(), 0, refused[0].at if refused else 0)
        for log, reader in list_readers(self._open()).items():
            newest = reader.statistics.list_entries_below(None, 1)
            cursor = cursor.at_position(log, newest[0].position if newest else 0)
        return cursor

    def read(
        self,
        since: EventCursor,
        listening: Mapping[int, tuple[Account, Collection[str]]],
        until: EventCursor | None = None,
    ) -> tuple[AccountEvents, EventCursor]:
        """Return what happened since a moment, and how far that goes.

        Args:
            since: the moment.
            listening: account id -> the account, and the topics that it listens to.
            until: nothing later; None for all.

        Raises:
            RetriableError: the store or the log is not available now.
            OperatorError: one of them cannot be used.
        """
        wanted = {topic for _, topics in listening.values() for topic in topics}
        events: AccountEvents = {account_id: [] for account_id in listening}
        owners = {one.id: one.account_id for one in self.store.sources.list_sources()}
        cursor = since
        if wanted & {"load", "reject"}:
            cursor = self._read_loads(cursor, events, owners, until)
        else:
            present = self.store.loads.get_last_number()
            cursor = replace(cursor, load=max(cursor.load, present))
        reader = self._open()
        codec = make_receipt_codec(self.store.installation_id, reader)
        for log, its in list_readers(reader).items():
            cursor = self._read_requests(log, its, codec, cursor, events, owners, until)
        cursor = self._read_refusals(cursor, events, listening, until)
        return {
            account_id: [one for one in found if one[0] in listening[account_id][1]]
            for account_id, found in events.items()
        }, cursor

    def read_status(self, account: Account) -> dict[str, Any] | None:
        """Return the status of an account; None where it is as it was."""
        status = show_status(self.store, self.files, account, self.problems)
        moving = ("at", "oldest_waiting_seconds")
        still = {name: value for name, value in status.items() if name not in moving}
        if self._last_status.get(account.id) == still and status["oldest_waiting_at"] is None:
            return None
        self._last_status[account.id] = still
        return status

    def read_problems(self, account: Account) -> dict[str, Any] | None:
        """Return which problems of an account began and ended; None where none did."""
        found, _ = self.problems.look()
        present = frozenset(
            name_problem(one.identity) for one in found if one.account_id == account.id
        )
        before = self._last_problems.get(account.id)
        self._last_problems[account.id] = present
        if before == present:
            return None
        known = before or frozenset()
        return {
            "problems": len(present),
            "began": sorted(present - known),
            "ended": sorted(known - present),
        }

    def forget(self, account_ids: Collection[int]) -> None:
        """Forget what was told of accounts other than these, which do not listen any more."""
        for kept in (self._last_status, self._last_problems):
            for account_id in [one for one in kept if one not in account_ids]:
                kept.pop(account_id, None)

    def renew(self, account_id: int) -> None:
        """Tell an account everything anew: one of its listeners knows nothing yet."""
        self._last_status.pop(account_id, None)
        self._last_problems.pop(account_id, None)

    def list_ended(self, token_ids: Collection[int]) -> set[int]:
        """Return those of some tokens that have ended."""
        return {one.id for one in self.store.tokens.list_ended_tokens(token_ids)}

    def close(self) -> None:
        """Close the log, if it was opened."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _open(self) -> LogReader:
        if self._reader is None:
            self._reader = self.open_reader()
        return self._reader

    def _read_loads(
        self,
        cursor: EventCursor,
        events: AccountEvents,
        owners: Mapping[int, int],
        until: EventCursor | None,
    ) -> EventCursor:
        for number, load in self.store.loads.list_loads_after(cursor.load, LOADS_MAX):
            if until is not None and number > until.load:
                break
            cursor = replace(cursor, load=number)
            told = events.get(owners.get(load.source_id, 0))
            if told is not None:
                told.append(("load", _render_load(load)))
                if load.rows_rejected:
                    told.append(("reject", _render_rejected(load)))
        return cursor

    def _read_requests(
        self,
        log: int,
        reader: LogReader,
        codec: ReceiptCodec,
        cursor: EventCursor,
        events: AccountEvents,
        owners: Mapping[int, int],
        until: EventCursor | None,
    ) -> EventCursor:
        told_to = cursor.get_position(log)
        below = None if until is None else until.get_position(log) + 1
        page = reader.statistics.list_entries_below(below, ENTRIES_MAX)
        fresh = [entry for entry in page if entry.position > told_to]
        if not fresh:
            return cursor
        requests = list(group_entries(fresh, log))
        missed = 0
        if len(fresh) == ENTRIES_MAX:
            missed = fresh[-1].position - told_to - 1
            requests.pop()  # the beginning of it may not have been read
        of_accounts: dict[int, list[AcceptedRequest]] = {}
        for one in reversed(requests):
            of_accounts.setdefault(owners.get(one.source_id, 0), []).append(one)
        for account_id, told in events.items():
            own = of_accounts.get(account_id, [])
            if own:
                shown = [render_accepted_request(one, codec) for one in own[-SHOWN_MAX:]]
                skipped = len(own) - len(shown)
                told.append(
                    ("request", {"requests": shown, "skipped": skipped, "entries_missed": missed})
                )
        return cursor.at_position(log, fresh[0].position)

    def _read_refusals(
        self,
        cursor: EventCursor,
        events: AccountEvents,
        listening: Mapping[int, tuple[Account, Collection[str]]],
        until: EventCursor | None,
    ) -> EventCursor:
        fresh = [
            one
            for one in read_refusals(self.files.refusals)
            if one.at > cursor.refused_at and (until is None or one.at <= until.refused_at)
        ]
        if not fresh:
            return cursor
        for account_id, told in events.items():
            whole = sees_installation(self.store, listening[account_id][0])
            own = [one for one in reversed(fresh) if whole or one.group.account_id == account_id]
            if own:
                shown = [render_refused_request(one) for one in own[-SHOWN_MAX:]]
                told.append(("refusal", {"refusals": shown, "skipped": len(own) - len(shown)}))
        return replace(cursor, refused_at=fresh[0].at)


def _render_load(load: LoadReport) -> dict[str, Any]:
    return {
        "load_id": load.id,
        "source_id": load.source_id,
        "table": load.table_name,
        "finished_at": format_microseconds(load.finished_at),
        "rows_received": load.rows_received,
        "rows_loaded": load.rows_loaded,
        "rows_discarded": load.rows_discarded,
        "rows_rejected": load.rows_rejected,
        "error": load.error,
    }


def _render_rejected(load: LoadReport) -> dict[str, Any]:
    return {
        "load_id": load.id,
        "source_id": load.source_id,
        "table": load.table_name,
        "rejected_at": format_microseconds(load.finished_at),
        "records": load.rows_rejected,
    }
