"""Folds the columns of a field that was split by type into one expression (loading.md 4).

In each row one of them at most has a value. Numbers stay numbers where all of the columns are
numeric; else the values are texts, spelled as the option `split_mode: widen` spells them. Each
expression gives the same on DuckDB and PostgreSQL.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from treadle.dbt_project.quoting import quote_identifier
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column

_NUMERIC: Final = frozenset((ColumnType.BIGINT, ColumnType.DECIMAL, ColumnType.DOUBLE))

_DOUBLE_FORMS: Final[Mapping[ColumnType, str]] = {
    # A decimal of PostgreSQL may be beyond the doubles, and the cast of it would be an error.
    ColumnType.DECIMAL: (
        "case when abs({name}) > 1.7976931348623157e308"
        " then sign({name}) * cast('Infinity' as double precision)"
        " when abs({name}) < 1e-307 then 0"
        " else cast({name} as double precision) end"
    ),
    ColumnType.BIGINT: "cast({name} as double precision)",
}

_TEXT_FORMS: Final[Mapping[ColumnType, str]] = {
    ColumnType.DECIMAL: (r"regexp_replace(cast({name} as text), '(\.[0-9]*[1-9])0+$|\.0+$', '\1')"),
    ColumnType.DOUBLE: (
        "case when {name} = trunc({name}) and abs({name}) < 1e16"
        " then cast(cast({name} as bigint) as text) else cast({name} as text) end"
    ),
    ColumnType.TEXT: "{name}",
    # In UTC, and as ISO 8601: the text that a cast gives depends on settings of the session.
    ColumnType.TIMESTAMP: (
        "replace(replace(cast(to_json({name} at time zone 'UTC') as text), '\"', ''), ' ', 'T')"
        " || 'Z'"
    ),
}
_ANY_TEXT_FORM: Final = "cast({name} as text)"


def find_folded_type(types: Sequence[ColumnType]) -> ColumnType:
    """Return the type of the expression for columns of some types."""
    distinct = set(types)
    if len(distinct) == 1:
        return types[0]
    if not distinct <= _NUMERIC:
        return ColumnType.TEXT
    return ColumnType.DOUBLE if ColumnType.DOUBLE in distinct else ColumnType.DECIMAL


def fold_columns(columns: Sequence[Column], alias: str = "") -> str:
    """Return the SQL expression for the value of a field.

    Args:
        columns: of the field, one or more.
        alias: of the relation, with a dot; empty for none.
    """
    folded = find_folded_type([column.type for column in columns])
    values = [_convert(column, folded, alias) for column in columns]
    return values[0] if len(values) == 1 else f"coalesce({', '.join(values)})"


def _convert(column: Column, wanted: ColumnType, alias: str) -> str:
    name = alias + quote_identifier(column.name)
    if column.type is wanted:
        return name
    if wanted is ColumnType.TEXT:
        return _fill(_TEXT_FORMS.get(column.type, _ANY_TEXT_FORM), name)
    if wanted is ColumnType.DOUBLE:
        return _fill(_DOUBLE_FORMS[column.type], name)
    # An integer beside a decimal: a cast would need the digits, which the databases count
    # differently, and coalesce finds them.
    return name


def _fill(form: str, name: str) -> str:
    # Not `format`: the name may have braces of its own.
    return form.replace("{name}", name)
