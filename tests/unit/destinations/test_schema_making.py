"""Schemas that are made in steps, where one of the steps fails: whose the schema is then."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pymysql
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from google.api_core import exceptions

from treadle.destinations.bigquery import errors as bigquery_errors
from treadle.destinations.bigquery.dialect import BigqueryDialect
from treadle.destinations.clickhouse import errors as clickhouse_errors
from treadle.destinations.clickhouse.dialect import ClickhouseDialect
from treadle.destinations.layout import REJECTED
from treadle.destinations.mysql import errors as mysql_errors
from treadle.destinations.mysql.dialect import MysqlDialect
from treadle.destinations.snowflake import errors as snowflake_errors
from treadle.destinations.snowflake.dialect import SnowflakeDialect
from treadle.destinations.sql.catalogue import is_ready, make_schema_in_steps, read_owner
from treadle.destinations.sql.dialect import SqlDialect
from treadle.errors import TableStoppedError
from treadle.tables.schema_owner import SchemaOwner

OWNER = SchemaOwner("here", 1, 7)
TABLE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\S+)")


class ServiceError(Exception):
    """An error as the driver of Snowflake raises it."""

    def __init__(self, errno: int | None) -> None:
        super().__init__("what it says")
        self.errno = errno


@dataclass(frozen=True)
class ErrorPair:
    """What one kind of database raises, and how its errors are told apart."""

    dialect: Callable[[], SqlDialect]
    is_refused_change: Callable[[Exception], bool]
    taken: Exception
    """The schema is there by now."""
    passing: Exception


def _conflict() -> Exception:
    details = [{"reason": "duplicate", "message": "Already Exists: Dataset shop:web"}]
    failed: Exception = exceptions.Conflict("m", errors=details)  # type: ignore[no-untyped-call,unused-ignore]
    return failed


KINDS = {
    "bigquery": ErrorPair(
        BigqueryDialect,
        bigquery_errors.is_refused_change,
        _conflict(),
        exceptions.ServiceUnavailable("m"),
    ),
    "clickhouse": ErrorPair(
        ClickhouseDialect,
        clickhouse_errors.is_refused_change,
        DatabaseError("", code=82),
        DatabaseError("", code=241),
    ),
    "mysql": ErrorPair(
        partial(MysqlDialect, is_mariadb=False),
        mysql_errors.is_refused_change,
        pymysql.err.ProgrammingError(1007, "Can't create database 'web'; database exists"),
        pymysql.err.OperationalError(2013, "Lost connection"),
    ),
    "snowflake": ErrorPair(
        SnowflakeDialect,
        snowflake_errors.is_refused_change,
        ServiceError(2002),
        ServiceError(250003),
    ),
}


@dataclass
class SchemaList:
    """A connection to a database that has schemas, tables without columns, and owners.

    Attributes:
        fails: beginning of a statement -> the error that it raises.
        does: such a statement is done all the same, and its answer is lost.
    """

    kind: ErrorPair
    fails: dict[str, Exception] = field(default_factory=dict)
    does: bool = False
    schemas: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    owners: list[tuple[Any, ...]] = field(default_factory=list)
    errors = (Exception,)

    def __post_init__(self) -> None:
        self.dialect = self.kind.dialect()

    def is_missing(self, error: Exception) -> bool:
        return False

    def is_refused_change(self, error: Exception) -> bool:
        return self.kind.is_refused_change(error)

    def holds_schema(self, schema: str) -> bool:
        return str(self.dialect.schema(schema)) in self.schemas

    def holds_table(self, schema: str, name: str) -> bool:
        return str(self.dialect.place(schema, name)) in self.tables

    def holds_own_table(self, name: str) -> bool:
        return str(self.dialect.own(name)) in self.tables

    def list_relations(self, schema: str) -> set[str]:
        return set()

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        if not statement.startswith("SELECT installation_id"):
            return []
        return [owner[1:] for owner in self.owners if owner[0] == values[0]]

    def run(self, statement: str, *values: object) -> int:
        error = next((e for start, e in self.fails.items() if statement.startswith(start)), None)
        if error is None or self.does:
            self._do(statement, *values)
        if error is not None:
            raise error
        return 0

    def _do(self, statement: str, *values: object) -> None:
        if made := TABLE.match(statement):
            self.tables.add(made[1])
        elif statement.startswith("CREATE "):
            self.schemas.add(statement.split()[-1])
        elif statement.startswith("DELETE "):
            self.owners = [owner for owner in self.owners if owner[0] != values[0]]
        else:
            self.owners.append(values)


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def database(request: pytest.FixtureRequest) -> Any:
    return SchemaList(request.param)


def _spell(database: SchemaList, rest: str) -> str:
    return f"CREATE {rest}".replace("{word}", database.dialect.schema_word)


def _making(database: SchemaList) -> str:
    """The beginning of the statement that makes the schema."""
    absent = "" if database.dialect.locks_all else "IF NOT EXISTS "
    return _spell(database, f"{{word}} {absent}{database.dialect.schema('web')}")


def test_a_schema_stays_its_owners_when_a_table_in_it_cannot_be_made(database: Any) -> None:
    """Without an owner it would be nobody's: it is there already then."""
    rejected = database.dialect.place("web", REJECTED)
    database.fails = {f"CREATE TABLE IF NOT EXISTS {rejected}": database.kind.passing}
    with pytest.raises(type(database.kind.passing)):
        make_schema_in_steps(database, "web", OWNER)
    assert database.holds_schema("web")
    assert read_owner(database, "web") == OWNER
    database.fails = {}
    make_schema_in_steps(database, "web", OWNER)
    assert is_ready(database, "web", OWNER)


@pytest.mark.parametrize("does", [True, False], ids=["done", "not done"])
def test_a_schema_is_its_owners_when_its_making_is_not_answered(database: Any, does: bool) -> None:
    database.fails, database.does = {_making(database): database.kind.passing}, does
    with pytest.raises(type(database.kind.passing)):
        make_schema_in_steps(database, "web", OWNER)
    assert database.holds_schema("web") is does
    database.fails = {}
    make_schema_in_steps(database, "web", OWNER)
    assert is_ready(database, "web", OWNER)
    assert database.owners == [("web", "here", 1, 7)]


def test_a_schema_that_somebody_else_made_meanwhile_is_not_taken(database: Any) -> None:
    database.fails = {_making(database): database.kind.taken}
    with pytest.raises(type(database.kind.taken)):
        make_schema_in_steps(database, "web", OWNER)
    assert read_owner(database, "web") is None
    database.schemas.add(str(database.dialect.schema("web")))
    with pytest.raises(TableStoppedError, match="was not made for this one"):
        make_schema_in_steps(database, "web", OWNER)
