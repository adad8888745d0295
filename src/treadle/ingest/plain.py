"""`POST /v1/tables/{table}/records?key=id`: bare records for one table.

For pipelines and people: `curl --data-binary @rows.ndjson`. The body is an array of objects or
newline-delimited JSON. `key` may come several times; without it every record is a new row.
`sequence` names an integer field that says which record of a key is the latest; without it later
records win, because each gets a number from the clock that is greater than those before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import Refused
from treadle.ingest.accept import Acceptor, Packed, Sent, packed
from treadle.ingest.bare import Record, batch, parse, refuse
from treadle.ingest.directory import Directory
from treadle.ingest.endpoint import NOT_ACTIVE, NOT_AUTHORIZED
from treadle.ingest.large import Large
from treadle.ingest.room import Room
from treadle.records.fields import UPSERT, faults
from treadle.records.message import Batch
from treadle.store.model import Pusher
from treadle.web import bearer, check_declared_length, fields

PATH = "/v1/tables/{table:text}/records"
NO_RECORDS = {"status": "ERROR", "message": "At least one record is expected"}


class Text(Convertor[str]):
    """Any part of a path: `path` would leave out line breaks, which names of tables may have."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """As it stands in the path."""
        return value

    def to_string(self, value: str) -> str:
        """As it stands in the path."""
        return value


register_url_convertor("text", Text())


@dataclass(frozen=True, slots=True)
class Address:
    """Where and how bare records go, from the request's URL.

    Attributes:
        keys: names of the key fields; none for an append-only table.
        sequence: name of the field that orders records of one key; None to number them here.
    """

    table: str
    keys: tuple[str, ...]
    sequence: str | None


class Numbers:
    """Sequences that grow from record to record: nanoseconds since 1970, or the next number."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """Count by a clock in microseconds."""
        self._clock = clock
        self._next = 0

    def take(self, count: int) -> range:
        """So many numbers, greater than all taken before."""
        first = max(self._clock() * 1000, self._next)
        self._next = first + count
        return range(first, self._next)


class Plain:
    """Takes bare records."""

    def __init__(
        self,
        directory: Directory,
        acceptor: Acceptor,
        large: Large,
        room: Room,
        clock: Callable[[], int],
    ) -> None:
        """Serve the pushers of a directory.

        Args:
            directory: who may push.
            acceptor: makes batches durable.
            large: works on large bodies.
            room: reads bodies.
            clock: microseconds since 1970, UTC.
        """
        self._directory = directory
        self._acceptor = acceptor
        self._large = large
        self._room = room
        self._numbers = Numbers(clock)

    async def post(self, request: Request) -> Response:
        """Accept the records, all or none."""
        sent, pusher, kept = await self._checked(request)
        return await self._acceptor.accept(sent, pusher, kept)

    async def _checked(self, request: Request) -> tuple[Sent, Pusher, list[Packed]]:
        """What is to be kept; the body is let go with the end of this."""
        headers = fields(request.scope)
        check_declared_length(headers)
        pusher = await self._directory.find(bearer(headers))
        if pusher is None:
            raise Refused(401, NOT_AUTHORIZED)
        if not pusher.active:
            raise Refused(401, NOT_ACTIVE)
        query = request.query_params
        address = Address(
            request.path_params["table"], tuple(query.getlist("key")), query.get("sequence")
        )
        body = await self._room.read(request, headers)
        records = await self._large.work(len(body), parse, body)
        if not records:
            raise Refused(400, NO_RECORDS)
        numbers = self._numbers.take(len(records))
        kept = await self._large.work(len(body), lambda: packed(judge(records, address, numbers)))
        if not await self._directory.record_use(pusher):
            raise Refused(401, NOT_AUTHORIZED)
        target = f"{request.scope['path']}?{request.scope['query_string'].decode('latin-1')}"
        return Sent.of(target, headers, body), pusher, kept


def judge(records: Sequence[Record], address: Address, numbers: Sequence[int]) -> list[Batch]:
    """The records as one batch.

    Args:
        records: at least one.
        address: where they go.
        numbers: sequences for records that bring none.

    Raises:
        Refused: 422 with what is wrong, in the words of a push; nothing is kept then.
    """
    sequences: list[Any] = list(numbers)
    if address.sequence is not None:
        sequences = [record.value.get(address.sequence) for record in records]
    reasons = []
    for record, sequence in zip(records, sequences, strict=True):
        pushed = {
            "client_id": 0,
            "table_name": address.table,
            "sequence": sequence,
            "action": UPSERT,
            "key_names": list(address.keys),
            "data": record.value,
        }
        found = faults(pushed, len(memoryview(record.text)))
        if found:
            reasons.append(found)
    if reasons:
        refuse(reasons)
    return [batch(records, address.table, address.keys, sequences)]
