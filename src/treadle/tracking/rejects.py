"""Rejected records: the list of them, each as it was sent, and the resend of one.

The id of a reject is its place: the position of its log entry and its index in the entry. A resend
appends it to the log like any accepted record, with its sequence, table version and key names. The
log stores a resend under a name made of the id, so that it happens once, also over a crash
(`log.protocol`). A record that is rejected again is a new reject with another place.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from treadle.errors import OperatorError, RetriableError
from treadle.log.protocol import DamagedEntry, IdempotencyKey, LogAppender, LogEntry, NewEntry
from treadle.records.edit import RecordEdit, apply_edit
from treadle.records.message_batch import MessageBatch, decode_batch, encode_batch
from treadle.store.outcomes import OutcomeRepository
from treadle.tracking.idempotency import derive_key_name
from treadle.tracking.load_progress import LoadProgress
from treadle.tracking.receipts import Receipt, ReceiptCodec

RESEND_SCOPE: Final = "resend"
ENTRIES_PER_PAGE: Final = 1_000
"""Entries with rejected records that are read at a time."""

RECEIPTS_PER_PAGE: Final = 500
"""Rejects whose resends are looked up at a time."""


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that was accepted and could not be loaded.

    Attributes:
        position: of its log entry.
        index: of the record in the entry, from 0.
        table_name: as sent.
        reason: as in `_sdc_rejected`.
        rejected_at: as in `_sdc_rejected_at`, microseconds since 1970; 0 when it is not known.
    """

    position: int
    index: int
    source_id: int
    table_name: str
    reason: str
    rejected_at: int

    @property
    def id(self) -> str:
        """Position and index as a text, for example `1042.0`."""
        return format_reject_id(self.position, self.index)


@dataclass(frozen=True, slots=True)
class RejectFilter:
    """A choice of rejects. None stands for any.

    Attributes:
        reason: a part of the reason, in upper or lower case.
        since: `rejected_at` is this or later.
        until: `rejected_at` is earlier.
    """

    source_id: int | None = None
    table_name: str | None = None
    reason: str | None = None
    since: int | None = None
    until: int | None = None

    def matches(self, reject: RejectedRecord) -> bool:
        """Return whether the choice has a reject in it."""
        return (
            (self.source_id is None or reject.source_id == self.source_id)
            and (self.table_name is None or reject.table_name == self.table_name)
            and (self.reason is None or self.reason.casefold() in reject.reason.casefold())
            and (self.since is None or reject.rejected_at >= self.since)
            and (self.until is None or reject.rejected_at < self.until)
        )


def format_reject_id(position: int, index: int) -> str:
    """Return the id of a reject, for example `1042.0`."""
    return f"{position}.{index}"


def parse_reject_id(name: str) -> tuple[int, int]:
    """Return position and index of a reject's id.

    Raises:
        OperatorError: the text is no such id.
    """
    position, dot, index = name.partition(".")
    if not (dot and all(part.isascii() and part.isdigit() for part in (position, index))):
        raise OperatorError(
            f"{name!r} names no rejected record; expected the id that `treadle rejects list` "
            "prints, such as 1042.0"
        )
    return int(position), int(index)


def list_rejects(
    outcomes: OutcomeRepository, wanted: RejectFilter, first: int | None = None
) -> Iterator[RejectedRecord]:
    """Return rejected records, newest first.

    Args:
        outcomes: of the store.
        wanted: the choice.
        first: only those at this position or below.
    """
    before = None if first is None else first + 1
    while True:
        page = outcomes.list_rejections(
            source_id=wanted.source_id,
            table_name=wanted.table_name,
            before=before,
            limit=ENTRIES_PER_PAGE,
        )
        for outcome, at in page:
            before = outcome.position
            for index, reason in sorted(outcome.rejected, reverse=True):
                reject = RejectedRecord(
                    outcome.position, index, outcome.source_id, outcome.table_name, reason, at
                )
                if wanted.matches(reject):
                    yield reject
        if len(page) < ENTRIES_PER_PAGE:
            return


