"""A connection to ClickHouse over HTTP, by clickhouse-connect."""

import logging
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error, OperationalError
from urllib3.exceptions import HTTPError

from treadle import failpoint
from treadle.counting import count_noun, count_subject
from treadle.destinations.clickhouse.dialect import REMEMBERING, ClickhouseDialect
from treadle.destinations.clickhouse.errors import (
    UNCERTAIN,
    error_code,
    is_missing,
    is_refused_change,
    server_message,
    translate,
)
from treadle.destinations.clickhouse.row_format import (
    ANSWER_FORMAT,
    BrokenAnswerError,
    encode_rows,
    read_answer,
    read_value,
)
from treadle.destinations.layout import PRIVATE_SCHEMA, partition_columns
from treadle.destinations.protocol import (
    CommitUnknownError,
    DestinationUnavailableError,
    QueryResult,
    QueryStream,
    ValueBatch,
)
from treadle.destinations.sql.connection import STREAMED_ROWS, Field, SqlConnection
from treadle.destinations.sql.text import Quoted, compose, join
from treadle.destinations.sql.upsert import StagedRows
from treadle.errors import TreadleError
from treadle.tables.arrow_column import TypedColumn
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, RelationRows

_BOUNDED: Final = "distinct group_by join read result set sort timeout transfer"
OVERFLOW_MODES: Final = (
    *(f"{what}_overflow_mode" for what in _BOUNDED.split()),
    *("read_overflow_mode_leaf", "timeout_overflow_mode_leaf"),
)
"""Settings of what comes where a bound is reached: an error, or a part of the rows."""

SETTINGS: Final[Mapping[str, Any]] = {
    "final": 1,
    "join_use_nulls": 1,
    # An INSERT is done when it is answered, whole, and not twice.
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_insert": "enable",
    "insert_allow_materialized_columns": 1,
    "input_format_null_as_default": 0,
    "insert_null_as_default": 0,
    "max_insert_block_size": 1 << 30,
    "min_insert_block_size_rows": 1 << 30,
    "min_insert_block_size_bytes": 1 << 30,
    # A SELECT gives all rows that were answered for, also those that another replica took, or an
    # error. A profile of the user may say otherwise.
    "select_sequential_consistency": 1,
    "use_query_cache": 0,
    **dict.fromkeys(OVERFLOW_MODES, "throw"),
    # A schema change is done when it is answered, too.
    "alter_sync": 2,
    "mutations_sync": 2,
    "lightweight_deletes_sync": 2,
    "max_table_size_to_drop": 0,
    "max_partition_size_to_drop": 0,
    "max_query_size": 1 << 28,
    # Values as Python can read them.
    "session_timezone": "UTC",
    "date_time_output_format": "iso",
    "output_format_json_quote_denormals": 1,
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_decimals": 0,
    "http_write_exception_in_output_format": 0,
}
"""Settings of each statement. One that a server does not know is left out by the driver."""

UNKNOWN_INSERT: Final[Mapping[str, Any]] = {
    "insert_deduplicate": 0,
    "deduplicate_insert": "disable",
}
"""Settings of an INSERT without a token. A server that knows the second goes by it."""

_MARK: Final = re.compile(r"`(?:[^`\\]|\\.)*`|'(?:[^'\\]|\\.)*'|\$(\d+)", re.DOTALL)
"""A quoted name, a quoted text, or the place of a value."""

logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)  # what it warns of, it raises

STAGED: Final = "rows_"
"""Beginning of the names of tables with the staged rows of a load."""


