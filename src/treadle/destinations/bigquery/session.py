"""A session on BigQuery: rows are staged by load jobs, and one script commits the load."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import ClassVar, LiteralString

from treadle import failpoint
from treadle.destinations.bigquery.connection import BigqueryConnection
from treadle.destinations.bigquery.dialect import (
    PRIMARY_KEYS,
    BigqueryDialect,
    BigqueryStatements,
    SqlExpression,
)
from treadle.destinations.bigquery.script import (
    ENDING_JOBS,
    ScriptCounter,
    guard_plan,
    name_ending,
    name_load,
    name_load_jobs,
    read_result,
)
from treadle.destinations.layout import PRIVATE_SCHEMA, decode_result, moves_offset
from treadle.destinations.protocol import CommittedOffset, LoadResult, PlanOutdatedError
from treadle.destinations.sql import catalogue
from treadle.destinations.sql.process_locks import LocalTransactions
from treadle.destinations.sql.schema_changes import run_change
from treadle.destinations.sql.stepped_session import SteppedSession
from treadle.destinations.sql.text import Quoted, compose, join
from treadle.destinations.sql.upsert import StagedRows, StagedUpsert
from treadle.destinations.sql.writer import TableWriter
from treadle.tables.model import LoadPlan, RelationRows


class BigqueryTransactions(LocalTransactions):
    """A transaction is one script; the locks are those of this process."""

    connection: BigqueryConnection


class ScriptWriter(TableWriter):
    """Writes one `TableWrite` by statements that are run later: what they write, they count."""

    _counter: ScriptCounter

    def _upsert(
        self, rows: RelationRows, stage: StagedRows, condition: Quoted, wins: LiteralString = ""
    ) -> int:
        place = self._place(rows.relation)
        self._connection.upsert(StagedUpsert(place, rows, stage, condition, wins))
        written = condition
        if wins:
            key = rows.relation.key
            written = compose(
                "EXISTS (SELECT 1 FROM {place} t WHERE {written})",
                place=place,
                written=self._is_written(stage, key, key),
            )
        if written:
            self._counter.count_where(rows.relation, stage, written)
        else:
            self._counter.count(rows.relation, len(rows))
        return 0  # as if all could be superseded

    def _supersede(self, stage: StagedRows, condition: Quoted) -> None:
        if stage.entries:
            self._counter.supersede_where(stage, condition)


class BigquerySession(SteppedSession):
    """One client; see `Session`."""

    schema_statements = BigqueryStatements
    writer: ClassVar = ScriptWriter
    _transactions: BigqueryTransactions

    @property
    def _dialect(self) -> BigqueryDialect:
        return self._transactions.connection.dialect

    def committed(self, log_id: str) -> Mapping[tuple[int, str], CommittedOffset]:
        """Return the last loads of a log, once no job of an earlier one runs any more."""
        with self._transactions.translated():
            self._transactions.connection.await_jobs(name_load_jobs(log_id), ENDING_JOBS)
        return super().committed(log_id)

    def remove(self, schema: str, table: str, log_id: str) -> None:
        """Drop a table with all that is kept of it; see `Rebuild.remove`."""
        with self._titled(f"{name_load_jobs(log_id)}remove_{secrets.token_hex(8)}"):
            self._remove(schema, table, log_id)

    def _remove(self, schema: str, table: str, log_id: str) -> None:
        self._end_earlier(schema, table)
        with self._transactions.translated() as connection:
            _, entry = catalogue.read_entry(connection, schema, table)
            names = [relation.name for relation in entry.relations] if entry is not None else []
            if names and connection.holds_table(schema, PRIMARY_KEYS):
                connection.run(
                    compose(
                        "DELETE FROM {keys} WHERE table_name IN ({names})",
                        keys=self._dialect.quote(schema, PRIMARY_KEYS),
                        names=join(", ", (Quoted(self._dialect.literal(n)) for n in names)),
                    )
                )
        super().remove(schema, table, log_id)

    def _end_earlier(self, schema: str, table: str) -> None:
        with self._titled(name_ending(secrets.token_hex(8))):
            super()._end_earlier(schema, table)

    @contextmanager
    def _titled(self, title: str) -> Iterator[None]:
        """Have jobs ids that begin so, unless they are those of a load already."""
        connection = self._transactions.connection
        if connection.title:
            yield
            return
        connection.begin_load(title)
        try:
            yield
        finally:
            connection.begin_load("")

    # --- loads ------------------------------------------------------------------------------------

    def load_group(self, plans: Sequence[LoadPlan]) -> list[LoadResult]:
        """Carry plans out, the rows of all in one script; see `Session.load_group`."""
        connection = self._transactions.connection
        connection.begin_load(name_load(plans, secrets.token_hex(4)))
        try:
            super().load_group(plans)
            return [decode_result(text) for text in connection.answer]
        except PlanOutdatedError:
            for plan in plans:  # the guard does not say what is other than planned
                super()._follow(plan)
            raise
        finally:
            connection.begin_load("")

    def _follow(self, plan: LoadPlan) -> None:
        """Check that a plan follows what is there; in the script, by the guard."""
        connection = self._transactions.connection
        if not connection.is_collecting:
            super()._follow(plan)
            return
        for statement in guard_plan(self._dialect, plan):
            connection.run(Quoted(statement))

    def write(self, plan: LoadPlan) -> LoadResult:
        """Collect what writes a plan's rows, rejections, catalogue entry and offset.

        The result is what the script answers.
        """
        connection = self._transactions.connection
        counter = ScriptCounter(plan, self._shadowed)
        for write in counter.writes():
            self._writes += 1
            ScriptWriter(connection, plan, write, self._writes, counter).run()
        if plan.rejections:
            catalogue.reject(connection, plan.schema, plan.rejections, plan.rejected_at)
        failpoint.reach("destination.after-rows")
        result = SqlExpression(counter.spell_result(self._dialect))
        catalogue.finish(connection, plan, result)
        kept = moves_offset(plan.offset)
        connection.answers.append(read_result(self._dialect, plan) if kept else result)
        return counter.result

    # --- rehearsals -------------------------------------------------------------------------------

    def _rehearse(self, plan: LoadPlan) -> LoadResult:
        """Carry a plan out in a script that is undone, on copies of what it makes or changes."""
        connection = self._transactions.connection
        with self._transactions.loading([plan], rehearse=True), self._imagining(plan):
            self._begin_loads()
            self._follow(plan)
            with self._transactions.translated():
                statements = BigqueryStatements(connection, plan)
                statements.check()
                statements.rehearsed = True
                try:
                    with self._dialect.drafting(statements.copies):
                        for statement in statements.generate_structure():
                            run_change(connection, statement)
                        self._shadowed = frozenset(
                            (schema == PRIVATE_SCHEMA, name) for schema, name in statements.copies
                        )
                        connection.begin()
                        for statement in statements.generate_contents():
                            connection.run(statement)
                        self.write(replace(plan, rejections=()))
                    connection.rehearse()
                    return decode_result(connection.answer[0])
                finally:
                    connection.rollback()
                    self._shadowed = frozenset()
                    for place in statements.made:
                        with suppress(*connection.errors):
                            connection.drop_table(*place)
                    connection.release()
