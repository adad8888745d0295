"""Helps with the names in a statement of the operator's. Functions of values.

A statement is not parsed: the database does that. What is found here decides only how an answer is
shown, or what is proposed after an error.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Final

LIST_TABLES: Final = """
SELECT table_schema AS "schema", table_name AS "table",
       CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END AS "type"
FROM information_schema.tables
WHERE table_schema NOT IN (
  'information_schema', 'pg_catalog', '_treadle', 'mysql', 'performance_schema', 'sys',
  'INFORMATION_SCHEMA', 'system', '_TREADLE'
)
ORDER BY table_schema, table_name
"""
"""All tables of all schemas that a person may ask for."""

_NAME: Final = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_SHOW_TABLES: Final = re.compile(r"\s*SHOW\s+(ALL\s+)?TABLES\s*;?\s*", re.IGNORECASE)
_STAR: Final = re.compile(
    rf"\s*(?:SELECT\s+\*\s+)?FROM\s+(?P<first>{_NAME})(?:\s*\.\s*(?P<second>{_NAME}))?"
    r"(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_JOINED: Final = re.compile(r"\s*(,|.*\b(JOIN|SELECT|UNION)\b)", re.IGNORECASE | re.DOTALL)
_FROM: Final = re.compile(
    rf"\b(?:FROM|JOIN)\s+({_NAME})(?:\s*\.\s*({_NAME}))?(?![\w.(])", re.IGNORECASE
)


def replace_show_tables(statement: str) -> str:
    """Return the statement that lists all tables in place of `SHOW TABLES`.

    DuckDB lists those of one schema, and treadle's are in others. PostgreSQL knows no such
    statement.
    """
    return LIST_TABLES if _SHOW_TABLES.fullmatch(statement) else statement


def find_whole_table(statement: str) -> tuple[str | None, str] | None:
    """Return schema and table if a statement shows all columns of one table; None if it does not.

    Returns:
        The schema is None where the statement names none.
    """
    found = _STAR.fullmatch(statement)
    if found is None or _JOINED.match(found["rest"]):
        return None
    first = _unquote(found["first"])
    return (None, first) if found["second"] is None else (first, _unquote(found["second"]))


def propose_table(statement: str, known: Iterable[tuple[str, str]]) -> str | None:
    """Return a sentence with the tables that a statement may have meant.

    Args:
        statement: one that failed because a table is missing.
        known: schema and name of all tables.

    Returns:
        None where none is like a name in the statement.
    """
    tables = list(known)
    for first, second in _FROM.findall(statement):
        schema, name = (_unquote(first), _unquote(second)) if second else ("", _unquote(first))
        if (schema, name) in tables:
            continue
        alike = [one for one in tables if one[1].lower() == name.lower()]
        if not alike:
            near = difflib.get_close_matches(name, {table for _, table in tables}, n=1)
            alike = [one for one in tables if one[1] in near]
        if alike:
            meant = " or ".join(f"{quote_name(of)}.{quote_name(table)}" for of, table in alike[:3])
            return f"did you mean {meant}?"
    return None


def quote_name(name: str) -> str:
    """Return a name as SQL takes it whatever it is."""
    return '"' + name.replace('"', '""') + '"'


def _unquote(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
