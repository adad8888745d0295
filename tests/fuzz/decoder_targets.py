"""Targets of the fuzzer: any body is accepted or refused, and both readers agree on it.

A target takes bytes. It raises AssertionError, or whatever escaped, when something is wrong.
"""

import contextlib
import gzip
import time
import zlib
from typing import Any

import msgspec
import zstandard

from treadle.errors import RequestRefusedError
from treadle.http.inflate import MEMBERS_MAX, find_inflater
from treadle.records import batch, json_decoder, message_batch, push, record_reader
from treadle.records.transit import reader
from treadle.records.validation.effort import Effort, EffortSpentError
from treadle.records.validation.failure import TEXT_BYTES_MAX
from treadle.records.validation.schema_loader import SchemaError
from treadle.records.validation.schema_validator import SchemaValidator, get_validator

CLIENT_ID = 4321


def _run_decoder(work: Any, *arguments: Any) -> Any:
    """Return the batches, or the answer, which must be one that can be sent."""
    try:
        return work(*arguments)
    except RequestRefusedError as refused:
        answer = refused.status, refused.body
    msgspec.json.encode(answer)
    assert answer[0] in (400, 401, 403, 422), answer
    return answer


def _assert_readable(batches: list[message_batch.MessageBatch]) -> None:
    """Check that accepted batches can be stored, read and quoted."""
    for one in batches:
        assert message_batch.decode_batch(message_batch.encode_batch(one)) == one
        for exact in (False, True):
            records = record_reader.read_records(one, exact=exact)
            assert len(records) == len(one)
            assert all(type(record) is dict for record in records)
        texts = record_reader.extract_texts(one, range(len(one)))
        for text in texts:
            json_decoder.decode_json(text.encode())


def fuzz_push_json(data: bytes) -> None:
    """Read a JSON body of /v2/import/push in every way."""
    pushed = _run_decoder(lambda: push.decode_body(data, transit=False))
    quick = push.read_fast(data, CLIENT_ID)
    if isinstance(pushed, tuple):
        assert quick is None
        return
    outcome = _run_decoder(push.check_body, pushed, CLIENT_ID)
    general = _run_decoder(push.check_body_exactly, pushed, CLIENT_ID)
    assert outcome == general
    assert quick in (None, general)
    if isinstance(outcome, list):
        _assert_readable(outcome)


def fuzz_push_transit(data: bytes) -> None:
    """Read a Transit body of /v2/import/push in every way."""
    value = _run_decoder(reader.decode_transit, data)
    singly = _run_decoder(reader.decode_exactly, data)
    assert repr(value) == repr(singly)  # NaN is not equal to itself
    pushed = _run_decoder(lambda: push.decode_body(data, transit=True))
    if isinstance(pushed, tuple):
        return
    outcome = _run_decoder(push.check_body, pushed, CLIENT_ID)
    general = _run_decoder(push.check_body_exactly, pushed, CLIENT_ID)
    assert outcome == general
    if isinstance(outcome, list):
        _assert_readable(outcome)


def fuzz_batch_json(data: bytes) -> None:
    """Read a body of /v2/import/batch in every way."""
    outcome = _run_decoder(batch.read_body, data)
    general = _run_decoder(lambda: batch.check_body(batch.decode_body(data)))
    assert outcome == general
    assert batch.read_fast(data) in (None, general)
    if isinstance(outcome, list):
        _assert_readable(outcome)
        [accepted] = outcome
        node = get_validator(accepted.schema).node
        assert not any(node.check(record) for record in record_reader.read_records(accepted))


FUZZED_UNITS = 100_000
FUZZED_SECONDS_MAX = 20.0
"""Of processor time, for code that is watched by the fuzzer: without it, a unit takes less than a
microsecond."""


def fuzz_schema_text(data: bytes) -> None:
    """Load the first line as a schema, and check each of the others by it in every way.

    Whatever the schema asks for, no more than the effort is spent, and what a fast way accepts is
    accepted by the nodes.
    """
    first, *others = data.split(b"\n")[:20]
    before = time.thread_time()
    try:
        schema, *values = [msgspec.json.decode(text) for text in (first, *others)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if type(schema) is not dict or any(map(json_decoder.is_too_deep, (first, *others))):
        return
    values.append(schema)
    try:
        effort = Effort(FUZZED_UNITS)
        validator = SchemaValidator(schema, effort)
        assert 0 <= effort.units_left <= FUZZED_UNITS
        for value in values:
            _assert_agreement(validator, value)
    except (SchemaError, EffortSpentError):
        pass
    assert time.thread_time() - before < FUZZED_SECONDS_MAX


def _assert_agreement(validator: SchemaValidator, value: Any) -> None:
    text = msgspec.json.encode([value])
    lines = validator.explain_failure(value, Effort(FUZZED_UNITS))
    if lines is not None:
        assert len(lines) <= TEXT_BYTES_MAX + 100
        assert lines.startswith("#")
        assert lines.endswith("\n")
    accepted = validator.decodes_all((), text, Effort(FUZZED_UNITS))
    foretold = validator.cost.measure_records(1, len(text))
    if validator.all_valid_fast is not None and foretold <= FUZZED_UNITS:
        with contextlib.suppress(ValueError):  # it takes no number that is too large for it
            accepted = accepted or validator.all_valid_fast([value])
    assert not accepted or lines is None


INFLATED_BYTES_MAX = 1024 * 1024


def _inflate_with(encoding: str, data: bytes) -> bytes | None:
    """Return what the library makes of a body at once; None where it refuses it."""
    try:
        if encoding == "gzip":
            return gzip.decompress(data)
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 25)
        return decompressor.decompressobj(read_across_frames=True).decompress(data)
    except (zlib.error, zstandard.ZstdError, EOFError, OSError, MemoryError):
        return None


def _fuzz_inflate(encoding: str, data: bytes) -> None:
    inflate = find_inflater(encoding)
    assert inflate is not None
    size = 0
    refusal: RequestRefusedError | None
    parts: list[bytes] = []
    try:
        for part in inflate(data, INFLATED_BYTES_MAX):
            size += len(part)
            assert size <= INFLATED_BYTES_MAX
            parts.append(part)
    except RequestRefusedError as refused:
        refusal = refused
    else:
        refusal = None
    if refusal is not None:
        answer = refusal.status, refusal.body
        msgspec.json.encode(answer)
        assert answer[0] in (400, 413), answer
        return
    assert b"".join(parts) == (_inflate_with(encoding, data) or b"")
    assert len(parts) <= MEMBERS_MAX + len(data)


def fuzz_gzip(data: bytes) -> None:
    """Inflate a body of gzip members: as the library does, or a refusal."""
    _fuzz_inflate("gzip", data)


def fuzz_zstd(data: bytes) -> None:
    """Inflate a body of zstd frames: as the library does, or a refusal."""
    _fuzz_inflate("zstd", data)


TARGETS = {
    "push": fuzz_push_json,
    "transit": fuzz_push_transit,
    "batch": fuzz_batch_json,
    "schema": fuzz_schema_text,
    "gzip": fuzz_gzip,
    "zstd": fuzz_zstd,
}
"""By the name of their folder in `corpus`; `wire_target` has one more, which imports much."""
