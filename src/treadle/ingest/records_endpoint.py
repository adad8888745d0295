"""`POST /v1/tables/{table}/records?key=id`: raw records for one table.

For pipelines and people: `curl --data-binary @rows.ndjson`. The body is an array of objects or
newline-delimited JSON. `key` may come several times; without it every record is a new row.
`sequence` names an integer field that says which record of a key is the latest; without it later
records win, because each gets a number from the clock that is greater than those before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import RequestRefusedError
from treadle.http.headers import select_headers
from treadle.http.path_convertor import TABLE_IN_PATH
from treadle.ingest.acknowledgement import (
    BatchAcceptor,
    EncodedBatch,
    ReceivedRequest,
    encode_batches,
)
from treadle.ingest.admission import RequestAdmission
from treadle.ingest.body_executor import weigh_body
from treadle.ingest.raw_records import RawRecord, build_batch, parse_records
from treadle.ingest.table_schema_check import TableSchemaCheck
from treadle.records.field_check import (
    UPSERT,
    KeyAllowance,
    find_field_errors,
    refuse_records,
)
from treadle.records.message_batch import MessageBatch
from treadle.step_check import StepCheck, pass_step
from treadle.store.model import TokenOwner

RECORDS_PATH = f"/v1/tables/{TABLE_IN_PATH}/records"
NO_RECORDS = {"status": "ERROR", "message": "At least one record is expected"}

KEYS_MAX = 32
"""Most key fields that a URL may name: each is looked for in each record. A key of PostgreSQL has
no more columns either."""

TOO_MANY_KEYS = {"status": "ERROR", "message": f"At most {KEYS_MAX} keys may be named in the URL"}


@dataclass(frozen=True, slots=True)
class RecordsTarget:
    """The table and key that the URL of a request names.

    Attributes:
        keys: names of the key fields; none for an append-only table.
        sequence: name of the field that orders records of one key; None to number them here.
    """

    table: str
    keys: tuple[str, ...]
    sequence: str | None


class SequenceCounter:
    """Gives growing sequences: nanoseconds since 1970, or the next number where that is higher."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """Count by a clock in microseconds."""
        self._clock = clock
        self._next = 0

    def reserve(self, count: int) -> range:
        """So many numbers, greater than all taken before."""
        first = max(self._clock() * 1000, self._next)
        self._next = first + count
        return range(first, self._next)


@dataclass(frozen=True, slots=True)
class RecordsEndpoint:
    """Accepts raw records.

    Attributes:
        admission: checks requests.
        acceptor: makes batches durable.
        sequences: numbers records that bring no sequence.
        schemas: holds records to the schemas of their tables.
    """

    admission: RequestAdmission
    acceptor: BatchAcceptor
    sequences: SequenceCounter
    schemas: TableSchemaCheck

    async def post(self, request: Request) -> Response:
        """Accept the records, all or none."""
        sent, owner, kept = await self._checked(request)
        return await self.acceptor.accept(sent, owner, kept)

    async def _checked(
        self, request: Request
    ) -> tuple[ReceivedRequest, TokenOwner, list[EncodedBatch]]:
        """Check a request and encode its batches; the body is free after this."""
        headers = select_headers(request.scope)
        owner = await self.admission.admit_first(headers)
        query = request.query_params
        address = RecordsTarget(
            request.path_params["table"],
            choose_keys(query.getlist("key")),
            query.get("sequence"),
        )
        body = await self.admission.budget.read(request, headers, owner.source_id)
        admission = self.admission
        weight = weigh_body(body)
        records = await admission.decode(
            request, owner, weight, lambda check: parse_records(body, check)
        )
        if not records:
            raise RequestRefusedError(400, NO_RECORDS)
        numbers = self.sequences.reserve(len(records))
        if owner.has_schemas:
            places = {address.table: range(len(records))}
            batches = await admission.decode(
                request,
                owner,
                weight,
                lambda check: check_records(records, address, numbers, check),
            )
            typed = await self.schemas.apply(request, owner, batches, lambda: places)
            kept = await admission.executor.run(owner.source_id, weight, encode_batches, typed)
        else:
            kept = await admission.decode(
                request,
                owner,
                weight,
                lambda check: encode_batches(check_records(records, address, numbers, check)),
            )
        await self.admission.record_use(request, owner)
        target = f"{request.scope['path']}?{request.scope['query_string'].decode('latin-1')}"
        return ReceivedRequest.from_body(target, headers, body), owner, kept


def choose_keys(named: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the key fields, each once.

    Raises:
        RequestRefusedError: 400, there are more than KEYS_MAX.
    """
    keys = tuple(dict.fromkeys(named))
    if len(keys) > KEYS_MAX:
        raise RequestRefusedError(400, TOO_MANY_KEYS)
    return keys


def check_records(
    records: Sequence[RawRecord],
    address: RecordsTarget,
    numbers: Sequence[int],
    check: StepCheck = pass_step,
) -> list[MessageBatch]:
    """Return the records as one batch.

    Args:
        records: at least one.
        address: where they go.
        numbers: sequences for records that bring none.
        check: called between steps.

    Raises:
        RequestRefusedError: 422 with what is wrong, in the words of a push; nothing is kept then.
    """
    sequences: list[Any] = list(numbers)
    if address.sequence is not None:
        sequences = [record.value.get(address.sequence) for record in records]
    reasons = []
    refused = []
    allowance = KeyAllowance()
    for index, (record, sequence) in enumerate(zip(records, sequences, strict=True)):
        check()
        pushed = {
            "client_id": 0,
            "table_name": address.table,
            "sequence": sequence,
            "action": UPSERT,
            "key_names": list(address.keys),
            "data": record.value,
        }
        found = find_field_errors(pushed, len(memoryview(record.text)), allowance)
        if found:
            reasons.append(found)
            refused.append(index)
    if reasons:
        refuse_records(reasons, refused)
    return [build_batch(records, address.table, address.keys, sequences)]
