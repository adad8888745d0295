"""The door of the emulator of Snowflake: fakesnow's server, with what it lacks added to it.

It runs in an environment of its own, where fakesnow is (`tests.servers.snowflake`), and imports
nothing of treadle. What it changes, and no more:

- MERGE is run by DuckDB's own MERGE. fakesnow takes it apart by way of a temporary table, which
  DuckDB does not let a transaction make that writes to another database.
- A schema change commits what is open first, as Snowflake does. `BEGIN TRANSACTION NAME n` is
  taken without the name, and `CURRENT_TRANSACTION()` gives a number. Without autocommit a statement
  that writes begins a transaction.
- An UPDATE of the table by which treadle's transactions take turns waits for the one before it, and
  a statement outside of a transaction that meets another one is run again. DuckDB refuses both.
- A temporary table is found by the name of its schema and its own.
- `CREATE TABLE ... LIKE` and `CLONE` keep the key and NOT NULL. A key is dropped and added, and a
  column dropped that stands before one of the key, by making the table anew.
- The stage of the user, `@~`, is there, and a folder of it can be emptied.
- `TO_TIMESTAMP_TZ(n, 6)` is exact; fakesnow's goes by way of a double.
- NULL in a column of timestamps is sent as NULL, not as 1970.
- Errors of DuckDB that fakesnow answers with HTTP 500 get the numbers of Snowflake.
- A login with another user or password than those given is refused.
"""

import itertools
import json
import re
import shutil
import sys
import threading
import time
from typing import Any

import duckdb
import fakesnow.arrow as arrow
import fakesnow.copy_into as copy_into
import fakesnow.cursor as cursors
import fakesnow.expr
import fakesnow.server as front
import fakesnow.transforms as transforms
import pyarrow as pa
import sqlglot
import uvicorn
from fakesnow.transforms import stage
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

FAULTS: list[tuple[type[Exception], str, int, str]] = [
    (duckdb.ConstraintException, "NOT NULL", 100072, "22000"),
    (duckdb.ConstraintException, "", 100132, "22000"),
    (duckdb.TransactionException, "onflict", 625, "57014"),
    (duckdb.DependencyException, "", 2200, "42000"),
    (duckdb.InvalidInputException, "", 100132, "22000"),
    (duckdb.OutOfRangeException, "", 100038, "22018"),
    (duckdb.InterruptException, "", 604, "57014"),
]
"""Error of DuckDB, a part of its text -> number and state of Snowflake."""

COPY = re.compile(
    r"CREATE OR REPLACE TABLE (?P<copy>\S+) (?P<how>LIKE|CLONE) (?P<live>\S+)(?: COPY GRANTS)?"
)
KEY = re.compile(r"ALTER TABLE (?P<table>\S+) (?:DROP|ADD) PRIMARY KEY(?: \((?P<key>.+)\))?")
COLUMN = re.compile(r"ALTER TABLE (?P<table>\S+) DROP COLUMN (?P<column>\S+)")
TEMPORARY = re.compile(r'"_TREADLE"\."(TREADLE_\w+)"')
INSTANT = re.compile(r"TO_TIMESTAMP_TZ\(((?:s\.|column)\w+), 6\)")
SINCE_1970 = r"MAKE_TIMESTAMPTZ(\1)"
TURN = re.compile(r'UPDATE "_TREADLE"\."TURNS" .*')
REMOVE = re.compile(r"REMOVE @~/(?P<folder>\S+)/")
LOCK_SECONDS_MAX = 15
SCHEMA_CHANGES = (exp.Alter, exp.Comment, exp.Create, exp.Drop)

TURNS: dict[str, threading.Lock] = {}
HOLDERS: dict[Any, threading.Lock] = {}
"""Connection -> the lock that it has."""
OPEN: dict[Any, int] = {}
"""Connection with a transaction -> its number."""
NUMBERS = itertools.count(1_700_000_000_000_000_000)
MANUAL: set[Any] = set()
"""Connections without autocommit."""
WRITES = ("DELETE ", "INSERT ", "MERGE ", "UPDATE ")

_execute = cursors.FakeSnowflakeCursor._execute
_run = cursors.FakeSnowflakeCursor.execute
_key_command = fakesnow.expr.key_command
_parse_one = front.parse_one
_lookup = stage.stage_lookup_sql
_send_timestamps = arrow.timestamp_to_sf_struct
_parts = stage.parts_from_var
_stage_url = copy_into.stage_url_from_var


def execute(self: Any, transformed: Any, params: Any = None) -> None:
    """Run a statement in DuckDB's words."""
    if isinstance(transformed, SCHEMA_CHANGES):
        commit(self)
    if isinstance(transformed, exp.Create) and transformed.find(exp.TemporaryProperty):
        # fakesnow notes what was loaded into a table, by the name of its database.
        self._duck_conn.execute(transformed.sql(dialect="duckdb"))
        transformed = exp.select("1")
    try:
        _execute(self, transformed, params)
    except tuple({kind for kind, *_ in FAULTS}) as error:
        text = str(error).split("\n")[0]
        for kind, part, number, state in FAULTS:
            if isinstance(error, kind) and part in str(error):
                raise ProgrammingError(msg=text, errno=number, sqlstate=state) from error
        raise


