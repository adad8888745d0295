"""Compares what a contender left in a database with what must be there.

Both sides are brought to one text per row, and the texts to a count and a sum of hashes, so that a
million rows cost a second. Where these differ, the columns that are wrong are named.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from benchmarks.workloads import Record, Workload

Query = Callable[[str], list[tuple[Any, ...]]]
HASHED = 15
"""Hexadecimal digits of a row's MD5 that are summed."""


@dataclass(frozen=True)
class Sum:
    """Rows of one table, whatever their order."""

    rows: int
    total: int


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "created_at":
        return str(_seconds(value))
    if name == "amount":
        return str(round(value * 1000))
    if name == "active":
        return "1" if value else "0"
    return str(value)


@lru_cache(100_000)
def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp())


def _sum(rows: Iterable[str]) -> Sum:
    count = total = 0
    md5 = hashlib.md5
    for row in rows:
        count += 1
        total += int(md5(row.encode()).hexdigest()[:HASHED], 16)
    return Sum(count, total)


ROOT = ("id", "name", "email", "amount", "quantity", "active", "created_at", "note")
INSIDE = ("street", "city")


class Model:
    """What the tables of a workload must hold at its end."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.fields: tuple[str, ...] = ROOT
        if workload.name == "W3":
            self.fields = (*ROOT, *INSIDE)
        if workload.name == "W4":
            self.fields = (*ROOT, "extra")
        self.root = _sum("|".join(self._cells(record)) for _, record in workload.expected())
        self.children: Sum | None = None
        if workload.name == "W3":
            self.children = _sum(
                f"{item['sku']}|{item['pieces']}"
                for _, record in workload.expected()
                for item in record["items"]
            )

    def _cells(self, record: Record, fields: Sequence[str] | None = None) -> list[str]:
        found = []
        for name in fields or self.fields:
            if name in INSIDE:
                value = record["address"][name]
            elif name == "extra":
                value = next((v for k, v in record.items() if k.startswith("extra_")), None)
            else:
                value = record[name]
            found.append(_cell(name, value))
        return found

    def faults(self, found: "Found") -> list[str]:
        """What is wrong with the tables of a contender; nothing when all is right."""
        try:
            return self._faults(found)
        except Exception as error:  # noqa: BLE001 - whatever is there, it is not what was asked for
            return [f"the tables cannot be read as they should be: {str(error).splitlines()[0]}"]

    def _faults(self, found: "Found") -> list[str]:
        faults = []
        rows = found.sum(self.fields)
        if rows.rows != self.root.rows:
            faults.append(f"{rows.rows} rows, expected {self.root.rows}")
        elif rows != self.root:
            wrong = [
                name
                for name in self.fields
                if found.sum((name,))
                != _sum(self._cells(record, (name,))[0] for _, record in self.workload.expected())
            ]
            faults.append(f"wrong values in {', '.join(wrong) or 'the same rows'}")
        if self.children is not None:
            children = found.children()
            if children.rows != self.children.rows:
                faults.append(f"{children.rows} children, expected {self.children.rows}")
            elif children != self.children:
                faults.append("wrong values in children")
        return faults


class Found:
    """Tables of a contender in PostgreSQL, DuckDB, MariaDB or ClickHouse.

    Args:
        query: runs a statement.
        schema: where the tables are.
        tables: their names in order.
        engine: "postgres", "duckdb", "mysql" or "clickhouse".
    """

    def __init__(self, query: Query, schema: str, tables: Sequence[str], engine: str) -> None:
        self._query = query
        self._schema = schema
        self._tables = tables
        self._engine = engine
        self._columns: Mapping[str, str] = dict(
            query(
                "SELECT column_name, data_type FROM information_schema.columns"
                f" WHERE table_schema = '{schema}' AND table_name = '{tables[0]}'"
            )
        )
        if not self._columns:
            raise ValueError(f"there is no table {schema}.{tables[0]}")

    def sum(self, fields: Sequence[str]) -> Sum:
        cells = ", ".join(f"coalesce({self._cell(name)}, '')" for name in fields)
        rows = total = 0
        for start in range(0, len(self._tables), 200):
            every = " UNION ALL ".join(
                f"SELECT concat_ws('|', {cells}) AS line FROM {self._schema}.{table}"
                for table in self._tables[start : start + 200]
            )
            some = self._summed(every)
            rows, total = rows + some.rows, total + some.total
        return Sum(rows, total)

    def children(self) -> Sum:
        root = self._tables[0]
        table = f"{root}__items"
        if self._query(
            "SELECT 1 FROM information_schema.tables"
            f" WHERE table_schema = '{self._schema}' AND table_name = '{table}'"
        ):
            return self._summed(
                f"SELECT concat_ws('|', sku, pieces) AS line FROM {self._schema}.{table}"
            )
        if self._engine == "postgres":
            each = "jsonb_array_elements(items::jsonb)"
            if self._columns.get("items") == "ARRAY":
                each = "unnest(items)"
            return self._summed(
                "SELECT concat_ws('|', e->>'sku', e->>'pieces') AS line"
                f" FROM {self._schema}.{root}, {each} e"
            )
        raise ValueError(f"there is no table {self._schema}.{table}")

    def _summed(self, rows: str) -> Sum:
        digits = (
            f"concat(repeat('0', {16 - HASHED}), substring(lower(hex(MD5(line))), 1, {HASHED}))"
        )
        number = {
            "clickhouse": f"toUInt128(reinterpretAsUInt64(reverse(unhex({digits}))))",
            "duckdb": f"('0x' || substr(md5(line), 1, {HASHED}))::BIGINT",
            "mysql": f"CAST(conv(substr(md5(line), 1, {HASHED}), 16, 10) AS UNSIGNED)",
            # bit(60) would be read from the left; pad to 64 bits.
            "postgres": f"('x' || lpad(substr(md5(line), 1, {HASHED}), 16, '0'))::bit(64)::bigint",
        }[self._engine]
        ((count, total),) = self._query(
            f"SELECT count(*), coalesce(sum({number}), 0) FROM ({rows}) q"
        )
        return Sum(int(count), int(total))

    def _cell(self, name: str) -> str:
        if name in INSIDE:
            for column in (f"address__{name}", f"address_{name}"):
                if column in self._columns:
                    return column
            if "address" in self._columns:
                return f"address::jsonb->>'{name}'"
        places = [
            column
            for column in self._columns
            if column == name or column.startswith((f"{name}__", f"{name}_0"))
        ]
        if not places and name == "extra":  # too few records for the first of them
            return "''"
        if not places:
            raise ValueError(f"there is no column for {name}, only {', '.join(self._columns)}")
        return "coalesce(" + ", ".join(self._as_text(name, column) for column in places) + ")"

    def _as_text(self, name: str, column: str) -> str:
        type_ = self._columns[column].lower()
        if self._engine == "mysql":
            return self._as_mysql_text(name, column)
        if self._engine == "clickhouse":
            return self._as_clickhouse_text(name, column)
        if name == "amount":
            wide = "numeric" if self._engine == "postgres" else "DOUBLE"
            return f"round({column}::{wide} * 1000)::bigint::text"
        if name == "active":
            return f"{column}::boolean::int::text"
        if name == "created_at":
            if type_.startswith("timestamp"):
                return f"extract(epoch from {column})::bigint::text"
            return f"extract(epoch from {column}::timestamptz)::bigint::text"
        if name == "quantity" and type_ in ("double precision", "double", "numeric"):
            return f"{column}::bigint::text"
        return f"{column}::text"

    @staticmethod
    def _as_mysql_text(name: str, column: str) -> str:
        shown = {
            "amount": f"CAST(round({column} * 1000) AS SIGNED)",
            "active": f"CAST({column} AS SIGNED)",
            "created_at": f"TIMESTAMPDIFF(SECOND, '1970-01-01', {column})",
            "quantity": f"CAST({column} AS SIGNED)",
        }
        return f"CAST({shown.get(name, column)} AS CHAR)"

    @staticmethod
    def _as_clickhouse_text(name: str, column: str) -> str:
        shown = {
            "amount": f"toInt64(round({column} * 1000))",
            "active": f"toUInt8({column})",
            "created_at": f"toUnixTimestamp({column})",
            "quantity": f"toInt64({column})",
        }
        return f"toString({shown.get(name, column)})"
