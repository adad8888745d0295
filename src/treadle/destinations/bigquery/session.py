"""A session on BigQuery: rows are staged by load jobs, and one script commits the load."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import ClassVar, LiteralString

from msgspec.structs import replace as replace_intent

from treadle import failpoint
from treadle.destinations.bigquery.connection import BigqueryConnection
from treadle.destinations.bigquery.dialect import (
    PRIMARY_KEYS,
    BigqueryDialect,
    BigqueryStatements,
    SchemaRequest,
    SqlExpression,
)
from treadle.destinations.bigquery.script import (
    ENDING_JOBS,
    ScriptCounter,
    guard_intent,
    guard_plan,
    name_ending,
    name_load,
    name_load_jobs,
    name_table_jobs,
    read_result,
)
from treadle.destinations.layout import PRIVATE_SCHEMA, decode_result, moves_offset
from treadle.destinations.protocol import CommittedOffset, LoadResult, PlanOutdatedError
from treadle.destinations.sql import catalogue
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.load_intent import LoadIntent
from treadle.destinations.sql.process_locks import LocalTransactions
from treadle.destinations.sql.schema_changes import run_change
from treadle.destinations.sql.stepped_changes import (
    SteppedStatements,
    generate_ending,
    generate_undoing,
)
from treadle.destinations.sql.stepped_session import SteppedSession, name_entry
from treadle.destinations.sql.text import Quoted, compose, join
from treadle.destinations.sql.upsert import StagedRows, StagedUpsert
from treadle.destinations.sql.writer import TableWriter
from treadle.errors import TableStoppedError, TreadleError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import LoadPlan, RelationRows, WidenColumn


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

    def __init__(self, transactions: BigqueryTransactions) -> None:
        super().__init__(transactions)
        self._noted: dict[tuple[str, str], str | None] = {}
        """Schema and table of this load -> the attempt whose intent is noted; None for none."""

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
        for statement in self._guard(plan):
            connection.run(statement)

    def _guard(self, plan: LoadPlan) -> list[Quoted]:
        attempt = self._noted.get((plan.schema, name_entry(plan)))
        return [Quoted(each) for each in guard_plan(self._dialect, plan, attempt)]

    # --- schema changes: see "Who may change a table" in the decision -----------------------------

    def _change_structure(self, plan: LoadPlan) -> BigqueryStatements:
        """Note what is to come, and make the schema changes that come before the rows.

        No lock keeps out a loader that was overtaken and does not know it. So each statement is a
        script that ends unless this load's intent is noted; only then it can remove something.
        """
        table = name_entry(plan)
        with self._transactions.translated() as connection:
            noted = catalogue.read_intent(connection, plan.schema, table)
            if noted is not None and not noted.table:
                self._end(connection, plan.schema, table, noted)
                noted = None
            statements = BigqueryStatements(connection, plan)
            statements.check()
            self._check_rewriting(plan)
            statements.attempt = self._transactions.connection.title
            if plan.rejections:
                for statement in catalogue.complete_rejections(connection, plan.schema):
                    connection.run(statement)
            self._noted[plan.schema, table] = None if noted is None else noted.attempt
            if noted is not None or statements.changes_structure():
                self._note(plan, statements.take_over(noted), noted)
                statements.is_noted = True
                failpoint.reach("destination.pending")
                if noted is not None:
                    self._undo(plan, noted)
                for statement in statements.generate_structure():
                    self._run_guarded(plan, statement)
                    failpoint.reach("destination.changed")
        return statements

    def _check_rewriting(self, plan: LoadPlan) -> None:
        """Check that a table which is written anew has nothing that BigQuery refuses to replace.

        Raises:
            TableStoppedError: it has.
        """
        for change in plan.changes:
            if isinstance(change, WidenColumn) and change.column.type is ColumnType.TEXT:
                schema = PRIVATE_SCHEMA if change.private else plan.schema
                if self._transactions.connection.is_divided(schema, change.relation):
                    raise TableStoppedError(
                        f'The column "{change.column.name}" of the table "{change.relation}" got '
                        "text, and with the option split_mode=widen the table is written anew for "
                        "it. BigQuery refuses that for a table with partitions or clustering. Set "
                        "the option to `keep`, so that texts get a column of their own, or make "
                        "the table again without partitions and clustering."
                    )

    def _note(self, plan: LoadPlan, intent: LoadIntent, noted: LoadIntent | None) -> None:
        """Note an intent in the place of another load's, which can do nothing from then on.

        Raises:
            PlanOutdatedError: the plan does not follow what is there, or what it followed changed.
        """
        table = name_entry(plan)
        with self._transactions.transaction() as connection:
            self._follow(plan)
            catalogue.keep_intent(connection, plan.schema, table, intent)
            connection.commit()
        self._noted[plan.schema, table] = intent.attempt if intent else None
        if noted is None:
            return
        # What the other one had begun before is waited for; also what it waited for itself.
        named = (noted.attempt,) if noted.attempt else ()
        every = (name_load_jobs(plan.offset.log_id), *named)
        others = self._transactions.connection.await_jobs(*every)
        if any(job.startswith((name_table_jobs(plan), *named)) for job in others):
            raise PlanOutdatedError("an earlier load of the table was still changing it")

    def _undo(self, plan: LoadPlan, noted: LoadIntent) -> None:
        for statement in generate_undoing(self._transactions.connection, noted):
            self._run_guarded(plan, statement)

    def _run_guarded(self, plan: LoadPlan, statement: Quoted) -> None:
        """Execute a schema change if it is this load's to make.

        What a request of the API does needs no guard: it makes a table or columns, and fails where
        they are there.
        """
        if not isinstance(statement, SchemaRequest):
            guard, _ = self._guard(plan)
            statement = Quoted(f"{guard.strip()};\n{statement}")
        run_change(self._transactions.connection, statement)

    def _end(self, connection: SqlConnection, schema: str, table: str, intent: LoadIntent) -> None:
        """Do what is left of a load, which another process may be doing as well."""
        title = self._transactions.connection.title
        if intent.attempt != title:
            taken = replace_intent(intent, attempt=title)
            self._replace_intent(schema, table, intent.attempt, taken)
            if intent.attempt:
                self._transactions.connection.await_jobs(intent.attempt)
        if intent.replacements:
            failpoint.reach("destination.swap")
        guard = guard_intent(self._dialect, schema, table, title)
        for statement in generate_ending(connection, intent):
            connection.run(Quoted(f"{guard};\n{statement}"))
        self._replace_intent(schema, table, title, LoadIntent())

    def _replace_intent(self, schema: str, table: str, attempt: str, intent: LoadIntent) -> None:
        """Note an intent in place of an attempt's.

        Raises:
            PlanOutdatedError: that is not noted any more.
        """
        with self._transactions.transaction() as connection:
            connection.run(Quoted(guard_intent(self._dialect, schema, table, attempt)))
            catalogue.keep_intent(connection, schema, table, intent)
            connection.commit()

    def _end_load(self, plan: LoadPlan, statements: SteppedStatements) -> None:
        with suppress(TreadleError):  # the load is committed: the next `state` does what is left
            super()._end_load(plan, statements)

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
                self._check_rewriting(plan)
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
