"""Rejected records: the list of them, each as it was sent, and the resend of one.

The id of a reject is its place: the log, the position of its entry and its index in the entry. The
number of the log is left out for the first one, which most installations have alone. A resend
appends it to the log like any accepted record, with its sequence, table version and key names. The
log stores a resend under a name made of the id, so that it happens once, also over a crash
(`log.protocol`). A record that is rejected again is a new reject with another place.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Final, NamedTuple

from treadle.errors import OperatorError, RetriableError
from treadle.log.joined import get_appender_id
from treadle.log.protocol import (
    AppendUnknownError,
    DamagedEntry,
    IdempotencyKey,
    LogAppender,
    LogEntry,
    NewEntry,
)
from treadle.records.edit import RecordEdit, apply_edit
from treadle.records.message_batch import MessageBatch, decode_batch, encode_batch
from treadle.store.model import EntryPlace
from treadle.store.rejects import RejectPosition, RejectQuery, ResentRecord
from treadle.store.store import Store
from treadle.tables.rejection_reason import RejectionCode
from treadle.tracking.idempotency import derive_key_name
from treadle.tracking.load_progress import LoadProgress
from treadle.tracking.receipts import Receipt, ReceiptCodec

RESEND_SCOPE: Final = "resend"

_ID: Final = re.compile(r"(?:([1-9][0-9]{0,3})-)?([0-9]{1,18})\.([0-9]{1,18})")

ENTRIES_PER_PAGE: Final = 200
"""Entries with rejected records that are looked up at a time."""

NOTED_TOGETHER: Final = 500
"""Records that are sent again before the store notes them."""

RECORDS_PER_PAGE: Final = 1_000
"""Records of a page where all are listed."""

RECORDS_EXAMINED_MAX: Final = 40_000
"""Records that are looked at for one page. An entry holds 20,000 at most, and is read whole."""


class RecordGoneError(OperatorError):
    """The log does not have a rejected record any more, or its entry is damaged."""


class RejectPlace(NamedTuple):
    """The place of a rejected record; `record` is its index in the entry."""

    log: int
    position: int
    record: int

    @property
    def entry(self) -> EntryPlace:
        """Return the place of its entry."""
        return EntryPlace(self.log, self.position)


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that was accepted and could not be loaded.

    Attributes:
        position: of its log entry.
        index: of the record in the entry, from 0.
        table_name: as sent.
        reason: as in `_sdc_rejected`.
        rejected_at: as in `_sdc_rejected_at`, microseconds since 1970; 0 when it is not known.
        code, field: of the cause, as in `_sdc_rejected`.
        cause_id: of the cause; 0 where it is not known.
        resent: position of the entry that it was sent again with; None while it is open.
        log: the number of the log that has both entries.
    """

    position: int
    index: int
    source_id: int
    table_name: str
    reason: str
    rejected_at: int
    code: RejectionCode = RejectionCode.UNKNOWN
    field: str | None = None
    cause_id: int = 0
    resent: int | None = None
    log: int = 0

    @property
    def place(self) -> RejectPlace:
        """Return where it is."""
        return RejectPlace(self.log, self.position, self.index)

    @property
    def id(self) -> str:
        """The place as a text, for example `1042.0`."""
        return format_reject_id(self.place)


@dataclass(frozen=True, slots=True)
class RejectFilter:
    """A choice of rejects.

    Attributes:
        query: what the store looks for.
        reason: a part of the reason, in upper or lower case; None for any.
    """

    query: RejectQuery = field(default_factory=RejectQuery)
    reason: str | None = None

    def matches(self, reject: RejectedRecord) -> bool:
        """Return whether the choice has a reject in it that its query found."""
        if self.query.open_only and reject.resent is not None:
            return False
        return self.reason is None or self.reason.casefold() in reject.reason.casefold()


class RejectPage(NamedTuple):
    """Some rejects, and the place to go on from: None where there are no more."""

    rejects: tuple[RejectedRecord, ...]
    next: RejectPlace | None


def format_reject_id(place: RejectPlace) -> str:
    """Return the id of a reject, for example `1042.0`, or `3-1042.0` in log 3."""
    log = f"{place.log}-" if place.log else ""
    return f"{log}{place.position}.{place.record}"


def parse_reject_id(name: str) -> RejectPlace:
    """Return the place that a reject's id names.

    Raises:
        OperatorError: the text is no such id.
    """
    found = _ID.fullmatch(name)
    if found is None:
        raise OperatorError(
            f"{name!r} names no rejected record; expected the id that `treadle rejects list` "
            "prints, such as 1042.0"
        )
    return RejectPlace(*map(int, found.groups(default="0")))