class ClickhouseConnection(SqlConnection):
    """One connection. There are no transactions: each statement is done when it is answered.

    Attributes:
        token: of the load that is under way. With a number, it keeps the server from taking an
            INSERT twice that the driver had to repeat.
    """

    dialect: ClickhouseDialect
    driver: Client
    errors = (Error, HTTPError, BrokenAnswerError, UnicodeEncodeError)
    translate = staticmethod(translate)
    is_missing = staticmethod(is_missing)
    is_refused_change = staticmethod(is_refused_change)
    message = staticmethod(server_message)

    def __init__(self, driver: Client, *, read_only: bool = False) -> None:
        self.dialect = ClickhouseDialect()
        self.driver = driver
        self.token = ""
        self._inserts = 0
        self._read_only = read_only
        self._is_closed = False
        self._staged: dict[Quoted, int] = {}
        """Place of a stage -> rows that were sent there."""
        self._title = secrets.token_hex(6)
        self._streamed = ""

    # --- statements -------------------------------------------------------------------------------

    def run(self, statement: Quoted, *values: object) -> int:
        """Execute a statement. Nobody tells how many rows it wrote."""
        settings = self._make_token() if statement.lstrip().startswith("INSERT") else {}
        self._ask(self._fill(statement, values), settings)
        return 0

    def rows(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        """Execute a statement and fetch all rows."""
        return self._read(self._fill(statement, values), {}).rows

    def query(self, statement: str) -> QueryResult:
        """Run one statement of the operator's; the server takes no more than one."""
        return self._read(statement, {"readonly": 2} if self._read_only else {})

    def run_within(self, statement: str, seconds: float) -> list[tuple[Any, ...]]:
        """Run a question, which the server ends when it takes too long."""
        return self._read(statement, {"max_execution_time": seconds}).rows

    @contextmanager
    def stream_query(self, statement: str) -> Iterator[QueryStream]:
        """Run one statement of the operator's, and give its rows as they come."""
        with self.stream(statement, {"readonly": 2} if self._read_only else {}) as lines:
            names, types, rows = read_answer(lines)
            yield QueryStream(tuple(names), _batch(types, rows))

    @contextmanager
    def stream(self, statement: str, settings: Mapping[str, Any]) -> Iterator[Iterator[bytes]]:
        """Run a statement, and give the lines of its answer; to stop early ends it."""
        self._check_open()
        self._streamed = secrets.token_hex(16)
        answer: Any = self.driver.raw_stream(
            statement,
            settings={**settings, "query_id": self._streamed},
            transport_settings={"X-ClickHouse-Format": ANSWER_FORMAT},
        )
        try:
            yield iter(answer)
        finally:
            with suppress(*self.errors, OSError):
                answer.close()

    def interrupt(self) -> None:
        """End the statement whose answer is streamed; may be called from any thread.

        That of a load is not ended: whether its INSERT was done would not be known.
        """
        with suppress(*self.errors):
            self.driver.raw_query(f"KILL QUERY WHERE query_id = '{self._streamed}' ASYNC")

    def _read(self, statement: str, settings: Mapping[str, Any]) -> QueryResult:
        names, types, rows = read_answer(self._ask(statement, settings).splitlines())
        read = [
            tuple(read_value(type_, value) for type_, value in zip(types, row, strict=True))
            for row in rows
        ]
        return QueryResult(tuple(names), read)

    def _ask(self, statement: str, settings: Mapping[str, Any]) -> bytes:
        self._check_open()
        return self.driver.raw_query(
            statement,
            settings=dict(settings),
            transport_settings={"X-ClickHouse-Format": ANSWER_FORMAT},
        )

    def _check_open(self) -> None:
        if self._is_closed:
            raise OperationalError("the session is closed")

    def _fill(self, statement: Quoted, values: Sequence[object]) -> str:
        """Return a statement with its values in place of `$1`."""
        if not values:
            return statement

        def fill(found: re.Match[str]) -> str:
            number = found[1]
            return found[0] if number is None else self.dialect.literal(values[int(number) - 1])

        return _MARK.sub(fill, statement)

    def begin(self, purpose: str = "load") -> None:
        """Do nothing: there are no transactions."""

    def commit(self) -> None:
        """Do nothing: what was answered is done."""

    def rollback(self) -> None:
        """Do nothing: what was answered is done."""

    def close(self) -> None:
        """Close the connection."""
        self._is_closed = True
        with suppress(*self.errors):
            self.driver.close_connections()

    def translate_commit(self, error: Exception) -> TreadleError:
        """Return what an error of the INSERT means that commits a load."""
        if error_code(error) in UNCERTAIN:
            return CommitUnknownError(
                f"the connection to ClickHouse broke while a load was committed: "
                f"{self.message(error)}"
            )
        return self.translate(error)

    # --- rows -------------------------------------------------------------------------------------

    def begin_load(self, token: str) -> None:
        """Give the INSERTs from now on tokens of a load."""
        self.token, self._inserts = token, 0

    def _make_token(self) -> dict[str, Any]:
        """Return the settings of an INSERT: it has a token of its own, or is taken as it is.

        A replicated table knows an INSERT without a token by its rows, and would leave out one that
        writes again what was there before, such as an intent that is emptied once more.
        """
        if not self.token:
            known = self.driver.server_settings
            return {name: value for name, value in UNKNOWN_INSERT.items() if name in known}
        self._inserts += 1
        return {"insert_deduplication_token": f"{self.token}:{self._inserts}"}

    def stage(self, rows: RelationRows, title: str) -> StagedRows:
        """Send rows to a table of their own, until `release`."""
        given, _ = partition_columns(rows)
        columns = {column.name: Quoted(f"c{number:d}") for number, column in enumerate(given)}
        fields = [(columns[each.name], each, rows.columns[each.name]) for each in given]
        entries = len(rows.entries) == len(rows)
        if entries:
            entry = Column("entry", "entry", ColumnType.BIGINT, nullable=False)
            fields.append((Quoted("entry"), entry, rows.entries))
        stage = StagedRows(self._send(title, fields), columns, entries)
        failpoint.reach("destination.staged")
        return stage

    def send(self, title: str, fields: Sequence[Field]) -> Quoted:
        """Send values to a new table."""
        made = [(name, Column(str(name), str(name), type_), v) for name, type_, v in fields]
        return self._send(title, made)

    def _send(self, title: str, fields: Sequence[tuple[Quoted, Column, TypedColumn]]) -> Quoted:
        place = self.dialect.quote(PRIVATE_SCHEMA, f"{STAGED}{self._title}_{title}")
        self._staged[place] = len(fields[0][2])
        self.run(
            compose(
                # On disk: one in memory is empty after a restart, and lives on one replica alone.
                "CREATE OR REPLACE TABLE {place} ({columns}) ENGINE = MergeTree ORDER BY tuple()"
                " SETTINGS {remembering}",
                place=place,
                remembering=REMEMBERING,
                columns=join(
                    ", ",
                    (
                        compose("{name} {type}", name=name, type=self.dialect.define_staged(column))
                        for name, column, _ in fields
                    ),
                ),
            )
        )
        self._insert(place, [(str(name), name, column, values) for name, column, values in fields])
        return place

    def release(self) -> None:
        """Drop what was staged."""
        with suppress(*self.errors):
            while self._staged:
                place, _ = self._staged.popitem()
                self.run(compose("DROP TABLE IF EXISTS {place} SYNC", place=place))

    def check_stages(self) -> None:
        """Check that what was staged is there still, as it was sent.

        Raises:
            DestinationUnavailableError: it is not, so what was copied from there may lack rows.
        """
        if not self._staged:
            return
        counts = (compose("(SELECT count() FROM {place})", place=place) for place in self._staged)
        [found] = self.rows(compose("SELECT {counts}", counts=join(", ", counts)))
        for sent, count in zip(self._staged.values(), found, strict=True):
            if int(count) != sent:
                raise DestinationUnavailableError(
                    f"{count_subject(sent, 'row', 'was', 'were')} sent to a stage in ClickHouse, "
                    f"which holds {count_noun(int(count), 'row')}; the load is done again"
                )

    def insert(self, target: Quoted, rows: RelationRows) -> int:
        """Send rows into a relation; returns how many were written."""
        given, _ = partition_columns(rows)
        self._insert(
            target,
            [
                (f"c{number:d}", self.dialect.quote(each.name), each, rows.columns[each.name])
                for number, each in enumerate(given)
            ],
        )
        return len(rows)

    def _insert(
        self, target: Quoted, fields: Sequence[tuple[str, Quoted, Column, TypedColumn]]
    ) -> None:
        """Send columns: name in the stream, name in the table, column, values."""
        body = encode_rows([(sent, column, values) for sent, _, column, values in fields])
        # No name of a client is in the stream: the server would look for dots in it.
        structure = ", ".join(
            f"{sent} {self.dialect.define_staged(column)}" for sent, _, column, _ in fields
        )
        statement = compose(
            "INSERT INTO {target} ({names}) SELECT {sent} FROM input({structure})"
            " FORMAT ArrowStream",
            target=target,
            names=join(", ", (name for _, name, *_ in fields)),
            sent=join(", ", (Quoted(sent) for sent, *_ in fields)),
            structure=Quoted(self.dialect.literal(structure)),
        )
        self._check_open()
        # The statement before the rows, in one body: the driver repeats bytes, and nothing else.
        self.driver.raw_insert(
            "", insert_block=statement.encode() + b"\n" + body, settings=self._make_token()
        )


def _batch(types: Sequence[str], rows: Iterator[list[Any]]) -> Iterator[ValueBatch]:
    held: list[list[Any]] = []
    for row in rows:
        held.append([read_value(type_, value) for type_, value in zip(types, row, strict=True)])
        if len(held) == STREAMED_ROWS:
            yield list(zip(*held, strict=True))
            held = []
    if held:
        yield list(zip(*held, strict=True))