def get_reject(outcomes: OutcomeRepository, name: str) -> RejectedRecord:
    """Return the reject with an id.

    Raises:
        OperatorError: there is none with it.
    """
    position, index = parse_reject_id(name)
    for outcome, at in outcomes.list_rejections(before=position + 1, limit=1):
        for number, reason in outcome.rejected:
            if (outcome.position, number) == (position, index):
                return RejectedRecord(
                    position, index, outcome.source_id, outcome.table_name, reason, at
                )
    raise OperatorError(f"there is no rejected record {name}; `treadle rejects list` names them")


def find_resent_receipts(
    find_keys: Callable[[Sequence[bytes]], Mapping[bytes, int]],
    receipts: ReceiptCodec,
    source_id: int,
    names: Sequence[str],
) -> dict[str, str]:
    """Return id -> receipt of the resend, for those rejects of a source that were sent again.

    Args:
        find_keys: of the log (`LogStatistics.find_keys`).
        receipts: encodes the receipts.
        source_id: the source.
        names: ids of rejects.
    """
    keys = {_make_resend_key(receipts.log_id, source_id, name): name for name in names}
    return {
        keys[key]: receipts.encode(Receipt(source_id, first, 1))
        for key, first in find_keys(list(keys)).items()
    }


def pair_with_receipts(
    rejects: Iterable[RejectedRecord],
    find_keys: Callable[[Sequence[bytes]], Mapping[bytes, int]],
    receipts: ReceiptCodec,
) -> Iterator[tuple[RejectedRecord, str | None]]:
    """Yield each reject with the receipt of its resend, or None; the log is read by pages.

    Args:
        rejects: the rejects, in any order.
        find_keys: of the log (`LogStatistics.find_keys`).
        receipts: encodes the receipts.
    """
    left = iter(rejects)
    while page := list(islice(left, RECEIPTS_PER_PAGE)):
        keys = [_make_resend_key(receipts.log_id, reject.source_id, reject.id) for reject in page]
        stored = find_keys(keys)
        for reject, key in zip(page, keys, strict=True):
            first = stored.get(key)
            yield (
                reject,
                None if first is None else receipts.encode(Receipt(reject.source_id, first, 1)),
            )


def read_batch(reject: RejectedRecord, entries: Sequence[LogEntry | DamagedEntry]) -> MessageBatch:
    """Return the batch that a reject was sent in.

    Args:
        reject: the reject.
        entries: those that the log holds at its position: one or none.

    Raises:
        OperatorError: the log does not keep the entry any more, or it is damaged.
    """
    for entry in entries:
        if isinstance(entry, DamagedEntry):
            raise OperatorError(
                f"the rejected record {reject.id} cannot be read, its log entry is damaged: "
                f"{entry.why}; have its sender push it again"
            )
        return decode_batch(entry.payload)
    raise OperatorError(
        f"the log no longer keeps the rejected record {reject.id} (see retention_days); its text, "
        "up to 64 KB, is in _sdc_rejected: push it again with `treadle push`"
    )


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
        batch = read_batch(reject, await self._progress.read_entries(reject.position, 1))
        payload = encode_batch(apply_edit(batch, reject.index, edit))
        entry = NewEntry(reject.source_id, reject.table_name, self._clock(), 1, payload)
        key = _make_resend_key(self._log.log_id, reject.source_id, reject.id)
        # The digest is the name too: with another edit it is still the same resend.
        stored = await self._log.append_once([entry], IdempotencyKey(key, key))
        return Receipt(reject.source_id, stored.first, 1), stored.duplicate

    async def resend_all(
        self, chosen: Sequence[RejectedRecord], edit: RecordEdit, together: int = 16
    ) -> Mapping[RejectedRecord, tuple[Receipt, bool] | OperatorError | RetriableError]:
        """Send several rejects again, oldest first; an error of one does not stop the others."""
        turns = asyncio.Semaphore(together)
        results: dict[RejectedRecord, tuple[Receipt, bool] | OperatorError | RetriableError] = {}

        async def one(reject: RejectedRecord) -> None:
            async with turns:
                try:
                    results[reject] = await self.resend(reject, edit)
                except (OperatorError, RetriableError) as error:
                    results[reject] = error

        order = sorted(chosen, key=lambda reject: (reject.position, reject.index))
        await asyncio.gather(*map(one, order))
        return {reject: results[reject] for reject in order}


def _make_resend_key(log_id: str, source_id: int, name: str) -> bytes:
    return derive_key_name(RESEND_SCOPE, source_id, f"{log_id} {name}")
