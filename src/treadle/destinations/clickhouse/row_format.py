"""Rows as ClickHouse reads and writes them: Arrow on the way there, JSON on the way back."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from treadle.destinations.protocol import RowRefusedError
from treadle.tables.arrow_column import ArrowColumn, TypedColumn, has_none, to_arrow, to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column

ANSWER_FORMAT: Final = "JSONCompactEachRowWithNamesAndTypes"
"""A line of names, a line of types, and a line for each row."""

_DECIMAL: Final = pa.decimal256(76, 38)
_INSTANT: Final = pa.timestamp("us", tz="UTC")


class BrokenAnswerError(Exception):
    """An answer that ends with the server's words about an error; its code, if it tells one."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        found = text.partition("Code: ")[2].partition(".")[0]
        self.code = int(found) if found.isdigit() else 0


def encode_rows(fields: Sequence[tuple[str, Column, TypedColumn]]) -> bytes:
    """Return rows as a stream of Arrow.

    The server would take NULL in a key for 0, and keep the last bits of a number that is too
    great, without a word: such values are found here.

    Args:
        fields: name in the stream, column that it is for, values.

    Raises:
        RowRefusedError: a value is none of its type, or NULL where there has to be one.
    """
    arrays = {name: _encode_column(column, values) for name, column, values in fields}
    table = pa.table(arrays).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _encode_column(column: Column, values: TypedColumn) -> Any:
    if not column.nullable and has_none(values):
        raise RowRefusedError(f'NULL in the column "{column.name}", which is part of the key')
    if column.type is ColumnType.DECIMAL:
        try:
            return pa.array(list(to_values(values)), _DECIMAL)
        except (pa.ArrowException, OverflowError) as error:
            raise RowRefusedError(f'"{column.name}": {error}') from error
    held = to_arrow(values, ColumnType.TEXT if column.type is ColumnType.JSON else column.type)
    if not isinstance(held, ArrowColumn):
        raise RowRefusedError(
            f'a value of the column "{column.name}" is none of the type {column.type.value}'
        )
    return held.array.cast(_INSTANT) if column.type is ColumnType.TIMESTAMP else held.array


def read_answer(lines: Iterable[bytes]) -> tuple[list[str], list[str], Iterator[list[Any]]]:
    """Return names, types and rows of an answer; the values of a row are as JSON has them.

    Raises:
        BrokenAnswerError: the server broke off; also while rows are taken.
    """
    rows = _read_lines(iter(lines))
    names = next(rows, [])
    return names, next(rows, []), rows


def _read_lines(lines: Iterator[bytes]) -> Iterator[list[Any]]:
    for line in lines:
        if not line.strip():
            continue
        if not line.startswith(b"["):
            raise BrokenAnswerError(b" ".join((line, *lines)).decode(errors="replace"))
        yield json.loads(line, parse_float=Decimal)


def strip_type(type_: str) -> str:
    """Return a type without what says that it may be NULL, or how it is stored."""
    for wrapper in ("LowCardinality(", "Nullable("):
        if type_.startswith(wrapper):
            type_ = type_[len(wrapper) : -1]
    return type_


def read_value(type_: str, value: Any) -> Any:
    """Return a value of an answer as Python has it."""
    kind = strip_type(type_)
    if value is None:
        return None
    if kind.startswith("Float"):
        return float(value)
    if kind.startswith("Decimal"):
        return Decimal(value)
    if kind.startswith("DateTime"):
        return read_instant(value)
    return date.fromisoformat(value) if kind in ("Date", "Date32") else value


def read_instant(text: str) -> datetime:
    """Return a time that the server wrote, in UTC."""
    return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)
