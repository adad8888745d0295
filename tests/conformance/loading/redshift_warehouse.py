"""Looks into Redshift with psycopg, not with treadle's code."""

import json
from typing import Any

import psycopg
from psycopg import sql
from tests.conformance.loading.warehouse import FoundTable, Postgres, plain

from treadle.destinations.redshift_form import RedshiftUrl

KINDS = {
    "bigint": "bigint",
    "boolean": "boolean",
    "character varying": "text",
    "double precision": "double",
    "numeric": "decimal",
    "timestamp without time zone": "timestamp",
}


class Redshift(Postgres):
    """A schema of a database."""

    name = "redshift"
    display_name = "Amazon Redshift"

    def __init__(self, url: str, schema: str) -> None:
        super().__init__(RedshiftUrl.parse(url).format_libpq(), schema)

    def _table(self, connection: psycopg.Connection[tuple[Any, ...]], name: str) -> FoundTable:
        columns = connection.execute(
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
            (self._schema, name),
        ).fetchall()
        notes = connection.execute(
            "SELECT coalesce(a.attname, ''), d.description FROM pg_description d "
            "JOIN pg_class r ON r.oid = d.objoid JOIN pg_namespace n ON n.oid = r.relnamespace "
            "LEFT JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = d.objsubid "
            "AND d.objsubid > 0 WHERE n.nspname = %s AND r.relname = %s",
            (self._schema, name),
        ).fetchall()
        noted: dict[str, str] = dict(notes)
        rows = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)))
        key = json.loads(noted.get("", "{}")).get("primary_keys", [])
        return FoundTable(
            [(one, noted.get(one) or KINDS.get(kind, kind)) for one, kind in columns],
            frozenset(key) & {one for one, _ in columns},
            [tuple(_plain(value) for value in row) for row in rows],
        )


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat") and value.tzinfo is None:
        return value.isoformat().removesuffix(".000000") + "Z"
    return plain(value)
