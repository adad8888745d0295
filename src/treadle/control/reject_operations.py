"""The operations on rejected records: causes, lists, one record (`/v1/rejects`).

As in `operations`, everything here blocks, and `reject_routes` runs it in threads.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from treadle.control import errors
from treadle.control.lookups import parse_count, parse_id
from treadle.control.reject_requests import (
    PREVIEW_RECORDS,
    AskedFilter,
    ResendRequest,
    parse_filter,
    parse_limit,
    parse_place,
    parse_resend,
)
from treadle.control.reject_responses import (
    render_cause,
    render_operation,
    render_reject,
    render_rejected_record,
)
from treadle.errors import OperatorError
from treadle.log.protocol import LogReader
from treadle.store.model import Account
from treadle.store.store import Store
from treadle.tracking.receipts import ReceiptCodec, make_receipt_codec
from treadle.tracking.rejected_records import read_sent_record, read_sent_records
from treadle.tracking.rejects import (
    RecordGoneError,
    RejectedRecord,
    RejectFilter,
    find_rejects,
    format_reject_id,
    get_reject,
)
from treadle.tracking.resend_orders import ResendOrder
from treadle.tracking.resend_preview import EditedRecord, edit_records

logger: Final = logging.getLogger(__name__)
"""Logs ids and counts only: records and edits are data of clients."""


@dataclass(frozen=True, slots=True)
class RejectOperations:
    """The operations on rejected records.

    Attributes:
        store: every look-up is inside the account.
        open_reader: opens the log.
    """

    store: Store
    open_reader: Callable[[], LogReader]

    def list_causes(
        self, account: Account, asked: AskedFilter, before: str | None, limit: str | None
    ) -> object:
        """Serve `GET /v1/rejects/causes`."""
        wanted, count = parse_filter(asked, account.id), parse_limit(limit)
        found = self.store.rejects.list_causes(
            wanted, before=_parse_cause_place(before), limit=count + 1
        )
        shown = found[:count]
        return {
            "causes": [render_cause(cause) for cause in shown],
            "next": f"{shown[-1].last_at}.{shown[-1].id}" if len(found) > count else None,
        }

    def list_rejects(
        self, account: Account, asked: AskedFilter, before: str | None, limit: str | None
    ) -> object:
        """Serve `GET /v1/rejects`."""
        wanted = RejectFilter(parse_filter(asked, account.id))
        page = find_rejects(self.store, wanted, parse_place(before), parse_limit(limit))
        with self._open_log() as (reader, codec):
            sent = read_sent_records(reader, page.rejects)
        return {
            "rejects": [render_reject(reject, codec, sent) for reject in page.rejects],
            "next": None if page.next is None else format_reject_id(page.next),
        }

    def get_reject(self, account: Account, reject_id: str) -> object:
        """Serve `GET /v1/rejects/{reject_id}`."""
        reject = self.find_reject(account, reject_id)
        with self._open_log() as (reader, codec):
            try:
                return render_rejected_record(reject, codec, read_sent_record(reader, reject))
            except RecordGoneError as gone:
                shown = render_reject(reject, codec, {reject.id: None})
                raise errors.rejected_record_gone(str(gone), shown) from gone

    # Sent again -----------------------------------------------------------------------------------

    def start_resend(self, account: Account, raw: bytes) -> object:
        """Serve `POST /v1/rejects/resend`: the desk sends the records again."""
        asked = parse_resend(raw, account.id, preview=False)
        counts, newest = self._measure(account, asked)
        total = sum(counts.values())
        if total != asked.expected:
            raise errors.reject_count_differs(asked.expected or 0, total)
        for source_id in counts:
            self._require_open_source(source_id)
        order = ResendOrder(asked.edit, asked.query, newest, asked.ids)
        made = self.store.operations.start_resend(account.id, total, order.encode(), sorted(counts))
        logger.info("account %d sends %d rejected records again", account.id, total)
        return render_operation(made)

    def prepare_preview(self, account: Account, raw: bytes) -> tuple[int, list[EditedRecord]]:
        """Return how many open records a resend would be of, and the first of them, edited."""
        asked = parse_resend(raw, account.id, preview=True)
        counts, _ = self._measure(account, asked)
        if asked.query is not None:
            found = find_rejects(self.store, RejectFilter(asked.query), limit=PREVIEW_RECORDS)
            chosen = list(found.rejects)
        else:
            chosen = [self.find_reject(account, one) for one in asked.ids[:PREVIEW_RECORDS]]
        with self._open_log() as (reader, _codec):
            return sum(counts.values()), edit_records(reader, chosen, asked.edit)

    def _measure(
        self, account: Account, asked: ResendRequest
    ) -> tuple[dict[int, int], Mapping[int, int]]:
        """Return source id -> open records that are meant, and by log the newest position."""
        if asked.query is not None:
            measure = self.store.rejects.get_measure(asked.query)
            return dict(measure.records), measure.newest
        found = [self.find_reject(account, one) for one in asked.ids]
        return dict(Counter(one.source_id for one in found if one.resent is None)), {}

    def _require_open_source(self, source_id: int) -> None:
        source = self.store.sources.get_source(None, source_id)
        if source is None or source.deleted_at is not None:
            raise errors.source_takes_no_records(
                f"the source {source_id} was deleted; it takes no records"
            )
        if not source.active:
            raise errors.source_takes_no_records(
                f"the source {source.name} is paused; unpause it first"
            )

    # Operations -----------------------------------------------------------------------------------

    def get_operation(self, account: Account, operation_id: str) -> object:
        """Serve `GET /v1/operations/{operation_id}`."""
        number = parse_id(operation_id)
        found = None if number is None else self.store.operations.find_operation(account.id, number)
        if found is None:
            raise errors.operation_not_found(operation_id)
        return render_operation(found)

    def cancel_operation(self, account: Account, operation_id: str) -> object:
        """Serve `DELETE /v1/operations/{operation_id}`; one that has ended stays as it is."""
        number = parse_id(operation_id)
        found = (
            None if number is None else self.store.operations.cancel_operation(account.id, number)
        )
        if found is None:
            raise errors.operation_not_found(operation_id)
        return render_operation(found)

    def find_reject(self, account: Account, reject_id: str) -> RejectedRecord:
        """Return a rejected record of the account.

        Raises:
            RequestRefusedError: 404, it has none with this id.
        """
        try:
            return get_reject(self.store, reject_id, account.id)
        except OperatorError:
            raise errors.reject_not_found(reject_id) from None

    @contextmanager
    def _open_log(self) -> Iterator[tuple[LogReader, ReceiptCodec]]:
        reader = self.open_reader()
        try:
            yield reader, make_receipt_codec(self.store.installation_id, reader)
        finally:
            reader.close()


def _parse_cause_place(before: str | None) -> tuple[int, int] | None:
    """Return time and id of the cause that a page begins behind.

    Raises:
        RequestRefusedError: 400, it is no such text.
    """
    if before is None:
        return None
    at, _, cause_id = before.partition(".")
    time, number = parse_count(at), parse_id(cause_id)
    if time is None or number is None:
        raise errors.invalid_reject_request("before is the `next` of the page before")
    return time, number