def find_rejects(
    store: Store, wanted: RejectFilter, before: RejectPlace | None = None, limit: int = 100
) -> RejectPage:
    """Return a page of rejected records, newest first, in bounded time.

    A page may have fewer than `limit` records and still not be the last one, where many records are
    looked at for few that match.

    Args:
        store: has the outcomes.
        wanted: the choice.
        before: only records before this place: `next` of the page before.
        limit: how many at most.
    """
    found: list[RejectedRecord] = []
    examined = 0
    at = before
    below = None if before is None else EntryPlace(before.log, before.position + 1)
    while True:
        places = store.rejects.list_positions(wanted.query, before=below, limit=ENTRIES_PER_PAGE)
        chosen = _take_places(places, limit + 1)
        for reject in _read_rejects(store, wanted.query, chosen):
            if at is not None and reject.place >= at:
                continue
            if len(found) == limit or examined >= RECORDS_EXAMINED_MAX:
                return RejectPage(tuple(found), at)
            examined += 1
            at = reject.place
            if wanted.matches(reject):
                found.append(reject)
        if len(chosen) == len(places) < ENTRIES_PER_PAGE:
            return RejectPage(tuple(found), None)
        below = chosen[-1]


def _take_places(places: Sequence[RejectPosition], records: int) -> list[EntryPlace]:
    """Return the first entries that hold so many records together, one at least."""
    taken: list[EntryPlace] = []
    count = 0
    for one in places:
        if count >= records:
            break
        taken.append(one.place)
        count += one.records
    return taken


def _read_rejects(
    store: Store, query: RejectQuery, places: Sequence[EntryPlace]
) -> Iterator[RejectedRecord]:
    """Yield the rejects of some entries, newest first.

    Args:
        store: has them.
        query: the choice.
        places: of the entries, newest first.
    """
    for log, several in groupby(places, attrgetter("log")):
        yield from _read_rejects_of_log(store, query, log, [one.position for one in several])


def _read_rejects_of_log(
    store: Store, query: RejectQuery, log: int, positions: Sequence[int]
) -> Iterator[RejectedRecord]:
    groups = store.rejects.list_groups(query, log, positions)
    outcomes = {each.position: each for each in store.outcomes.list_outcomes(log, positions)}
    resent = store.rejects.find_resent(log, positions)
    places = sorted(
        ((group.position, index, group) for group in groups for index in group.indexes),
        key=itemgetter(0, 1),
        reverse=True,
    )
    reasons = {
        (each.position, one.record): one for each in outcomes.values() for one in each.rejected
    }
    for position, index, group in places:
        one = reasons.get((position, index))
        if one is None:  # it was forgotten a moment ago
            continue
        outcome = outcomes[position]
        yield RejectedRecord(
            position,
            index,
            outcome.source_id,
            outcome.table_name,
            one.reason,
            group.rejected_at,
            one.code,
            one.field,
            group.cause_id,
            resent.get((position, index)),
            log,
        )


def list_rejects(store: Store, wanted: RejectFilter) -> Iterator[RejectedRecord]:
    """Return rejected records, newest first; they are read by pages.

    Args:
        store: has the outcomes.
        wanted: the choice.
    """
    page = find_rejects(store, wanted, limit=RECORDS_PER_PAGE)
    yield from page.rejects
    while page.next is not None:
        page = find_rejects(store, wanted, page.next, RECORDS_PER_PAGE)
        yield from page.rejects


def get_reject(store: Store, name: str, account_id: int | None = None) -> RejectedRecord:
    """Return the reject with an id.

    Args:
        store: has the outcomes.
        name: the id.
        account_id: whose it is; None for any account's.

    Raises:
        OperatorError: there is none with it.
    """
    place = parse_reject_id(name)
    for reject in _read_rejects(store, RejectQuery(account_id=account_id), [place.entry]):
        if reject.index == place.record:
            return reject
    raise OperatorError(f"there is no rejected record {name}; `treadle rejects list` names them")


def find_resent_receipts(
    find_keys: Callable[[Sequence[bytes]], Mapping[bytes, int]],
    receipts: ReceiptCodec,
    source_id: int,
    names: Sequence[str],
) -> dict[str, str]:
    """Return id -> receipt of the resend, for those rejects of a source that were sent again.

    Args:
        find_keys: of the log of the source (`LogStatistics.find_keys`).
        receipts: encodes the receipts.
        source_id: the source.
        names: ids of rejects.
    """
    keys = {
        _make_resend_key(receipts.get_log_id(source_id), source_id, name): name for name in names
    }
    return {
        keys[key]: receipts.encode(Receipt(source_id, first, 1))
        for key, first in find_keys(list(keys)).items()
    }


