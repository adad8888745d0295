"""A connection to BigQuery by google-cloud-bigquery: statements, rows, and a script."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from google.cloud import bigquery
from google.cloud.bigquery import LoadJob, LoadJobConfig, SchemaField

from treadle.destinations.bigquery.dialect import (
    FIELD_TYPES,
    BigqueryDialect,
    SchemaRequest,
    SqlExpression,
)
from treadle.destinations.bigquery.errors import (
    ERRORS,
    find_reason,
    is_missing,
    is_refused_change,
    is_uncertain,
    service_message,
    translate,
)
from treadle.destinations.bigquery.jobs import (
    JOB_SECONDS_MAX,
    REQUEST,
    REQUEST_SECONDS_MAX,
    WAIT,
    BigqueryJobs,
)
from treadle.destinations.bigquery.project_tables import BigqueryTables
from treadle.destinations.bigquery.row_format import encode_rows
from treadle.destinations.bigquery.script import (
    TEXT_LENGTH_MIN,
    TEXTS_LENGTH_MAX,
    check_length,
    fill_values,
    make_script,
    read_text,
)
from treadle.destinations.layout import PRIVATE_SCHEMA, partition_columns
from treadle.destinations.protocol import (
    CommitUnknownError,
    QueryResult,
    QueryStream,
    RowRefusedError,
    ValueBatch,
)
from treadle.destinations.sql.connection import Field, SqlConnection
from treadle.destinations.sql.text import Quoted, compose
from treadle.destinations.sql.upsert import StagedRows, StagedUpsert, insert, merge
from treadle.errors import OperatorError, TreadleError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import RelationRows

PARSED_JSON: Final = "PARSE_JSON({value}, wide_number_mode => 'round')"
"""Makes a value of JSON of a staged text: a load job makes none of a text in Parquet."""

STAGE_HOURS_MAX: Final = 24
"""After that BigQuery drops the rows of a load that nobody dropped."""

DEFINITIONS: Final = ("ALTER ", "CREATE ", "DROP ")
"""Beginnings of statements that no transaction takes."""


class BigqueryConnection(BigqueryJobs, BigqueryTables, SqlConnection):
    """One client. Outside of `begin("load")` and its end, each statement is a job that is done.

    In between, statements without rows are collected, and `commit` sends them as one script.
    Definitions of tables are carried out at once; what they need is there by then.

    Attributes:
        answers: expressions that a script is to give the values of at its end.
        answer: the values that the last script gave which was asked for some.
        bytes_max: that a statement of a person's may be billed for; None for no bound.
    """

    errors: ClassVar = ERRORS
    is_missing = staticmethod(is_missing)
    is_refused_change = staticmethod(is_refused_change)
    message = staticmethod(service_message)
    translate = staticmethod(translate)

    def __init__(
        self,
        driver: bigquery.Client,
        dialect: BigqueryDialect,
        *,
        read_only: bool = False,
        bytes_max: int | None = None,
    ) -> None:
        super().__init__(driver)
        self.dialect = dialect
        self.answers: list[str] = []
        self.answer: Sequence[Any] = ()
        self.bytes_max = bytes_max
        self._read_only = read_only
        self._script: list[str] | None = None
        self._staged: list[str] = []
        self._texts: list[str] = []
        """Of the script that is collected, those that are sent beside it."""
        self._text_stage = ""

    # --- statements -------------------------------------------------------------------------------

    def run(self, statement: Quoted, *values: object) -> int:
        """Execute a statement, or collect it for the script; returns how many rows it wrote."""
        if isinstance(statement, SchemaRequest):
            self.change_schema(statement)
            return 0
        if self._script is not None and not statement.lstrip().startswith(DEFINITIONS):
            self._script.append(fill_values(statement, [self._place_value(v) for v in values]))
            return 0
        job, _ = self.run_job(self._fill(statement, values), self.name_job("step_"))
        return int(job.num_dml_affected_rows or 0)

    def rows(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        """Execute a statement and fetch all rows."""
        return self._read(self._fill(statement, values)).rows

    def query(self, statement: str) -> QueryResult:
        """Run one statement of the operator's; a session for reading runs nothing but a SELECT."""
        self._check_statement(statement)
        return self._read(statement, **self.bounds)

    @contextmanager
    def stream_query(self, statement: str) -> Iterator[QueryStream]:
        """Run one statement of the operator's, and give its rows page by page."""
        self._check_statement(statement)
        _, found = self.run_job(statement, **self.bounds)
        yield QueryStream(tuple(field.name for field in found.schema), _read_batches(found))

    def run_within(self, statement: str, seconds: float) -> list[tuple[Any, ...]]:
        """Run a question, which BigQuery ends when it takes too long."""
        return self._read(statement, job_timeout_ms=int(seconds * 1000), **self.bounds).rows

    @property
    def bounds(self) -> dict[str, Any]:
        """Settings of jobs that somebody asks for."""
        return {} if self.bytes_max is None else {"maximum_bytes_billed": self.bytes_max}

    def describe_statement(self, statement: str) -> str:
        """Return the type of a statement, such as SELECT; it is not run."""
        job, _ = self.run_job(statement, dry_run=True)
        return str(job.statement_type or "")

    def _check_statement(self, statement: str) -> None:
        """Refuse what a session must not run.

        Raises:
            OperatorError: it is a script, or it writes in a session for reading.
        """
        type_ = self.describe_statement(statement)
        if type_ == "SCRIPT" or (self._read_only and type_ != "SELECT"):
            raise OperatorError(f"expected one statement that can be run here, found {type_}")

    def _read(self, text: str, **settings: Any) -> QueryResult:
        _, found = self.run_job(text, **settings)
        names = tuple(field.name for field in found.schema)
        return QueryResult(names, [tuple(row.values()) for row in found])

    def _fill(self, statement: Quoted, values: Sequence[object]) -> str:
        """Return a statement with its values in place of `$1`."""
        return fill_values(statement, [self.dialect.literal(value) for value in values])

    # --- the script -------------------------------------------------------------------------------

    @property
    def is_collecting(self) -> bool:
        """Whether statements are collected for a script."""
        return self._script is not None

    def begin(self, purpose: str = "load") -> None:
        """Collect the statements of a load from now on; nothing for what only reads."""
        if purpose == "load":
            self._script, self.answers = [], []
            self._texts, self._text_stage = [], ""

    def commit(self) -> None:
        """Run what was collected as one script: a transaction, and the answers after it."""
        self._run_script(undoes=False)

    def rehearse(self) -> None:
        """Run what was collected, and undo it; the answers are of before that."""
        self._run_script(undoes=True)

    def _run_script(self, *, undoes: bool) -> None:
        script, self._script = self._script, None
        if script:
            text = make_script(script, self.answers, undoes=undoes)
            check_length(text)
            self._send_texts()
            found = self.run_script(text)
            if self.answers:
                [row] = found
                self.answer = row.values()

    def _place_value(self, value: object) -> str:
        """Return what stands for a value in a script: itself, or where a text is sent to.

        The report of a load names each rejected record, and a script has a greatest length.
        """
        literal = self.dialect.literal(value)
        length = sum(map(len, self._script or ())) + len(literal)
        is_text = isinstance(value, str) and not isinstance(value, SqlExpression)
        if not is_text or len(literal) < TEXT_LENGTH_MIN or length < TEXTS_LENGTH_MAX:
            return literal
        if not self._texts:
            self._text_stage = self._name_stage()
        self._texts.append(str(value))
        place = self.dialect.quote(PRIVATE_SCHEMA, self._text_stage)
        return read_text(place, len(self._texts))

    def _send_texts(self) -> None:
        if self._texts:
            numbers = list(range(1, len(self._texts) + 1))
            fields: list[Field] = [
                (Quoted("c0"), ColumnType.BIGINT, numbers),
                (Quoted("c1"), ColumnType.TEXT, self._texts),
            ]
            self._fill_stage(self._text_stage, fields)

    def rollback(self) -> None:
        """Forget what was collected: nothing of it was sent."""
        self._script = None

    def translate_commit(self, error: Exception) -> TreadleError:
        """Return what an error of the script means."""
        if is_uncertain(error):
            return CommitUnknownError(
                f"the connection to BigQuery broke while a load was committed: "
                f"{self.message(error)}"
            )
        return self.translate(error)

    # --- rows -------------------------------------------------------------------------------------

    def stage(self, rows: RelationRows, title: str) -> StagedRows:
        """Send rows to a table of their own, until `release`."""
        staged = super().stage(rows, title)
        forms = {
            each.name: compose(PARSED_JSON, value=staged.value(each.name))
            for each in partition_columns(rows)[0]
            if each.type is ColumnType.JSON
        }
        return replace(staged, forms=forms)

    def send(self, title: str, fields: Sequence[Field]) -> Quoted:
        """Send values to a new table by a load job."""
        return self._fill_stage(self._name_stage(), fields)

    def _name_stage(self) -> str:
        """Return the name of a table that no other load has; `release` drops it."""
        head = self.title or f"treadle_{secrets.token_hex(12)}"
        name = f"stage_{head}_{len(self._staged)}"
        self._staged.append(name)
        return name

    def _fill_stage(self, name: str, fields: Sequence[Field]) -> Quoted:
        """Make a table of values by a load job.

        Raises:
            RowRefusedError: BigQuery refused a value.
        """
        head, _, number = name.removeprefix("stage_").rpartition("_")
        job_id = f"{head}_stage_{number}"
        text = {ColumnType.JSON: "STRING"}
        schema = [SchemaField(str(n), text.get(t, FIELD_TYPES[t])) for n, t, _ in fields]
        table = bigquery.Table(self.refer(PRIVATE_SCHEMA, name), schema=schema)
        table.expires = datetime.now(UTC) + timedelta(hours=STAGE_HOURS_MAX)
        self.driver.create_table(table, exists_ok=True, **REQUEST)
        file = encode_rows([(str(n), t, values) for n, t, values in fields])
        config = LoadJobConfig(
            source_format="PARQUET",
            # A job that is late makes no table anew, which would have no end.
            create_disposition="CREATE_NEVER",
            write_disposition="WRITE_EMPTY",
            schema=schema,
            job_timeout_ms=JOB_SECONDS_MAX * 1000,
        )

        def begin() -> LoadJob:
            return self.driver.load_table_from_file(
                file,
                table,
                rewind=True,
                num_retries=3,
                job_id=job_id,
                job_config=config,
                timeout=REQUEST_SECONDS_MAX,
            )

        job = self.settle(job_id, begin)
        try:
            job.result(**WAIT)
        except self.errors as error:
            if find_reason(error) == "invalid":  # of a job that loads, it is about what it loads
                raise RowRefusedError(self.message(error)) from error
            raise
        return self.dialect.quote(PRIVATE_SCHEMA, name)

    def release(self) -> None:
        """Drop what was staged."""
        with suppress(*self.errors):
            while self._staged:
                self.drop_table(PRIVATE_SCHEMA, self._staged.pop())

    def insert(self, target: Quoted, rows: RelationRows) -> int:
        """Stage rows, and insert them into a relation; returns how many they are."""
        stage = self.stage(rows, "rows")
        self.run(insert(self.dialect, StagedUpsert(target, rows, stage)))
        return len(rows)

    def upsert(self, upsert: StagedUpsert) -> int:
        """Merge staged rows into a relation. Only the script knows how many are written."""
        self.run(merge(self.dialect, upsert))
        return 0


def _read_batches(found: Any) -> Iterator[ValueBatch]:
    for page in found.pages:
        rows = [row.values() for row in page]
        if rows:
            yield list(zip(*rows, strict=True))
