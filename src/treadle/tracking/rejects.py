"""Rejected records: which there are, what each was, and how one is sent again.

A reject is named by its place: the position of the log entry it came with, and its index in it.
Sent again it goes into the log like any accepted record, with the sequence, the table version and
the key names it had. A note under its name keeps it from being sent twice, also over a crash
(`log.protocol`): a record that is rejected once more is a new reject with a place of its own.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from treadle.errors import OperatorError, RetriableError
from treadle.log.protocol import DamagedEntry, IdempotencyKey, LogAppender, LogEntry, NewEntry
from treadle.records.edit import RecordEdit, apply_edit
from treadle.records.message_batch import MessageBatch, decode_batch, encode_batch
from treadle.store.outcomes import OutcomeRepository
from treadle.tracking.idempotency import derive_key_name as name_in_log
from treadle.tracking.load_progress import LoadProgress
from treadle.tracking.receipts import Receipt, ReceiptCodec

RESEND_SCOPE: Final = "resend"
ENTRIES_PER_PAGE: Final = 1_000
"""Entries with rejected records asked for at a time."""


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that was accepted and could not be loaded.

    Attributes:
        position: of the log entry it came with.
        index: its place among the entry's records, counted from 0.
        table_name: as sent.
        reason: as in `_sdc_rejected`.
        rejected_at: as `_sdc_rejected_at`, microseconds since 1970; 0 when it is not known.
    """

    position: int
    index: int
    source_id: int
    table_name: str
    reason: str
    rejected_at: int

    @property
    def id(self) -> str:
        """How it is called, for example `1042.0`."""
        return format_reject_id(self.position, self.index)


@dataclass(frozen=True, slots=True)
class RejectFilter:
    """Which rejects are meant; None for any.

    Attributes:
        reason: a part of the reason, whatever its case.
        since, until: of `rejected_at`, the first included, the second not.
    """

    source_id: int | None = None
    table_name: str | None = None
    reason: str | None = None
    since: int | None = None
    until: int | None = None

    def matches(self, reject: RejectedRecord) -> bool:
        """Whether a reject is one of them."""
        return (
            (self.source_id is None or reject.source_id == self.source_id)
            and (self.table_name is None or reject.table_name == self.table_name)
            and (self.reason is None or self.reason.casefold() in reject.reason.casefold())
            and (self.since is None or reject.rejected_at >= self.since)
            and (self.until is None or reject.rejected_at < self.until)
        )


def format_reject_id(position: int, index: int) -> str:
    """How the record of a log entry is called once it was rejected."""
    return f"{position}.{index}"


def parse_reject_id(name: str) -> tuple[int, int]:
    """Position and index of a reject's name.

    Raises:
        OperatorError: it is no such name.
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
    """Rejected records, the newest first.

    Args:
        outcomes: know them.
        wanted: which.
        first: begin at this position and go down.
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
    """The reject of a name.

    Raises:
        OperatorError: there is none.
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
    stored: Callable[[Sequence[bytes]], Mapping[bytes, int]],
    receipts: ReceiptCodec,
    source_id: int,
    names: Sequence[str],
) -> dict[str, str]:
    """Those rejects of a source that were sent again: their names -> the receipts of that.

    Args:
        stored: where requests of some names are in the log (`log.protocol.Reader.stored`).
        receipts: writes receipts.
        source_id: whose rejects.
        names: of rejects.
    """
    keys = {_key(receipts.log_id, source_id, name): name for name in names}
    return {
        keys[key]: receipts.encode(Receipt(source_id, first, 1))
        for key, first in stored(list(keys)).items()
    }


def read_batch(reject: RejectedRecord, entries: Sequence[LogEntry | DamagedEntry]) -> MessageBatch:
    """The batch a reject came with.

    Args:
        reject: which.
        entries: what the log holds at its position.

    Raises:
        OperatorError: it is not there any more, or is damaged.
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
        log: takes the records.
        progress: reads the log.
        clock: microseconds since 1970, UTC.
    """

    def __init__(self, log: LogAppender, progress: LoadProgress, clock: Callable[[], int]) -> None:
        self._log = log
        self._progress = progress
        self._clock = clock

    async def resend(self, reject: RejectedRecord, edit: RecordEdit) -> tuple[Receipt, bool]:
        """Send one again, edited.

        Returns:
            The receipt, and whether it had been sent again before: then nothing was done.

        Raises:
            OperatorError: it is not there any more, or would not be accepted as it is now.
            RetriableError: the log cannot take it now.
        """
        batch = read_batch(reject, await self._progress.read_entries(reject.position, 1))
        payload = encode_batch(apply_edit(batch, reject.index, edit))
        entry = NewEntry(reject.source_id, reject.table_name, self._clock(), 1, payload)
        key = _key(self._log.log_id, reject.source_id, reject.id)
        # However it was edited, it is the same request: the name says all.
        stored = await self._log.append_once([entry], IdempotencyKey(key, key))
        return Receipt(reject.source_id, stored.first, 1), stored.duplicate

    async def resend_all(
        self, chosen: Sequence[RejectedRecord], edit: RecordEdit, together: int = 16
    ) -> Mapping[RejectedRecord, tuple[Receipt, bool] | OperatorError | RetriableError]:
        """Send several again, the oldest first; one that cannot be sent holds up no other."""
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


def _key(log_id: str, source_id: int, name: str) -> bytes:
    return name_in_log(RESEND_SCOPE, source_id, f"{log_id} {name}")
