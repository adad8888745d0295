"""A session on any SQL database, in terms of `SqlTransactions` on a `SqlConnection`."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, Self

from treadle import failpoint
from treadle.destinations.layout import PRIVATE_SCHEMA, encode_result
from treadle.destinations.load_counter import LoadCounter
from treadle.destinations.protocol import AccessDeniedError, CommittedOffset, LoadResult
from treadle.destinations.schema_claim import claim_schema
from treadle.destinations.sql import adoption, catalogue, inspection
from treadle.destinations.sql.schema_changes import run_change, takes_whole_tables
from treadle.destinations.sql.session_inspection import SqlInspection
from treadle.destinations.sql.text import compose
from treadle.destinations.sql.transactions import SqlTransactions
from treadle.destinations.sql.writer import TableWriter
from treadle.tables.model import LoadPlan, Relation, RelationRows, Table, TableState
from treadle.tables.schema_owner import UNOWNED, SchemaOwner


class SqlSession(SqlInspection):
    """One connection; see `Session`.

    A load is one transaction: `change` and `write` run inside it.

    Args:
        transactions: on its connection.

    Attributes:
        writer: writes rows.
    """

    writer: ClassVar[type[TableWriter]] = TableWriter

    def __init__(self, transactions: SqlTransactions) -> None:
        super().__init__(transactions)
        self._prepared: set[tuple[str, SchemaOwner]] = set()
        transactions.on_undo = self._prepared.clear  # somebody may have dropped them
        self._writes = 0  # of this transaction, so that its stages have different names
        self._claimed: set[tuple[str, SchemaOwner]] = set()  # in this transaction

    def __enter__(self) -> Self:
        """Return itself; leaving the block closes it."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._transactions.close()

    def evict(self, member: str) -> int:
        """End the sessions of another process; here there are none. See `LoadSession.evict`."""
        return 0

    def prepare(self, schema: str, owner: SchemaOwner = UNOWNED) -> None:
        """Make the schema with `_sdc_rejected` in it, and treadle's own, where missing.

        Where that is denied, the error says what to grant.
        """
        if (schema, owner) in self._prepared:
            return
        try:
            self._prepare(schema, owner)
        except AccessDeniedError as error:
            raise self._advise_grant(error, schema) from error.__cause__
        self._prepared.add((schema, owner))

    def _prepare(self, schema: str, owner: SchemaOwner) -> None:
        with self._transactions.in_turn():
            with self._transactions.translated() as connection:
                ready = catalogue.is_ready(connection, schema, owner)
            if not ready:
                with self._transactions.transaction() as connection:
                    connection.lock_schemas()
                    catalogue.make_schema(connection, schema, owner)
                    failpoint.reach("destination.prepare")
                    connection.commit()

    def _advise_grant(self, error: AccessDeniedError, schema: str) -> AccessDeniedError:
        """Return an error that says what to grant, where a schema cannot be made."""
        with self._transactions.translated() as connection:
            advice = connection.dialect.rights_to_prepare
            schemas = (PRIVATE_SCHEMA, schema)
            cause = error.__cause__
            if not isinstance(cause, connection.errors) or not advice:
                return error
            if all(catalogue.holds_schema(connection, each) for each in schemas):
                return error
            return AccessDeniedError(
                "Encountered error while attempting to create new schema. "
                f"{connection.message(cause)}; " + advice.format(own=PRIVATE_SCHEMA, schema=schema)
            )

    def check_owner(self, schema: str, owner: SchemaOwner = UNOWNED) -> None:
        """Check that a schema is missing or the owner's; see `LoadSession.check_owner`."""
        with self._transactions.translated() as connection:
            status = catalogue.read_status(connection, schema)
            claim_schema(schema, status, owner, connection.dialect.profile)

    def adopt(self, schema: str, owner: SchemaOwner, tables: Sequence[Table] = ()) -> None:
        """Record an owner for a schema, and catalogue entries; see `Adoption.adopt`."""
        with self._transactions.in_turn():
            self._prepared.clear()
            with self._transactions.transaction() as connection:
                adoption.adopt_schema(connection, schema, owner, tables)
                connection.commit()

    def committed(self, log_id: str) -> Mapping[tuple[int, str], CommittedOffset]:
        """Return (source id, table name as sent) -> the last load, for one log."""
        with self._transactions.translated() as connection:
            return catalogue.read_offsets(connection, log_id)

    def state(self, schema: str, table: str) -> TableState:
        """Return what is there for a canonical table name."""
        with self._transactions.translated() as connection:
            revision, entry = catalogue.read_entry(connection, schema, table)
            if entry is None and connection.dialect.finds_all and not self._holds(schema, table):
                return TableState(revision, None, {})
            names = [table, *(relation.name for relation in (entry.relations if entry else ()))]
            # The catalogue's own spelling of a relation, which comes later, wins over the
            # question's. No table has an empty name; the plan rejects what is meant for one.
            fold = connection.dialect.profile.fold
            once = list({fold(name): name for name in names if name}.values())
            return TableState(revision, entry, connection.describe(schema, once) if once else {})

    def _holds(self, schema: str, table: str) -> bool:
        return bool(table) and self._transactions.connection.holds_table(schema, table)

    def sequences(
        self, schema: str, relation: Relation, keys: Sequence[Sequence[Any]], private: bool
    ) -> list[int | None]:
        """Return the `_sdc_sequence` each key has in the table now: None for no such row."""
        if not relation.key:
            return []
        wanted = RelationRows(relation, dict(zip(relation.key, keys, strict=True)))
        wanted.entries = range(len(wanted))
        with self._transactions.transaction("lookup") as connection:
            dialect = connection.dialect
            stage = connection.stage(wanted, "treadle_wanted")
            found = connection.rows(
                compose(
                    "SELECT t._sdc_sequence FROM {stage} s LEFT JOIN {target} t ON {same_key}"
                    " ORDER BY s.entry",
                    stage=stage.name,
                    target=dialect.place(PRIVATE_SCHEMA if private else schema, relation.name),
                    same_key=stage.match(dialect, "t", [(name, name) for name in relation.key]),
                )
            )
            connection.rollback()
        self._transactions.connection.release()
        return [sequence for (sequence,) in found]

    def load(self, plan: LoadPlan, *, rehearse: bool = False) -> LoadResult:
        """Carry a plan out in one transaction; see `Session.load`."""
        if not rehearse:
            [result] = self.load_group([plan])
            return result
        with self._transactions.loading([plan], rehearse=True):
            try:
                with self._transactions.transaction() as connection:
                    self._begin_loads()
                    catalogue.make_schema(connection, plan.schema, plan.owner)
                    self.change(plan)
                    result = self.write(plan)
                    connection.check_deferred()
                    connection.rollback()
                return result
            finally:
                self._transactions.connection.release()

    def load_group(self, plans: Sequence[LoadPlan]) -> list[LoadResult]:
        """Carry plans out in one transaction; see `Session.load_group`."""
        results: list[LoadResult] = []
        with self._transactions.loading(plans, rehearse=False):
            try:
                with self._transactions.transaction() as connection:
                    connection.lock_loads()
                    self._begin_loads()
                    for plan in plans:
                        self.change(plan)
                        results.append(self.write(plan))
                self._transactions.commit()
                return results
            finally:
                self._transactions.connection.release()

    def _begin_loads(self) -> None:
        """Forget what was of the transaction before."""
        self._writes = 0
        self._claimed.clear()

    def change(self, plan: LoadPlan) -> None:
        """Check that a plan follows what is there, and make its schema changes."""
        connection = self._transactions.connection
        if (plan.schema, plan.owner) not in self._claimed:  # it stays so until the transaction ends
            catalogue.check_owner(connection, plan.schema, plan.owner)
            self._claimed.add((plan.schema, plan.owner))
        catalogue.claim(connection, plan)
        failpoint.reach("destination.after-lock")
        is_long = takes_whole_tables(plan.changes)
        with connection.unhurried() if is_long else nullcontext():
            for statement in self.schema_statements(connection, plan).generate():
                run_change(connection, statement)
        if plan.rejections:
            for statement in catalogue.complete_rejections(connection, plan.schema):
                connection.define(statement)
        failpoint.reach("destination.after-changes")

    def write(self, plan: LoadPlan) -> LoadResult:
        """Write a plan's rows, rejections, catalogue entry and offset."""
        connection = self._transactions.connection
        counter = self.make_counter(plan)
        for write in counter.writes():
            self._writes += 1
            self.writer(connection, plan, write, self._writes, counter).run()
        if plan.rejections:
            catalogue.reject(connection, plan.schema, plan.rejections, plan.rejected_at)
        failpoint.reach("destination.after-rows")
        result = counter.result
        catalogue.finish(connection, plan, encode_result(result))
        return result

    def make_counter(self, plan: LoadPlan) -> LoadCounter:
        """Return what counts the rows of a plan."""
        return LoadCounter(plan)

    def remove(self, schema: str, table: str, log_id: str) -> None:
        """Drop a table with all that is kept of it; see `Rebuild.remove`."""
        with self._transactions.in_turn():
            with self._transactions.translated() as connection:
                if not connection.holds_own_table(catalogue.ENTRIES.name):
                    return
                _, entry = catalogue.read_entry(connection, schema, table)
            self._prepared.clear()
            with self._transactions.transaction() as connection:
                connection.lock_loads()
                inspection.remove_table(connection, schema, table, entry, log_id)
                connection.commit()
