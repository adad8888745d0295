"""Batches of records, and the bodies of the requests that send them.

A record keeps its sequence however often it is sent, and a batch its idempotency key. So to send a
batch twice, or two in the wrong order, changes nothing in the table.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Protocol

import msgspec

RECORDS_MAX: Final = 20_000
"""The most records of one request (import-api.md 5)."""

BYTES_MAX: Final = 4_000_000
"""The most bytes of records in one request, unless a single record is larger. Known clients send no
more (import-api.md 5), so any proxy in between lets it through."""

RECORD_BYTES_MAX: Final = 20 * 1024 * 1024 - 1024
"""A request may have 20 MiB (import-api.md 5). A kilobyte is left for what surrounds the record."""


@dataclass(frozen=True, slots=True)
class RequestBatch:
    """Consecutive records with their sequences, for one table.

    Attributes:
        raws: the JSON text of each record.
        sequences: of each record.
        end: the number of records of the push up to the end of the batch.
        first: number of the first record in its file, from 1.
        lines: the line of each record in its file; None where it has none.
        file: the file's name for a message; empty where there is only one.
        read: bytes of the file up to the end of the batch, about, for a progress bar.
        read_before: bytes of the file before the batch, about.
        schema: JSON text of the schema that the records fit; None for none.
        times: when each record was extracted, as JSON text, empty for one that does not say so.
            Only a `BatchTemplate` sends them.
    """

    raws: Sequence[bytes]
    sequences: Sequence[int]
    end: int
    first: int = 1
    lines: Sequence[int] | None = None
    file: str = ""
    read: int = 0
    read_before: int = 0
    schema: bytes | None = None
    times: Sequence[bytes] | None = None

    def __len__(self) -> int:
        return len(self.raws)

    @property
    def start(self) -> int:
        """The number of records of the push before the batch."""
        return self.end - len(self.raws)

    @property
    def places(self) -> str:
        """The places of the records for a person: "record 1 to record 5000"."""
        last = len(self.raws) - 1
        return self.describe_place(0) + (f" to {self.describe_place(last)}" if last else "")

    def describe_place(self, index: int) -> str:
        """Return the place of a record for a person."""
        line = None if self.lines is None else self.lines[index]
        return describe_place(self.first + index, line, self.file)

    def select(self, begin: int, end: int) -> "RequestBatch":
        """Return a part of the batch."""
        return RequestBatch(
            self.raws[begin:end],
            self.sequences[begin:end],
            self.end - len(self.raws) + min(end, len(self.raws)),
            self.first + begin,
            None if self.lines is None else self.lines[begin:end],
            self.file,
            self._locate(end),
            self._locate(begin),
            self.schema,
            None if self.times is None else self.times[begin:end],
        )

    def _locate(self, index: int) -> int:
        """Return about how many bytes of the file were read for the first records."""
        share = min(index, len(self.raws)) / max(1, len(self.raws))
        return self.read_before + int((self.read - self.read_before) * share)


def measure_request(batch: RequestBatch, records_max: int, bytes_max: int) -> int:
    """Return how many records of a batch one request takes."""
    sizes = list(map(len, batch.raws[:records_max]))
    if sum(sizes) <= bytes_max:
        return len(sizes)
    return max(1, bisect_right(list(accumulate(sizes)), bytes_max))


def describe_place(number: int, line: int | None, file: str) -> str:
    """Return the place of a record for a person: "record 7 of a.csv (line 9)"."""
    where = f" of {file}" if file else ""
    return f"record {number}{where}" + ("" if line in (None, number) else f" (line {line})")


def capitalize(text: str) -> str:
    """Return a text with a capital letter at its beginning; the others stay as they are."""
    return text[:1].upper() + text[1:]


class BodyTemplate(Protocol):
    """Makes the body of a request of a batch.

    Attributes:
        path: that the request goes to.
        validation_path: that checks such a request and keeps nothing; None where the refusal of
            `path` names the record.
    """

    @property
    def path(self) -> str:
        """The path that the request goes to."""

    @property
    def validation_path(self) -> str | None:
        """The path that checks such a request and keeps nothing."""

    def encode_body(self, batch: RequestBatch) -> bytes:
        """Return the body."""


@dataclass(frozen=True, slots=True)
class PushTemplate:
    """The values that all records of a push share (import-api.md 7.1).

    Attributes:
        keys: the key names; empty for a table to which records are appended.
    """

    client_id: int
    table: str
    keys: tuple[str, ...]

    path = "/v2/import/push"
    validation_path = "/v2/import/validate"

    def encode_body(self, batch: RequestBatch) -> bytes:
        """Return the request body. The records are copied as they were read."""
        head = msgspec.json.encode(
            {
                "client_id": self.client_id,
                "table_name": self.table,
                "action": "upsert",
                "key_names": self.keys,
            }
        )
        return b"[%b]" % _join_messages(head[:-1] + b',"sequence":', batch)


@dataclass(frozen=True, slots=True)
class BatchTemplate:
    """The values that all messages of a batch share (import-api.md 9.1).

    Attributes:
        keys: the key names; empty for a table to which records are appended.
        version: the table version; None for none.
        bookmarks: the bookmark names.
        schema: JSON text of the schema of a batch that brings none.
    """

    table: str
    keys: tuple[str, ...]
    version: int | None = None
    bookmarks: tuple[str, ...] = ()
    schema: bytes = b"{}"

    path = "/v2/import/batch"
    validation_path = None

    def encode_body(self, batch: RequestBatch) -> bytes:
        """Return the request body. The records are copied as they were read."""
        schema = self.schema if batch.schema is None else batch.schema
        head = b'{"action":"upsert","sequence":'
        if batch.times is None:
            return self._surround(schema, _join_messages(head, batch))
        timed = [
            b'%b%d%b,"data":%b}'
            % (head, sequence, b',"time_extracted":' + time if time else b"", raw)
            for sequence, time, raw in zip(batch.sequences, batch.times, batch.raws, strict=True)
        ]
        return self._surround(schema, b",".join(timed))

    def encode_activation(self, sequence: int) -> bytes:
        """Return the body that says that `version` is the whole table now."""
        message = b'{"action":"activate_version","sequence":%d}' % sequence
        return self._surround(self.schema, message)

    def _surround(self, schema: bytes, messages: bytes) -> bytes:
        head: dict[str, object] = {"table_name": self.table, "key_names": self.keys}
        if self.version is not None:
            head["table_version"] = self.version
        if self.bookmarks:
            head["bookmark_names"] = self.bookmarks
        begin = msgspec.json.encode(head)[:-1]
        return b'%b,"schema":%b,"messages":[%b]}' % (begin, schema, messages)


@dataclass(frozen=True, slots=True)
class FormTemplate:
    """Sends a batch with a schema as a batch, and one without as a push.

    A push leaves types to the schema that the server has for the table; it needs the client id, so
    without one everything is sent as a batch.
    """

    client_id: int | None
    table: str
    keys: tuple[str, ...]

    def choose(self, batch: RequestBatch) -> BodyTemplate:
        """Return the template for a batch."""
        if batch.schema is None and self.client_id is not None:
            return PushTemplate(self.client_id, self.table, self.keys)
        return BatchTemplate(self.table, self.keys)


def _join_messages(head: bytes, batch: RequestBatch) -> bytes:
    return b",".join(
        [
            b'%b%d,"data":%b}' % (head, sequence, raw)
            for sequence, raw in zip(batch.sequences, batch.raws, strict=True)
        ]
    )