def read_batch(reject: RejectedRecord, entries: Sequence[LogEntry | DamagedEntry]) -> MessageBatch:
    """Return the batch that a reject was sent in.

    Args:
        reject: the reject.
        entries: those that the log holds at its position: one or none.

    Raises:
        RecordGoneError: the log does not keep the entry any more, or it is damaged.
    """
    for entry in entries:
        if isinstance(entry, DamagedEntry):
            raise RecordGoneError(
                f"the rejected record {reject.id} cannot be read, its log entry is damaged: "
                f"{entry.why}; have its sender push it again"
            )
        return decode_batch(entry.payload)
    raise RecordGoneError(
        f"the log no longer keeps the rejected record {reject.id} (see retention_days); its text, "
        "up to 64 KB, is in _sdc_rejected: push it again with `treadle push`"
    )


ResendResult = tuple[Receipt, bool] | OperatorError | RetriableError
"""The receipt, and whether the record was sent again before; or why it was not sent."""


class RejectResender:
    """Sends rejected records again.

    Args:
        log: to append them to.
        progress: to read them.
        clock: microseconds since 1970, UTC.
    """

    def __init__(self, log: LogAppender, progress: LoadProgress, clock: Callable[[], int]) -> None:
        self._log = log
        self._progress = progress
        self._clock = clock

    async def resend(self, reject: RejectedRecord, edit: RecordEdit) -> tuple[Receipt, bool]:
        """Send a reject again, edited.

        Returns:
            The receipt, and whether it was sent again before: then nothing is done.

        Raises:
            OperatorError: the log does not keep it any more, or the edited record is none that
                treadle accepts.
            RetriableError: the log cannot store it now.
        """
        found = await self._progress.read_entries(reject.source_id, reject.position, 1)
        batch = read_batch(reject, found)
        payload = encode_batch(apply_edit(batch, reject.index, edit))
        entry = NewEntry(reject.source_id, reject.table_name, self._clock(), 1, payload)
        key = _make_resend_key(
            get_appender_id(self._log, reject.source_id), reject.source_id, reject.id
        )
        # The digest is the name too: with another edit it is still the same resend.
        try:
            stored = await self._log.append_once([entry], IdempotencyKey(key, key))
        except AppendUnknownError as error:  # sending it again stores it once
            raise RetriableError(f"whether it was sent is not known: {error}") from error
        return Receipt(reject.source_id, stored.first, 1), stored.duplicate

    async def resend_all(
        self, chosen: Sequence[RejectedRecord], edit: RecordEdit, together: int = 16
    ) -> Mapping[RejectedRecord, ResendResult]:
        """Send several rejects again, oldest first; an error of one does not stop the others.

        The store notes those that were sent. What a crash keeps from being noted is open still, and
        sending it again notes it and stores nothing.

        Raises:
            RetriableError: the store cannot note them now.
        """
        order = sorted(chosen, key=lambda reject: reject.place)
        results: dict[RejectedRecord, ResendResult] = {}
        for start in range(0, len(order), NOTED_TOGETHER):
            some = order[start : start + NOTED_TOGETHER]
            found = await self.resend_together(some, edit, together)
            sent = [
                ResentRecord(reject.position, reject.index, result[0].first, reject.log)
                for reject, result in found.items()
                if isinstance(result, tuple)
            ]
            if sent:
                store = self._progress.store
                await self._progress.run_in_thread(partial(store.rejects.record_resent, sent))
            results |= found
        return results

    async def resend_together(
        self, chosen: Sequence[RejectedRecord], edit: RecordEdit, together: int
    ) -> dict[RejectedRecord, ResendResult]:
        """Send several rejects again; an error of one does not stop the others; none is noted.

        Args:
            chosen: the rejects.
            edit: of each.
            together: how many are given to the log at once.
        """
        turns = asyncio.Semaphore(together)
        results: dict[RejectedRecord, ResendResult] = {}

        async def one(reject: RejectedRecord) -> None:
            async with turns:
                try:
                    results[reject] = await self.resend(reject, edit)
                except (OperatorError, RetriableError) as error:
                    results[reject] = error

        await asyncio.gather(*map(one, chosen))
        return {reject: results[reject] for reject in chosen}


def _make_resend_key(log_id: str, source_id: int, name: str) -> bytes:
    return derive_key_name(RESEND_SCOPE, source_id, f"{log_id} {name}")
