"""Has MariaDB refuse what MySQL 8 refuses: a temporary table that one statement names twice."""

import re
from typing import Any, Final

import pymysql
import pytest

from treadle.destinations.mysql.connection import MysqlConnection

NAME: Final = r"(?P<{}>(?:`[^`]*`\.)?`[^`]*`)"
MADE: Final = re.compile(r"CREATE TEMPORARY TABLE " + NAME.format("made"))
RENAMED: Final = re.compile(
    r"ALTER TABLE " + NAME.format("old") + " RENAME TO " + NAME.format("new")
)
DROPPED: Final = re.compile(r"DROP TEMPORARY TABLE IF EXISTS " + NAME.format("dropped"))


def find_reopened(statement: str, temporary: set[str]) -> str | None:
    """Return the temporary table that a statement names more than once.

    Args:
        statement: that is to be run.
        temporary: the temporary tables of the session; those that the statement makes, renames or
            drops are taken over.
    """
    for name in temporary:
        if statement.count(name) > 1:
            return name
    if found := MADE.match(statement):
        temporary.add(found["made"])
    elif (found := RENAMED.match(statement)) and found["old"] in temporary:
        temporary.remove(found["old"])
        temporary.add(found["new"])
    elif found := DROPPED.match(statement):
        temporary.discard(found["dropped"])
    return None


def refuse_reopened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Refuse such statements as MySQL does; returns a list that gets those that were refused."""
    fill = MysqlConnection._fill
    temporary: dict[int, set[str]] = {}
    refused: list[str] = []

    def judge(self: MysqlConnection, statement: Any, values: Any) -> str:
        name = find_reopened(statement, temporary.setdefault(id(self), set()))
        if name is not None:
            refused.append(statement)
            raise pymysql.err.OperationalError(1137, f"Can't reopen table: '{name}'")
        return fill(self, statement, values)

    monkeypatch.setattr(MysqlConnection, "_fill", judge)
    return refused
