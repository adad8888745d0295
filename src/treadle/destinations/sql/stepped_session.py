"""A session on a database that commits a schema change when it is made.

A load is made in steps. First the catalogue notes the entry to come, then the schema is changed,
then the rows go in with the mark in one transaction, and then tables take each other's places and
stages go. Who comes after an end between two steps finds what was noted: `catalogue.read_entry`
takes over what is there of an entry to come, and `state` does what is left of a load whose rows are
committed. A column or table more than the rows need does no harm.

A table of which nothing more comes would wait for its next `state` for ever, with its former rows.
So who loads has `end_loads` called: after each question for offsets, as the load may be that of a
process that was killed, and some time after an end that failed.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import ClassVar, Final

from treadle import failpoint
from treadle.destinations.layout import PRIVATE_SCHEMA, REJECTED, digest_name
from treadle.destinations.load_counter import LoadCounter
from treadle.destinations.protocol import (
    LoadResult,
    SchemaStatus,
    TableHeldError,
)
from treadle.destinations.schema_claim import refuse_system_schema
from treadle.destinations.sql import catalogue
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.load_intent import LoadIntent
from treadle.destinations.sql.relation_definition import create_relation
from treadle.destinations.sql.schema_changes import run_change
from treadle.destinations.sql.session import SqlSession
from treadle.destinations.sql.stepped_changes import (
    SteppedStatements,
    generate_ending,
    generate_undoing,
)
from treadle.destinations.sql.stepped_dialect import RelationPlace, SteppedDialect
from treadle.destinations.sql.text import compose
from treadle.destinations.sql.transactions import SqlTransactions
from treadle.errors import TreadleError
from treadle.tables.model import LoadPlan, Table, TableState
from treadle.tables.schema_owner import SchemaOwner

logger = logging.getLogger("treadle.destinations")

PREPARING: Final = "treadle.prepare"
"""The lock of who makes schemas."""


class SteppedTransactions(SqlTransactions):
    """Transactions on rows alone, and locks that last beyond them.

    Args:
        connection: to the database; its dialect is a `SteppedDialect`.
        read_only: what is left of an earlier load stays so.
    """

    def __init__(self, connection: SqlConnection, *, read_only: bool = False) -> None:
        super().__init__(connection)
        self.read_only = read_only

    @property
    def dialect(self) -> SteppedDialect:
        """The dialect of the connection."""
        dialect = self.connection.dialect
        assert isinstance(dialect, SteppedDialect)  # noqa: S101 - for the type
        return dialect

    @contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        """Have locks that no other session has.

        Raises:
            TableHeldError: another session has one of them for too long.
        """
        taken: list[str] = []
        try:
            for name in sorted(set(names)):  # in one order, so that nobody waits in a circle
                with self.translated() as connection:
                    [(is_taken,)] = connection.rows(self.dialect.take_lock, name)
                if not is_taken:
                    raise TableHeldError("another load of the same table is still running")
                taken.append(name)
            yield
        finally:
            for name in taken:
                with suppress(*self.connection.errors):  # they end with the session
                    self.connection.rows(self.dialect.leave_lock, name)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Run a statement of a schema change, which others must not meet.

        Locks that last as long as the session need no look before it.

        Raises:
            DestinationUnavailableError: a lock that this session had is another's now.
        """
        yield

    @contextmanager
    def loading(self, plans: Sequence[LoadPlan], *, rehearse: bool) -> Iterator[None]:
        """Keep other sessions from loading the same tables."""
        locks = [name_lock(self.dialect, plan.schema, name_entry(plan)) for plan in plans]
        with self.hold(locks):
            yield


def name_lock(dialect: SteppedDialect, schema: str, table: str) -> str:
    """Return the name of the lock of a table, by its canonical name."""
    return f"treadle.{digest_name(f'{schema}/{dialect.profile.fold(table)}')[:50]}"


def name_entry(plan: LoadPlan) -> str:
    """Return the name of the catalogue entry of a plan."""
    return plan.table_name if plan.table_after is None else plan.table_after.name


