"""The names, types and limits of a kind of destination (loading.md 3, 4, 6, 10.1).

A `DestinationProfile` is a value that each destination declares; the rules in this room ask it
and never ask which destination it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal

from treadle.tables.column_type import ColumnType

SPLIT_SUFFIXES: Final[Mapping[ColumnType, str]] = {
    ColumnType.BIGINT: "bi",
    ColumnType.BOOLEAN: "bo",
    ColumnType.DECIMAL: "de",
    ColumnType.DOUBLE: "do",
    ColumnType.JSON: "js",
    ColumnType.TEXT: "st",
    ColumnType.TIMESTAMP: "ti",
}
"""Endings of split columns in PostgreSQL and DuckDB (loading.md 3.2)."""


@dataclass(frozen=True, slots=True)
class DestinationProfile:
    """The answers of one kind of destination to the questions of the loading rules.

    Attributes:
        display_name: `<DEST>` in reasons, for example "PostgreSQL".
        canonical: one part of a name as sent -> the same part as the destination spells it.
        fold: canonical name -> the form in which names are compared for equality.
        column_bytes_max: longest name of a field's column in bytes of UTF-8, a split suffix of
            four bytes not counted; None for no limit.
        table_bytes_max: longest table name in bytes of UTF-8, None for no limit.
        columns_max: most columns of one table, system columns included, None for no limit.
        split: "rename" gives every column of a split field a suffix, "keep" leaves the bare name to
            the first (loading.md 4.1).
        reserved_suffixes: endings a client's name must not have, lower case (loading.md 6.6).
        decimal_integer_digits_max: digits before the point that a decimal column holds.
        decimal_scale_max: digits after the point; more are rounded half up. None for no bound.
        timestamp_min_us, timestamp_max_us: microseconds since 1970 that a timestamp column gets,
            in UTC and rounded.
        columns_reserved: folded names of columns that the database refuses or keeps for itself: a
            record with such a field is rejected (loading.md 6.5).
        prefixes_reserved: beginnings of such names.
        tables_reserved: folded names of tables that the destination keeps for itself: the records
            of such a table are rejected, as those of one that begins with `_sdc` (loading.md 6.5).
        schemas_system: schemas of the database itself, lower case; one that ends with `*` stands
            for all that begin so. No source is loaded into one.
        schemas_reserved: schemas that the database makes for its users, or that it would mistake
            for something else, lower case. No new source gets such a name.
        split_suffixes: logical type -> ending of a split column of it, behind two underscores.
        nonfinite_doubles: whether a double column takes infinity and "not a number"; a record with
            one is rejected otherwise.
        text_bytes_max: longest text of a column in bytes of UTF-8, None for no limit. A longer one
            is cut, and counted as rounded; a record with a longer key, or with an object or array
            whose JSON is longer, is rejected.
        nested: what objects and arrays become, where the option `nested` does not say it: columns
            and subtables, or one JSON column (loading.md 7.1).
        dropped_key: what a load does when the user dropped or changed the key constraint:
            "append" from then on, or "stop" the table (loading.md 5.2).
        append_only: rows are only added: none is replaced or removed, whatever the options say
            (loading.md 2.1).
        upserts: a record with a key may replace the row of its key; without, records are appended
            to every table, whatever its options say (loading.md 2.1).
    """

    display_name: str
    canonical: Callable[[str], str]
    fold: Callable[[str], str]
    column_bytes_max: int | None
    table_bytes_max: int | None
    columns_max: int | None
    split: Literal["rename", "keep"]
    reserved_suffixes: tuple[str, ...]
    decimal_integer_digits_max: int
    decimal_scale_max: int | None
    timestamp_min_us: int
    timestamp_max_us: int
    dropped_key: Literal["append", "stop"]
    columns_reserved: frozenset[str] = frozenset()
    prefixes_reserved: tuple[str, ...] = ()
    tables_reserved: frozenset[str] = frozenset()
    schemas_system: tuple[str, ...] = ()
    schemas_reserved: tuple[str, ...] = ()
    split_suffixes: Mapping[ColumnType, str] = field(
        default_factory=lambda: SPLIT_SUFFIXES, hash=False
    )
    nonfinite_doubles: bool = True
    text_bytes_max: int | None = None
    append_only: bool = False
    upserts: bool = True
    nested: Literal["flatten", "json"] = "flatten"

    def decimal_fits(self, value: Decimal) -> bool:
        """Return whether a column holds the digits that a finite decimal has before the point."""
        return value.is_zero() or value.adjusted() < self.decimal_integer_digits_max
