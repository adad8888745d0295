"""Checks what a request needs of records: that they are objects, their keys, their sequences.

A chunk is checked with one call of the decoder. Only where that finds something odd, each record is
looked at by itself, to name the first one that is wrong. The server decides about the rest.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from treadle.client.request_batch import capitalize
from treadle.record_files.record_block import RecordBlock, RecordFileError

_KEY_VALUE = str | int | float | bool | list[Any] | dict[str, Any]
_SEQUENCE_VALUE = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SEQUENCE = msgspec.json.Decoder(int)
_NULL: Final = msgspec.Raw(b"null")


class RecordChecker:
    """Checks the records of a push.

    Attributes:
        keys: fields that must exist and not be null (import-api.md 7.3).
        sequence_field: the field with the sequence, or None.
    """

    def __init__(self, keys: Sequence[str], sequence_field: str | None) -> None:
        self.keys = tuple(keys)
        self.sequence_field = sequence_field
        names: dict[str, Any] = dict.fromkeys(keys, _KEY_VALUE)
        if sequence_field is not None:
            names[sequence_field] = _SEQUENCE_VALUE
        fields = [(f"f{number}", kind) for number, kind in enumerate(names.values())]
        rename = {f"f{number}": name for number, name in enumerate(names)}
        self._sequence_at = None if sequence_field is None else list(names).index(sequence_field)
        try:
            kind = msgspec.defstruct("Checked", fields, rename=rename, gc=False)
        except ValueError:  # names that no struct can have: quotes, control characters
            self._decode = None
        else:
            self._decode = msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]

    def check(self, chunk: RecordBlock) -> "CheckedRecords":
        """Check the records of a chunk in order, up to the first that is wrong."""
        if self._decode is not None:
            try:
                found = self._decode(b"[%b]" % b",".join(chunk.raws))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                found = []
            if len(found) == len(chunk.raws):
                if self._sequence_at is None:
                    return CheckedRecords(len(found), None)
                name = f"f{self._sequence_at}"
                return CheckedRecords(len(found), [getattr(one, name) for one in found])
        sequences: list[int] = []
        fault = None
        for index, raw in enumerate(chunk.raws):
            try:
                sequence = check_record(
                    raw, chunk.describe_place(index), self.keys, self.sequence_field
                )
            except RecordFileError as error:
                fault = error
                break
            sequences.append(0 if sequence is None else sequence)
        right = len(sequences)
        return CheckedRecords(right, None if self.sequence_field is None else sequences, fault)


class CheckedRecords(NamedTuple):
    """What the check of a chunk found.

    Attributes:
        right: the number of records that are right, from the first.
        sequences: of these; None without a field that has them.
        fault: of the record behind them; None if all are right.
    """

    right: int
    sequences: list[int] | None
    fault: RecordFileError | None = None


def check_record(
    raw: bytes, place: str, keys: Sequence[str], sequence_field: str | None
) -> int | None:
    """Check the key fields of a record, and return its sequence.

    Args:
        raw: its JSON text.
        place: of the record, for a message.
        keys: fields that must exist and not be null (import-api.md 7.3).
        sequence_field: the field with the sequence, or None.

    Returns:
        The value of `sequence_field`; None without such a field.

    Raises:
        RecordFileError: the record is not a JSON object, or a field is not valid.
    """
    fields = _decode_fields(raw, place)
    for key in keys:
        if fields.get(key, _NULL) == _NULL:
            problem = "has null in its" if key in fields else "has no"
            raise RecordFileError(f"{capitalize(place)} {problem} key field {key!r}.")
    if sequence_field is None:
        return None
    text = bytes(fields.get(sequence_field, b""))
    try:
        sequence = _SEQUENCE.decode(text)
    except msgspec.DecodeError:
        sequence = 2**63
    if not -(2**63) <= sequence < 2**63:
        found = text[:40].decode("utf-8", "replace") or "missing"
        raise RecordFileError(
            f"{capitalize(place)}: the sequence field {sequence_field!r} is to be a whole number "
            f"below 2^63, and it is {found}."
        )
    return sequence


def _decode_fields(raw: bytes, place: str) -> dict[str, msgspec.Raw]:
    """Decode the fields of a record, each as raw JSON."""
    try:
        return _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        first = error
    # The server accepts unpaired surrogate escapes, which the fast decoder refuses.
    try:
        value = json.loads(raw, parse_float=str, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RecordFileError(f"{capitalize(place)} is not a JSON object: {first}.")
    # parse_float=str turns fractions into text. For a key it only matters whether it is null, and
    # a sequence is not a fraction.
    return {name: msgspec.Raw(json.dumps(inner).encode()) for name, inner in value.items()}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