def may_change_structure(plan: LoadPlan) -> bool:
    """Return whether a load may do something before its rows; tables of deleted keys count."""
    keeps_keys = plan.table_after is not None and plan.table_after.tombstones
    return bool(plan.changes or plan.rejections or keeps_keys)


class SteppedSession(SqlSession):
    """One connection; see `Session`."""

    schema_statements: ClassVar[type[SteppedStatements]]  # of the database; a reader makes none
    _transactions: SteppedTransactions

    def __init__(self, transactions: SteppedTransactions) -> None:
        super().__init__(transactions)
        self._shadowed: frozenset[tuple[bool, str]] = frozenset()
        """(private, name) of the relations that have an empty copy in front of them."""
        self.has_unended = False

    # --- schemas ----------------------------------------------------------------------------------

    def _prepare(self, schema: str, owner: SchemaOwner) -> None:
        if not self._is_ready(schema, owner):
            with (
                self._transactions.hold([PREPARING]),
                self._transactions.translated() as connection,
            ):
                catalogue.make_schema_in_steps(connection, schema, owner)
                failpoint.reach("destination.prepare")

    def _is_ready(self, schema: str, owner: SchemaOwner) -> bool:
        with self._transactions.translated() as connection:
            return catalogue.is_ready(connection, schema, owner)

    def adopt(self, schema: str, owner: SchemaOwner, tables: Sequence[Table] = ()) -> None:
        """Record an owner for a schema, and catalogue entries; see `Adoption.adopt`."""
        with self._transactions.hold([PREPARING]):
            with self._transactions.translated() as connection:
                refuse_system_schema(schema, connection.dialect.profile)
                for statement in list(catalogue.prepare_schema(connection, schema)):
                    connection.run(statement)
            super().adopt(schema, owner, tables)

    def state(self, schema: str, table: str) -> TableState:
        """Return what is there for a canonical table name, after what is left of earlier loads."""
        self._end_earlier(schema, table)
        return super().state(schema, table)

    def remove(self, schema: str, table: str, log_id: str) -> None:
        """Drop a table with all that is kept of it; see `Rebuild.remove`."""
        self._end_earlier(schema, table)
        super().remove(schema, table, log_id)

    def end_loads(self) -> None:
        """Do what is left of all loads that are committed; see `EndingSession.end_loads`.

        The lock of each table keeps this apart from the loads of others, whoever has its unit.
        """
        with self._transactions.translated() as connection:
            noted = catalogue.list_intents(connection)
        self.has_unended = False
        for schema, table in noted:
            try:
                self._end_earlier(schema, table)
            except TreadleError as error:
                self._tell_unended(schema, table, error)

    def _tell_unended(self, schema: str, table: str, error: Exception) -> None:
        self.has_unended = True
        logger.warning(
            "a load of %s.%s is committed, and its new rows do not show yet, as they could not "
            "take the place of the former ones: %s; this is tried again within a minute",
            schema,
            table,
            error,
        )

    def _end_earlier(self, schema: str, table: str) -> None:
        """Do what is left of a load whose rows are committed."""
        if self._transactions.read_only:
            return
        with self._transactions.translated() as connection:
            if self._read_unfinished(connection, schema, table) is None:
                return
        lock = name_lock(self._transactions.dialect, schema, table)
        with self._transactions.hold([lock]), self._transactions.translated() as connection:
            intent = self._read_unfinished(connection, schema, table)
            if intent is not None:
                self._end(connection, schema, table, intent)

    def _read_unfinished(
        self, connection: SqlConnection, schema: str, table: str
    ) -> LoadIntent | None:
        """Return the intent of a load whose rows are committed, and of which something is left."""
        intent = catalogue.read_intent(connection, schema, table)
        return None if intent is None or intent.table else intent

    def _end(self, connection: SqlConnection, schema: str, table: str, intent: LoadIntent) -> None:
        if intent.replacements:
            failpoint.reach("destination.swap")
        for statement in generate_ending(connection, intent):
            with self._transactions.guarded(), connection.unhurried():
                connection.run(statement)
        with self._transactions.guarded():
            catalogue.keep_intent(connection, schema, table, LoadIntent())

    # --- loads ------------------------------------------------------------------------------------

    def load(self, plan: LoadPlan, *, rehearse: bool = False) -> LoadResult:
        """Carry a plan out in steps; see `Session.load`."""
        if rehearse:
            return self._rehearse(plan)
        [result] = self.load_group([plan])
        return result

    def load_group(self, plans: Sequence[LoadPlan]) -> list[LoadResult]:
        """Carry plans out, the rows of all in one transaction; see `Session.load_group`."""
        results: list[LoadResult] = []
        with self._transactions.loading(plans, rehearse=False):
            try:
                self._begin_loads()
                if any(map(may_change_structure, plans)):
                    for plan in plans:
                        self._follow(plan)
                failpoint.reach("destination.after-lock")
                made = [self._change_structure(plan) for plan in plans]
                failpoint.reach("destination.after-changes")
                with self._transactions.transaction():
                    for plan, statements in zip(plans, made, strict=True):
                        # Now nobody changes the rows that it is compared with.
                        self._follow(plan)
                        results.append(self._write_contents(plan, statements))
                self._transactions.commit()
                for plan, statements in zip(plans, made, strict=True):
                    self._end_load(plan, statements)
                return results
            finally:
                self._transactions.connection.release()

    def change(self, plan: LoadPlan) -> None:
        """Check that a plan follows what is there, and make the schema changes before its rows."""
        self._follow(plan)
        self._change_structure(plan)

    def _follow(self, plan: LoadPlan) -> None:
        """Check that a plan follows what is there."""
        with self._transactions.translated() as connection:
            catalogue.check_owner(connection, plan.schema, plan.owner)
            catalogue.claim(connection, plan)

    def _change_structure(self, plan: LoadPlan) -> SteppedStatements:
        """Note what is to come, and make the schema changes that come before the rows."""
        table = name_entry(plan)
        with self._transactions.translated() as connection:
            noted = catalogue.read_intent(connection, plan.schema, table)
            if noted is not None and not may_change_structure(plan):
                self._follow(plan)  # nobody has, and something is to be done after all
            if noted is not None and not noted.table:
                self._end(connection, plan.schema, table, noted)
            elif noted is not None:
                for statement in generate_undoing(connection, noted):
                    with self._transactions.guarded(), connection.unhurried():
                        connection.run(statement)
            statements = self.schema_statements(connection, plan)
            statements.check()
            if plan.rejections:
                for statement in catalogue.complete_rejections(connection, plan.schema):
                    connection.run(statement)
            statements.is_noted = noted is not None
            if statements.changes_structure():
                with self._transactions.transaction():  # there is always the one or the other
                    catalogue.keep_intent(connection, plan.schema, table, statements.intent)
                    connection.commit()
                statements.is_noted = True
                failpoint.reach("destination.pending")
                for statement in statements.generate_structure():
                    with self._transactions.guarded(), connection.unhurried():
                        run_change(connection, statement)
                    failpoint.reach("destination.changed")
        return statements

    def _write_contents(self, plan: LoadPlan, statements: SteppedStatements) -> LoadResult:
        """Empty and fill tables, write rows and mark, and note what is left to be done."""
        connection = self._transactions.connection
        with self._transactions.dialect.drafting(statements.drafts):
            for statement in statements.generate_contents():
                with connection.unhurried():
                    connection.run(statement)
            result = self.write(plan)
        if statements.is_noted or statements.ending:
            catalogue.keep_intent(connection, plan.schema, name_entry(plan), statements.ending)
        return result

    def _end_load(self, plan: LoadPlan, statements: SteppedStatements) -> None:
        """Do what is left of a load. It is committed, so a failure is left to a later try."""
        connection = self._transactions.connection
        if statements.ending:
            try:
                with self._transactions.translated():
                    self._end(connection, plan.schema, name_entry(plan), statements.ending)
            except TreadleError as error:
                self._tell_unended(plan.schema, name_entry(plan), error)

    def make_counter(self, plan: LoadPlan) -> LoadCounter:
        """Return what counts the rows of a plan."""
        return LoadCounter(plan, self._shadowed)

    # --- rehearsals -------------------------------------------------------------------------------

    def _rehearse(self, plan: LoadPlan) -> LoadResult:
        """Carry a plan out on empty copies of what it changes, and undo it.

        The copies are temporary tables that this session sees in place of the others. What the
        plan does not change is written to itself, and that is rolled back.
        """
        transactions = self._transactions
        made: list[RelationPlace] = []
        with transactions.loading([plan], rehearse=True), self._imagining(plan):
            try:
                self._begin_loads()
                self._follow(plan)
                statements = self._shadow(plan, made)
                with transactions.transaction() as connection:
                    with transactions.dialect.drafting(statements.drafts):
                        for statement in statements.generate_contents():
                            connection.run(statement)
                        result = self.write(plan)
                    connection.rollback()
                return result
            finally:
                self._shadowed = frozenset()
                self._drop_shadows(made)
                transactions.connection.release()

    def _shadow(self, plan: LoadPlan, made: list[RelationPlace]) -> SteppedStatements:
        """Make the copies, and the schema changes on them; add their places to a list."""
        dialect = self._transactions.dialect
        with self._transactions.translated() as connection:
            statements = self.schema_statements(connection, plan)
            statements.check()
            statements.rehearsed = True
            for place, statement in statements.generate_shadows():
                made.append(place)
                connection.run(statement)
            rejected = (plan.schema, REJECTED)
            if plan.rejections and not connection.holds_table(*rejected):
                connection.run(
                    create_relation(dialect, plan.schema, catalogue.REJECTIONS, temporary=True)
                )
                made.append(rejected)
            try:
                for statement in statements.generate_structure():
                    run_change(connection, statement)
            finally:
                made += statements.list_made()
        self._shadowed = frozenset((schema == PRIVATE_SCHEMA, name) for schema, name in made)
        return statements

    def _drop_shadows(self, made: Iterable[RelationPlace]) -> None:
        dialect, connection = self._transactions.dialect, self._transactions.connection
        for place in made:
            with suppress(*connection.errors):
                connection.run(compose(dialect.drop_temporary, table=dialect.place(*place)))

    @contextmanager
    def _imagining(self, plan: LoadPlan) -> Iterator[None]:
        """Make the schema of a plan for the time of the block, where it is missing.

        Treadle's own schema is made for good: another session may have begun to use it.
        """
        schema, owner = plan.schema, plan.owner
        if self._is_ready(schema, owner):
            yield
            return
        # Who prepares the schema meanwhile waits, so nothing is in it when it is dropped.
        with self._transactions.hold([PREPARING]):
            with self._transactions.translated() as connection:
                before = catalogue.read_status(connection, schema)
                catalogue.make_schema_in_steps(connection, schema, owner, rejections=False)
            try:
                yield
            finally:
                with suppress(*connection.errors):
                    if before.exists or self._is_unused(connection, schema):
                        self._forget_imagined(connection, plan, before)

    def _is_unused(self, connection: SqlConnection, schema: str) -> bool:
        """Return whether a schema that was made for a rehearsal is still what that made.

        Where locks are the database's own it is.
        """
        return True

    def _forget_imagined(
        self, connection: SqlConnection, plan: LoadPlan, before: SchemaStatus
    ) -> None:
        if not before.exists:
            drop = compose(
                "DROP {word} {schema}",
                word=connection.dialect.schema_word,
                schema=connection.dialect.schema(plan.schema),
            )
            with self._transactions.guarded():
                connection.run(drop)
        if before.owner is None:
            catalogue.forget_owner(connection, plan.schema)
        elif before.owner != plan.owner:
            catalogue.record_owner(connection, plan.schema, before.owner, known=True)
