"""Cuts records of Python into requests: what the clients for asyncio and for threads share."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from treadle.client.receipt_follower import AcknowledgedRequest
from treadle.client.record_types import RecordValueError, describe_types, encode_records
from treadle.client.request_batch import (
    BYTES_MAX,
    RECORD_BYTES_MAX,
    BatchTemplate,
    RequestBatch,
    measure_request,
)

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PushReceipt:
    """What a server has acknowledged: it is durable.

    Attributes:
        requests: the acknowledged requests, with their receipts.
    """

    requests: tuple[AcknowledgedRequest, ...] = ()

    @property
    def records(self) -> int:
        """How many records are durable."""
        return sum(request.records for request in self.requests)

    def __add__(self, other: "PushReceipt") -> "PushReceipt":
        return PushReceipt(self.requests + other.requests)


class SequenceCounter:
    """Gives sequences that grow, also over the runs of a program: nanoseconds since 1970."""

    def __init__(self) -> None:
        self._next = 0

    def take(self, count: int) -> range:
        """Return so many sequences."""
        begin = max(self._next, time.time_ns())
        self._next = begin + count
        return range(begin, begin + count)


class TablePush:
    """One push of records into a table.

    Attributes:
        template: makes the bodies of its requests.
        push_id: begins its idempotency keys.
    """

    def __init__(
        self,
        table: str,
        key: Sequence[str],
        schema: Mapping[str, Any] | None,
        sequence: str | None,
        counter: SequenceCounter,
    ) -> None:
        """Begin a push.

        Args:
            table: its name.
            key: key fields; empty for a new row with each record.
            schema: JSON schema that every record fits; None to make it of the values.
            sequence: field with the sequence; None to count.
            counter: gives the sequences otherwise.
        """
        if isinstance(key, str):
            raise TypeError("key is a list of field names, not a text")
        self.template = BatchTemplate(table, tuple(key))
        self.push_id = uuid.uuid4().hex
        self._schema = None if schema is None else msgspec.json.encode(schema)
        self._sequence = sequence
        self._counter = counter
        self._count = 0

    def make_batches(
        self, records: Sequence[Record], records_max: int, bytes_max: int = BYTES_MAX
    ) -> Iterator[RequestBatch]:
        """Yield the requests of further records.

        Raises:
            RecordValueError: a record cannot be sent; nothing of `records` is yielded.
        """
        first = self._count + 1
        described = None if self._schema is not None else describe_types(records)
        raws = encode_records(records, described, first)
        for number, raw in enumerate(raws, first):
            if len(raw) > RECORD_BYTES_MAX or raw[:1] != b"{":
                raise RecordValueError(
                    f"Record {number} is no object, or has more than {RECORD_BYTES_MAX:,} bytes."
                )
        schema = self._schema if described is None else msgspec.json.encode(described)
        self._count += len(raws)
        left = RequestBatch(
            raws, self._list_sequences(records, first), self._count, first, schema=schema
        )
        while len(left):
            size = measure_request(left, records_max, bytes_max)
            yield left.select(0, size)
            left = left.select(size, len(left))

    def _list_sequences(self, records: Sequence[Record], first: int) -> Sequence[int]:
        if self._sequence is None:
            return self._counter.take(len(records))
        found = [record.get(self._sequence) for record in records]
        for number, value in enumerate(found, first):
            if type(value) is not int or not -(2**63) <= value < 2**63:
                raise RecordValueError(
                    f"Record {number}: the sequence field {self._sequence!r} is to be a whole "
                    f"number below 2^63, and it is {value!r}."
                )
        return found  # type: ignore[return-value]  # all are integers, as was just looked