def commit(self: Any) -> None:
    """Commit what is open, if anything is."""
    OPEN.pop(self._conn, None)
    leave_turn(self)
    try:
        self._duck_conn.commit()
    except duckdb.TransactionException:
        return


def take_turn(self: Any) -> None:
    """Wait for the lock that an UPDATE of the table of turns takes."""
    turn = TURNS.setdefault(self._conn.database, threading.Lock())
    if self._conn not in HOLDERS and not turn.acquire(timeout=LOCK_SECONDS_MAX):
        raise ProgrammingError(msg="the lock is another's", errno=625, sqlstate="57014")
    HOLDERS[self._conn] = turn


def leave_turn(self: Any) -> None:
    """Let go of that lock, if this connection has it."""
    if turn := HOLDERS.pop(self._conn, None):
        turn.release()


def run(self: Any, command: str, *args: Any, **kwargs: Any) -> Any:
    """Run a statement of a client."""
    command = INSTANT.sub(SINCE_1970, command)
    command = TEMPORARY.sub(r'"temp"."main"."\1"', command)
    text = " ".join(command.split())
    if found := COPY.fullmatch(text):
        commit(self)
        copy_table(self, found["live"], found["copy"], with_rows=found["how"] == "CLONE")
        command = "SELECT 'done' AS status"
    elif found := KEY.fullmatch(text):
        commit(self)
        key = [part.strip().strip('"') for part in (found["key"] or "").split(",") if part]
        copy_table(self, found["table"], found["table"], with_rows=True, key=key)
        command = "SELECT 'done' AS status"
    elif found := COLUMN.fullmatch(text):
        commit(self)
        gone = split_place(self, found["column"])[1]
        copy_table(self, found["table"], found["table"], with_rows=True, without=gone)
        command = "SELECT 'done' AS status"
    elif text.startswith("BEGIN TRANSACTION"):
        command = "BEGIN TRANSACTION"
        OPEN[self._conn] = next(NUMBERS)
    elif found := REMOVE.fullmatch(text):
        home = stage.internal_dir(f"{self._conn.database}.~.~").rstrip("/")
        shutil.rmtree(f"{home}/{found['folder']}", ignore_errors=True)
        command = "SELECT 'done' AS status"
    elif text.startswith("ALTER SESSION SET AUTOCOMMIT = "):
        (MANUAL.add if text.endswith("FALSE") else MANUAL.discard)(self._conn)
        command = "SELECT 'done' AS status"
    elif text == "SELECT CURRENT_TRANSACTION()":
        number = OPEN.get(self._conn)
        command = f"SELECT {'NULL' if number is None else repr(str(number))} AS found"
    elif self._conn in MANUAL and self._conn not in OPEN and text.startswith(WRITES):
        run(self, "BEGIN TRANSACTION")
    if TURN.fullmatch(text):
        take_turn(self)
    try:
        return run_again(self, command, *args, **kwargs)
    finally:
        if text in ("COMMIT", "ROLLBACK"):
            OPEN.pop(self._conn, None)
        if self._conn not in OPEN:
            leave_turn(self)


def run_again(self: Any, command: str, *args: Any, **kwargs: Any) -> Any:
    """Run a statement, and again where DuckDB refuses what Snowflake lets wait."""
    for _ in range(40):
        try:
            return _run(self, command, *args, **kwargs)
        except ProgrammingError as error:
            if error.errno != 625 or self._conn in OPEN:
                raise
            time.sleep(0.05)
    return _run(self, command, *args, **kwargs)


def split_place(self: Any, place: str) -> tuple[str, str]:
    """Return schema and name of a table that is named in a statement."""
    parts = [part[1:-1] if part[0] == '"' else part.upper() for part in place.split(".")]
    return (parts[0], parts[1]) if len(parts) > 1 else (self._conn.schema, parts[0])


