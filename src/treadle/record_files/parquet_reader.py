"""Reads Parquet, and keeps its types: a JSON schema says what JSON cannot.

| Parquet | JSON | schema |
|---|---|---|
| integers, floats, booleans | the same; NaN, infinity are null | `integer`, `number`, `boolean` |
| decimal | text with every digit | `singer.decimal` |
| timestamp | text, in UTC; one without a zone is taken as UTC | `date-time` |
| date, time, duration, UUID | text | `string` |
| binary | base64 | `string` |
| list, struct | array, object | with the types of what is in them |
| map | object; an array of pairs where the keys are no text | `object` |
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import IO, Any, Final

import msgspec

from treadle.errors import OperatorError
from treadle.record_files.record_block import RecordBlock, RecordFileError, check_sizes
from treadle.record_files.row_encoder import RowEncoder

_CHUNK_ROWS: Final = 5_000
_CHUNK_BYTES: Final = 8 * 1024 * 1024


def read_parquet(
    file: IO[bytes], *, schema: bytes | None = None, warn: Callable[[str], None] = lambda _: None
) -> Iterator[RecordBlock]:
    """Yield the records of a Parquet file.

    Args:
        file: can be read from any place.
        schema: JSON text of the schema of the records; None to make it of the file's.
        warn: told what cannot be sent as it is.

    Raises:
        RecordFileError: the file is damaged.
        OperatorError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise OperatorError(
            "Parquet needs the package pyarrow: install it with `pip install pyarrow`."
        ) from error
    try:
        found = pq.ParquetFile(file)
        fields = found.schema_arrow
        names = list(fields.names)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise RecordFileError(
                f"The file has two columns {twice!r}; give each a name of its own."
            )
        metadata = found.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        bytes_ = sum(group.total_byte_size for group in groups)
        average = bytes_ // max(1, metadata.num_rows) + 1
        size = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // average))
        told = schema or msgspec.json.encode(
            {"type": "object", "properties": {f.name: make_schema(f.type) for f in fields}}
        )
        encoder = RowEncoder(names, encode_value, nulls=schema is not None)
        first = 1
        lost: set[str] = set()
        for batch in found.iter_batches(batch_size=size, use_threads=False):
            if batch.num_rows == 0:
                continue
            columns = [list_values(column) for column in batch.columns]
            for field, column in zip(fields, batch.columns, strict=True):
                if field.name not in lost and _has_odd_number(column):
                    lost.add(field.name)
                    warn(
                        f"Values of {field.name} that are no number (NaN, infinity) are sent as "
                        "null, since JSON has none."
                    )
            raws = encoder.encode(columns) if names else [b"{}"] * batch.num_rows
            yield check_sizes(RecordBlock(raws, first, None, told))
            first += batch.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise RecordFileError(f"The Parquet file cannot be read: {said}.") from error


def make_schema(kind: Any) -> dict[str, Any]:
    """Return the JSON schema of the values of a type of Arrow."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return make_schema(kind.value_type)
    if types.is_boolean(kind):
        return {"type": ["null", "boolean"]}
    if types.is_integer(kind):
        return {"type": ["null", "integer"]}
    if types.is_floating(kind):
        return {"type": ["null", "number"]}
    if types.is_decimal(kind):
        return {"type": ["null", "string"], "format": "singer.decimal"}
    if types.is_timestamp(kind):
        return {"type": ["null", "string"], "format": "date-time"}
    if types.is_struct(kind):
        inner = {field.name: make_schema(field.type) for field in kind.fields}
        return {"type": ["null", "object"], "properties": inner}
    if types.is_map(kind):
        return {"type": ["null", "object" if _has_text_keys(kind) else "array"]}
    if types.is_null(kind):
        return {}
    if _is_list(kind):
        return {"type": ["null", "array"], "items": make_schema(kind.value_type)}
    return {"type": ["null", "string"]}


def list_values(column: Any) -> Sequence[Any]:
    """Return the values of a column as they are encoded; what JSON lacks is left to `encode_value`.

    Times and decimals become texts by Arrow, which is ten times as fast as one by one.
    """
    import pyarrow as pa
    from pyarrow import compute, types

    kind = column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if types.is_timestamp(kind):
        text: Any = column.cast(pa.timestamp(kind.unit)).cast(pa.string())
        # The first blank, since a year beyond 9999 has more digits.
        text = compute.replace_substring(text, " ", "T", max_replacements=1)
        column = compute.binary_join_element_wise(text, pa.scalar("Z"), pa.scalar(""))
    elif types.is_decimal(kind) or types.is_date(kind) or types.is_time(kind):
        column = column.cast(pa.string())
    elif _is_list(kind) or types.is_nested(kind):
        return [_plain(value, kind) for value in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


def _plain(value: Any, kind: Any) -> Any:
    """Return a nested value with maps as objects, and times in UTC."""
    from pyarrow import types

    if value is None:
        return None
    if types.is_map(kind):
        pairs = [(key, _plain(item, kind.item_type)) for key, item in value]
        return dict(pairs) if _has_text_keys(kind) else [list(pair) for pair in pairs]
    if types.is_struct(kind):
        return {field.name: _plain(value[field.name], field.type) for field in kind.fields}
    if _is_list(kind):
        return [_plain(item, kind.value_type) for item in value]
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def encode_value(value: Any) -> Any:
    """Return JSON of a value that is of no type of JSON, and that msgspec does not know."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    return str(value)


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def _has_text_keys(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind.key_type) or types.is_large_string(kind.key_type))


def _has_odd_number(column: Any) -> bool:
    """Return whether a column has numbers that JSON lacks, also within lists and objects."""
    from pyarrow import compute, types

    kind = column.type
    if types.is_dictionary(kind):
        return _has_odd_number(column.dictionary)
    if types.is_struct(kind):
        return any(map(_has_odd_number, column.flatten()))
    if types.is_map(kind):
        return _has_odd_number(column.keys) or _has_odd_number(column.items)
    if _is_list(kind):
        return _has_odd_number(column.flatten())
    if not types.is_floating(kind):
        return False
    finite = compute.all(compute.is_finite(column), skip_nulls=True, min_count=0)
    return not finite.as_py()
