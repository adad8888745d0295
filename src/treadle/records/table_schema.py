"""Schemas that belong to tables: records that come without a schema are checked and typed by one.

A batch brings its schema with each request. Pushes as JSON, webhooks and bare records bring none;
where their table has one, they are held to it as a batch is to its own (import-api.md 9, 10), and
their values get their types from it when they are loaded (loading.md 3.1). Transit types its values
itself, and a batch has a schema already: both stay as they are.

Both spend the effort of a request, as the readers of batches do.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from treadle.errors import RequestRefusedError
from treadle.records import json_decoder
from treadle.records.batch import all_conform, conforms_fast
from treadle.records.message_batch import MessageBatch, decode_batch, encode_batch
from treadle.records.validation.effort import (
    Effort,
    EffortSpentError,
    make_inline_effort,
    make_request_effort,
)
from treadle.records.validation.failure import cut_text
from treadle.records.validation.schema_loader import SchemaError
from treadle.records.validation.schema_validator import (
    TOO_MUCH_WORK,
    SchemaValidator,
    get_validator,
)

READER: Final = "treadle.records.table_schema:find_encoded_failures"
"""Checks records in a task process."""

FAILURES_MAX: Final = 20
"""Records that are explained; those behind the last of them are not looked at."""

_FAILURE_BYTES_MAX: Final = 2 * 1024
"""Most bytes of what is wrong with one of them, as JSON."""

_CHECK_UNITS: Final = 300_000
"""Effort of making a schema usable: two tenths of a second. A property takes less than twenty."""

TOO_MUCH_WORK_REASON: Final = "the schema of the table makes too much work of this request"

TableSchemas = Mapping[str, bytes]
"""Name of a table -> JSON text of its schema."""


class RecordFailure(NamedTuple):
    """A record that does not fit the schema of its table.

    Attributes:
        table_name: of its table.
        place: of the record among those of its table in the request, from 0.
        lines: what is wrong, in the words of a batch.
    """

    table_name: str
    place: int
    lines: list[str]


_encode = msgspec.msgpack.Encoder().encode
_decode_question = msgspec.msgpack.Decoder(tuple[dict[str, bytes], list[bytes]]).decode
_decode_failures = msgspec.msgpack.Decoder(list[RecordFailure]).decode


def prepare_schema(document: bytes) -> bytes:
    """Return a text without its blanks, checked that it can be the schema of a table.

    Args:
        document: as sent; it may begin with a byte order mark.

    Raises:
        SchemaError: it is no JSON object, or no schema, or takes too much effort.
    """
    try:
        value = json_decoder.decode_json(document)
    except RequestRefusedError as error:
        raise SchemaError("it is not JSON") from error
    if type(value) is not dict:
        raise SchemaError("it is not a JSON object")
    if json_decoder.is_body_too_deep(document):
        raise SchemaError("it is nested too deep")
    try:
        SchemaValidator(value, Effort(_CHECK_UNITS))
    except EffortSpentError as error:
        raise SchemaError(TOO_MUCH_WORK) from error
    return msgspec.json.format(json_decoder.repair_json(document), indent=-1)


def applies_to(batch: MessageBatch, schemas: TableSchemas) -> bool:
    """Return whether the records of a batch are to fit the schema of their table."""
    return batch.form == "json" and len(batch) > 0 and batch.table_name in schemas


def add_schemas(batches: Sequence[MessageBatch], schemas: TableSchemas) -> list[MessageBatch]:
    """Return batches whose records get their types from the schemas of their tables.

    Args:
        batches: their records fit (`find_failures`).
        schemas: of the source.
    """
    return [
        msgspec.structs.replace(batch, form="schema", schema=schemas[batch.table_name])
        if applies_to(batch, schemas)
        else batch
        for batch in batches
    ]


def find_failures(
    batches: Sequence[MessageBatch], schemas: TableSchemas, effort: Effort
) -> list[RecordFailure]:
    """Return the records that do not fit the schemas of their tables, at most FAILURES_MAX.

    Args:
        batches: of one request, in order.
        schemas: of the source.
        effort: what may be spent.

    Raises:
        RequestRefusedError: 422, a schema cannot be used for these records.
        EffortSpentError: it takes more than that.
    """
    found: list[RecordFailure] = []
    before: dict[str, int] = {}
    for batch in batches:
        first = before.get(batch.table_name, 0)
        before[batch.table_name] = first + len(batch)
        if not applies_to(batch, schemas):
            continue
        try:
            wrong = _find_batch_failures(
                batch, schemas[batch.table_name], effort, FAILURES_MAX - len(found)
            )
        except SchemaError as error:
            raise make_schema_refusal(batch.table_name, str(error)) from error
        found += [RecordFailure(batch.table_name, first + at, lines) for at, lines in wrong]
        if len(found) >= FAILURES_MAX:
            break
    return found


def find_inline_failures(
    batches: Sequence[MessageBatch], schemas: TableSchemas
) -> list[RecordFailure]:
    """Do the same where other requests wait.

    Raises:
        RequestRefusedError: 422, a schema cannot be used for these records.
        EffortSpentError: it takes, or could take, too long.
    """
    return find_failures(batches, schemas, make_inline_effort())


def encode_question(batches: Sequence[MessageBatch], schemas: TableSchemas) -> bytes:
    """Encode batches, and the schemas of their tables, for a task process."""
    asked = [batch for batch in batches if batch.table_name in schemas]
    names = {batch.table_name for batch in asked}
    return _encode(({name: schemas[name] for name in names}, [encode_batch(one) for one in asked]))


def find_encoded_failures(question: bytes) -> bytes:
    """Do the same in a task process: a function of bytes.

    Raises:
        RequestRefusedError: as `find_failures`, and where the effort of a request is not enough.
    """
    schemas, encoded = _decode_question(question)
    batches = [decode_batch(one) for one in encoded]
    try:
        return _encode(find_failures(batches, schemas, make_request_effort(len(question))))
    except (EffortSpentError, MemoryError) as error:
        raise make_effort_refusal() from error


def decode_failures(encoded: bytes) -> list[RecordFailure]:
    """Return what `find_encoded_failures` found."""
    return _decode_failures(encoded)


def make_schema_refusal(table_name: str, why: str) -> RequestRefusedError:
    """Make the answer to records whose table has a schema that cannot be used."""
    return _make_refusal(f"The schema of the table {table_name[:100]} cannot be used: {why}")


def make_effort_refusal() -> RequestRefusedError:
    """Make the answer to a request that takes more effort than it may."""
    return _make_refusal(f"{TOO_MUCH_WORK_REASON}: send fewer records at once")


def _make_refusal(message: str) -> RequestRefusedError:
    return RequestRefusedError(
        422, {"status": "ERROR", "message": cut_text(message, _FAILURE_BYTES_MAX)}
    )


def _find_batch_failures(
    batch: MessageBatch, schema: bytes, effort: Effort, most: int
) -> list[tuple[int, list[str]]]:
    """Return index and lines of the first records of a batch that do not conform."""
    validator = get_validator(schema, effort)
    try:
        records = json_decoder.decode_slices(batch.data)
    except json_decoder.SYNTAX_ERRORS:
        records = json_decoder.decode_slices(json_decoder.repair_json(batch.data))
    if all_conform(validator, batch.key_names, records, batch.data, effort):
        return []
    conforms = validator.all_valid_fast
    if conforms and not effort.try_spend(
        validator.cost.measure_records(len(records), len(batch.data))
    ):
        conforms = None
    found: list[tuple[int, list[str]]] = []
    for index, text in enumerate(records):
        effort.spend()
        record = bytes(text)
        # The nodes take fifty times as long, so they check only what the fast validator refuses.
        if conforms is not None and conforms_fast(conforms, record):
            continue
        lines = validator.explain_failure(json_decoder.decode_json(record), effort)
        if lines is not None:
            found.append((index, cut_text(lines, _FAILURE_BYTES_MAX).splitlines()))
            if len(found) >= most:
                break
    return found