def copy_table(
    self: Any,
    live: str,
    copy: str,
    *,
    with_rows: bool,
    key: list[str] | None = None,
    without: str = "",
) -> None:
    """Make a table with the columns of another one, and its key if no other is given."""
    schema, table = split_place(self, live)
    place = [self._conn.database, schema, table]
    run = self._duck_conn.execute
    columns = run(
        "SELECT column_name, data_type, is_nullable, column_default FROM duckdb_columns()"
        " WHERE database_name = ? AND schema_name = ? AND table_name = ? ORDER BY column_index",
        place,
    ).fetchall()
    kept = ", ".join(f'"{column[0]}"' for column in columns if column[0] != without)
    if not columns:
        raise ProgrammingError(msg=f"Object '{live}' does not exist", errno=2003, sqlstate="42S02")
    if key is None:
        held = run(
            "SELECT constraint_column_names FROM duckdb_constraints()"
            " WHERE database_name = ? AND schema_name = ? AND table_name = ?"
            " AND constraint_type = 'PRIMARY KEY'",
            place,
        ).fetchall()
        key = [name for (names,) in held for name in names]
    made = [
        f'"{name}" {kind}{"" if nullable else " NOT NULL"}'
        + (f" DEFAULT {default}" if default is not None else "")
        for name, kind, nullable, default in columns
        if name != without
    ]
    if key:
        made.append("PRIMARY KEY (" + ", ".join(f'"{name}"' for name in key) + ")")
    database = f'"{self._conn.database}"'
    new = f'{database}."{schema}"."_FS_COPY"'
    run(f"CREATE TABLE {new} ({', '.join(made)})")
    if with_rows:
        run(f'INSERT INTO {new} SELECT {kept} FROM {database}."{schema}"."{table}"')
    to_schema, to_table = split_place(self, copy)
    run(f'DROP TABLE IF EXISTS {database}."{to_schema}"."{to_table}"')
    if to_schema == schema:
        run(f'ALTER TABLE {new} RENAME TO "{to_table}"')
        return
    run(f'CREATE TABLE {database}."{to_schema}"."{to_table}" ({", ".join(made)})')
    run(f'INSERT INTO {database}."{to_schema}"."{to_table}" SELECT * FROM {new}')
    run(f"DROP TABLE {new}")


def send_timestamps(column: Any) -> Any:
    """Return timestamps as the driver takes them, NULL among them."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    made = _send_timestamps(column)
    fields = [made.type.field(number) for number in range(made.type.num_fields)]
    return pa.StructArray.from_arrays(made.flatten(), fields=fields, mask=column.is_null())


def key_command(expression: Any) -> str:
    """Name a MERGE as a statement whose rows are counted."""
    return "INSERT" if isinstance(expression, exp.Merge) else _key_command(expression)


def parse_one(text: str) -> Any:
    """Parse a statement; the service takes no more than one."""
    try:
        found = sqlglot.parse(text, read="snowflake")
    except sqlglot.ParseError:
        return _parse_one(text)  # which says what is wrong
    if sum(each is not None for each in found) > 1:
        raise ProgrammingError(msg="the statement count is not 1", errno=8, sqlstate="0A000")
    return _parse_one(text)


def lookup(catalog: str, schema: str, name: str, *rest: Any) -> str:
    """Find the stage of the user everywhere."""
    if name == "~":
        return f"SELECT '{catalog}.~.~' AS storage_name"
    return str(_lookup(catalog, schema, name, *rest))


def find_parts(var: str, current_database: str | None, current_schema: str | None) -> Any:
    """Take the name of a stage to pieces; that of the user is in no schema."""
    if var == "~":
        return current_database, "~", "~"
    return _parts(var, current_database=current_database, current_schema=current_schema)


def find_url(var: str, duck_conn: Any, database: str, schema: str, *rest: Any) -> str:
    """Find the files of the stage of the user."""
    name, _, path = var.partition("/")
    if name != "~":
        return str(_stage_url(var, duck_conn, database, schema, *rest))
    return f"{stage.internal_dir(f'{database}.~.~').rstrip('/')}/{path}"


def make_login(user: str, password: str) -> Any:
    """Return a login that looks at the password."""

    async def log_in(request: Request) -> JSONResponse:
        body = await request.body()
        if request.headers.get("Content-Encoding") == "gzip":
            body = front.gzip.decompress(body)
        data = json.loads(body)["data"]
        if (data.get("LOGIN_NAME"), data.get("PASSWORD")) != (user, password):
            return JSONResponse(
                {
                    "data": {"nextAction": "RETRY_LOGIN", "authnMethod": "USERNAME_PASSWORD"},
                    "code": "390100",
                    "message": "Incorrect username or password was specified.",
                    "success": False,
                }
            )
        answer = json.loads((await front.login_request(request)).body)
        # Without it the driver does not end the session when it closes.
        answer["data"]["masterToken"] = answer["data"]["token"]
        return JSONResponse(answer)

    return log_in


def main(port: int, user: str, password: str) -> None:
    """Serve until the process is ended."""
    transforms.merge = lambda expression: [expression]
    cursors.FakeSnowflakeCursor._execute = execute
    cursors.FakeSnowflakeCursor.execute = run
    fakesnow.expr.key_command = key_command
    front.parse_one = parse_one
    stage.stage_lookup_sql = lookup
    stage.parts_from_var = find_parts
    copy_into.stage_url_from_var = find_url
    arrow.timestamp_to_sf_struct = send_timestamps
    cursors.FakeSnowflakeCursor.check_db_and_schema = lambda self, expression: None
    login = Route("/session/v1/login-request", make_login(user, password), methods=["POST"])
    front.app.router.routes.insert(0, login)
    uvicorn.run(front.app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
