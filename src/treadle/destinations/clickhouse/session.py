"""A session on ClickHouse, where each statement is done for itself.

A load is begun by an intent in the catalogue, with what proves that it is committed: the offset,
which is written last. Everything before it may be done again. Who comes after an end in between
looks whether the offset is there. If so, the entry of the catalogue and the exchange of tables are
made up for; if not, the rows of that load count as not there (`LoadAttempt`).
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from treadle import failpoint
from treadle.destinations.clickhouse.connection import STAGED, ClickhouseConnection
from treadle.destinations.clickhouse.dialect import (
    REMEMBERING,
    VIEW_MARK,
    VIEW_SUFFIX,
    ClickhouseDialect,
)
from treadle.destinations.clickhouse.schema_statements import (
    FIND_COMMENT,
    ClickhouseStatements,
    generate_exchange,
    generate_respelling,
)
from treadle.destinations.clickhouse.writer import ReplacingWriter
from treadle.destinations.layout import (
    BATCHED_AT,
    PRIVATE_SCHEMA,
    REJECTED,
    digest_name,
    encode_result,
    moves_offset,
)
from treadle.destinations.protocol import (
    DestinationUnavailableError,
    FencedError,
    LoadResult,
    PlanOutdatedError,
    RowRefusedError,
)
from treadle.destinations.sql import catalogue
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.load_intent import LoadAttempt, LoadIntent, LoadProof
from treadle.destinations.sql.process_locks import LocalTransactions
from treadle.destinations.sql.schema_changes import run_change
from treadle.destinations.sql.stepped_changes import generate_undoing
from treadle.destinations.sql.stepped_session import SteppedSession, name_entry
from treadle.destinations.sql.text import Quoted, compose, join
from treadle.tables import table_codec
from treadle.tables.model import LoadPlan, OffsetCommit, Relation, RelationRows, Table
from treadle.tables.schema_owner import SchemaOwner

FIND_FORGOTTEN: Final = Quoted(
    "SELECT name FROM system.tables WHERE database = $1 AND name LIKE $2"
    " AND metadata_modification_time < now() - INTERVAL 1 HOUR"
)
"""Stages of sessions that did not drop them."""

FIND_FORGETFUL: Final = Quoted("""
SELECT name FROM system.tables
WHERE database = $1 AND name = $2 AND engine LIKE '%MergeTree'
  AND engine NOT LIKE 'Replicated%' AND engine NOT LIKE 'Shared%'
  AND position(engine_full, 'non_replicated_deduplication_window') = 0
""")
"""The table $2 of the database $1, if it would take an INSERT twice: as one that a user made."""

END_INSERTS: Final = Quoted(
    "KILL QUERY WHERE startsWith(Settings['insert_deduplication_token'], $1) SYNC"
)
"""Ends the INSERTs that have a token which begins with $1, and waits until they have ended."""

ATTEMPTS_MAX: Final = 1000
"""Loads of a table that are remembered because they were not committed."""


class ClickhouseTransactions(LocalTransactions):
    """There are none; the locks are those of the installation."""

    connection: ClickhouseConnection


class ClickhouseSession(SteppedSession):
    """One connection; see `Session`."""

    schema_statements = ClickhouseStatements
    _transactions: ClickhouseTransactions

    def __init__(self, transactions: ClickhouseTransactions) -> None:
        super().__init__(transactions)
        self._attempts: tuple[LoadAttempt, ...] = ()
        """Of the table that is loaded, those before this load that were not committed."""
        self._read_places: frozenset[tuple[str, str]] = frozenset()
        self._remembering: set[tuple[str, str]] = set()
        """Schemas and names of tables that take no INSERT twice."""

    @property
    def _dialect(self) -> ClickhouseDialect:
        return self._transactions.connection.dialect

    # --- what earlier loads left ------------------------------------------------------------------

    def _prepare(self, schema: str, owner: SchemaOwner) -> None:
        """Make what is missing, and drop the stages of sessions that were killed."""
        super()._prepare(schema, owner)
        with self._transactions.translated() as connection:
            for (name,) in connection.rows(FIND_FORGOTTEN, PRIVATE_SCHEMA, f"{STAGED}%"):
                table = connection.dialect.own(name)
                connection.run(compose("DROP TABLE IF EXISTS {table} SYNC", table=table))

    def remove(self, schema: str, table: str, log_id: str) -> None:
        """Drop a table with all that is kept of it; see `Rebuild.remove`."""
        self._end_earlier(schema, table)
        with self._transactions.translated() as connection:
            _, entry = catalogue.read_entry(connection, schema, table)
            for relation in () if entry is None else entry.relations:
                view = relation.name + VIEW_SUFFIX
                if connection.rows(FIND_COMMENT, schema, view, VIEW_MARK):
                    place = connection.dialect.place(schema, view)
                    connection.run(compose("DROP VIEW {view}", view=place))
        super().remove(schema, table, log_id)

    def _read_unfinished(
        self, connection: SqlConnection, schema: str, table: str
    ) -> LoadIntent | None:
        intent = catalogue.read_intent(connection, schema, table)
        if intent is None or not _is_committed(connection, schema, table, intent):
            return None
        return intent

    def _end(self, connection: SqlConnection, schema: str, table: str, intent: LoadIntent) -> None:
        revision = _read_revision(connection, schema, table)
        if intent.proof is not None and intent.table and revision < intent.proof.revision:
            entry = table_codec.decode_table(intent.table)
            catalogue.keep_entry(connection, schema, entry, intent.proof.revision - 1)
        if intent.replacements:
            failpoint.reach("destination.swap")
        for statement in generate_exchange(connection, schema, intent):
            with self._transactions.guarded():
                connection.run(statement)
        with self._transactions.guarded():
            catalogue.keep_intent(connection, schema, table, LoadIntent())

    def sequences(
        self, schema: str, relation: Relation, keys: Sequence[Sequence[Any]], private: bool
    ) -> list[int | None]:
        """Return the `_sdc_sequence` each key has in the table now: None for no such row."""
        if not relation.key:
            return []
        wanted = RelationRows(relation, dict(zip(relation.key, keys, strict=True)))
        wanted.entries = range(len(wanted))
        with self._transactions.translated() as connection:
            try:
                stage = connection.stage(wanted, "wanted")
                dialect = connection.dialect
                found = connection.rows(
                    compose(
                        # By way of a SELECT: a table that is called `s` would be taken for it.
                        "SELECT t._sdc_sequence FROM {stage} s LEFT JOIN (SELECT {key},"
                        " _sdc_sequence FROM {target} WHERE ({key}) IN (SELECT {staged} FROM"
                        " {stage})) t ON {same_key} ORDER BY s.entry",
                        stage=stage.name,
                        key=dialect.quote_all(relation.key),
                        staged=join(", ", (stage.columns[name] for name in relation.key)),
                        target=dialect.place(PRIVATE_SCHEMA if private else schema, relation.name),
                        same_key=stage.match(dialect, "t", [(n, n) for n in relation.key]),
                    )
                )
            finally:
                connection.release()
        return [sequence for (sequence,) in found]

    # --- loads ------------------------------------------------------------------------------------

    def load_group(self, plans: Sequence[LoadPlan]) -> list[LoadResult]:
        """Carry plans out one by one, once all of them follow what is there."""
        with self._transactions.loading(plans, rehearse=False):
            try:
                self._begin_loads()
                for plan in plans:
                    self._follow(plan)
                failpoint.reach("destination.after-lock")
                return [self._carry_out(plan) for plan in plans]
            finally:
                self._transactions.connection.begin_load("")
                self._transactions.connection.release()

    def _carry_out(self, plan: LoadPlan) -> LoadResult:
        connection = self._transactions.connection
        inserts = name_inserts(plan.schema, name_entry(plan))
        connection.begin_load(f"{inserts}{plan.batched_at}:{plan.offset.position}")
        with self._transactions.translated():
            statements = self._change_structure(plan)
            failpoint.reach("destination.after-changes")
            try:
                with self._dialect.drafting(statements.drafts):
                    for statement in statements.generate_contents():
                        connection.run(statement)
                    result = self.write(plan)
                connection.check_stages()
            except connection.errors as error:
                fault = connection.translate(error)
                if isinstance(fault, RowRefusedError):
                    self._undo(plan)
                raise fault from error
            except RowRefusedError:
                self._undo(plan)
                raise
        failpoint.reach("destination.before-commit")
        try:
            self._require_place(plan)
        except (FencedError, PlanOutdatedError):
            self._undo_added(plan)
            raise
        self._commit(plan, result)
        # It is committed: the next `state` does the rest.
        with suppress(DestinationUnavailableError, *connection.errors):
            intent = catalogue.read_intent(connection, plan.schema, name_entry(plan))
            if intent is not None and _is_of(intent, plan):
                self._end(connection, plan.schema, name_entry(plan), intent)
        return result

    def _change_structure(self, plan: LoadPlan) -> ClickhouseStatements:
        """Note the load, and make the schema changes that come before its rows."""
        table = name_entry(plan)
        with self._transactions.translated() as connection:
            noted = catalogue.read_intent(connection, plan.schema, table)
            if noted is not None and _is_committed(connection, plan.schema, table, noted):
                raise PlanOutdatedError(f"an earlier load of {table!r} is committed by now")
            self._attempts = ()
            if noted is not None and noted.proof is not None:
                self._attempts = noted.proof.attempts
                self._undo_unfinished(plan, table)
                self._finish_widening(plan.schema, table, noted)
                for statement in generate_undoing(connection, noted):
                    with self._transactions.guarded():
                        connection.run(statement)
            statements = ClickhouseStatements(connection, plan)
            statements.check()
            if plan.rejections:
                for statement in catalogue.complete_rejections(connection, plan.schema):
                    connection.run(statement)
            proof = _make_proof(plan, self._attempts)
            intent = LoadIntent(statements.intent.table, statements.replacements,
                                statements.ending.drops, proof)  # fmt: skip
            with self._transactions.guarded():
                catalogue.keep_intent(connection, plan.schema, table, intent)
            failpoint.reach("destination.pending")
            for statement in statements.generate_structure():
                with self._transactions.guarded():
                    run_change(connection, statement)
                failpoint.reach("destination.changed")
        return statements

    def write(self, plan: LoadPlan) -> LoadResult:
        """Write a plan's rejections and rows; `_commit` writes the offset."""
        connection = self._transactions.connection
        self._remember_inserts(plan)
        if plan.rejections:
            catalogue.reject(connection, plan.schema, plan.rejections, plan.rejected_at)
        counter = self.make_counter(plan)
        for write in counter.writes():
            self._writes += 1
            ReplacingWriter(
                connection, plan, write, self._writes, counter, self._attempts, self._read_places
            ).run()
        failpoint.reach("destination.after-rows")
        return counter.result

    def _remember_inserts(self, plan: LoadPlan) -> None:
        """Have tables that are only added to take none of this load's INSERTs twice."""
        added = [(plan.schema, REJECTED)] if plan.rejections else []
        for write in plan.writes:
            schema = PRIVATE_SCHEMA if write.private else plan.schema
            added += [
                (schema, part.relation.name)
                for part in (write.root, *write.children)
                if len(part) and not part.relation.key
            ]
        connection = self._transactions.connection
        for schema, relation in dict.fromkeys(added):
            if (schema, relation) in self._remembering:
                continue
            name = self._dialect.name_of(schema, relation)
            if connection.rows(FIND_FORGETFUL, schema, name):
                connection.run(
                    compose(
                        "ALTER TABLE {table} MODIFY SETTING {remembering}",
                        table=self._dialect.quote(schema, name),
                        remembering=REMEMBERING,
                    )
                )
            if name == relation:  # the next load has another draft
                self._remembering.add((schema, name))

    def _commit(self, plan: LoadPlan, result: LoadResult) -> None:
        """Write the offset: from now on the load is committed.

        Raises:
            FencedError, PlanOutdatedError: another load wrote one at the same time, and that stays.
        """
        connection = self._transactions.connection
        try:
            if moves_offset(plan.offset):
                catalogue.keep_offset(connection, plan.offset, encode_result(result))
                failpoint.reach("destination.after-offset")
                _check_kept(connection, plan.offset)
            elif plan.table_after is not None:
                catalogue.keep_entry(connection, plan.schema, plan.table_after, plan.revision)
        except connection.errors as error:
            raise connection.translate_commit(error) from error
        failpoint.reach("destination.after-commit")

    def _require_place(self, plan: LoadPlan) -> None:
        """Check once more, directly before the offset, that nobody else loaded or loads the table.

        The locks may be lost, or others may load who do not have them.

        Raises:
            FencedError, PlanOutdatedError: somebody did, or does.
            DestinationUnavailableError: the locks may be another's by now.
        """
        with self._transactions.translated() as connection:
            catalogue.claim(connection, plan)
            noted = catalogue.read_intent(connection, plan.schema, name_entry(plan))
            if noted is None or not _is_of(noted, plan):
                raise PlanOutdatedError(
                    f"table {plan.table_name!r}: another load of it was begun meanwhile"
                )
        self._transactions.require_locks()

    def _undo_added(self, plan: LoadPlan) -> None:
        """Take back what a load added that was overtaken, where nothing takes its place.

        In tables with a key its rows may have taken the place of those of its successor, which are
        the same.
        """
        connection = self._transactions.connection
        attempt = LoadAttempt(plan.batched_at, plan.rejected_at, _name_rejected(plan))
        with suppress(*connection.errors):
            self._undo_rejections(plan, [attempt])
            for write in plan.writes:
                for part in (write.root, *write.children):
                    if not part.relation.key:
                        self._undo_rows(plan, write.private, part.relation)

    def _undo(self, plan: LoadPlan) -> None:
        """Take rows back, where a row was refused after others: the next load may be another."""
        attempt = LoadAttempt(plan.batched_at, plan.rejected_at, _name_rejected(plan))
        connection = self._transactions.connection
        with suppress(*connection.errors):
            self._undo_rejections(plan, [attempt])
            for write in plan.writes:
                for part in (write.root, *write.children):
                    self._undo_rows(plan, write.private, part.relation)

    def _undo_rows(self, plan: LoadPlan, private: bool, relation: Relation) -> None:
        schema = PRIVATE_SCHEMA if private else plan.schema
        self._transactions.connection.run(
            compose(
                "DELETE FROM {target} WHERE {at} = {batched_at}",
                target=self._dialect.place(schema, relation.name),
                at=self._dialect.quote(BATCHED_AT),
                batched_at=self._dialect.instant(plan.batched_at),
            )
        )

    def _undo_unfinished(self, plan: LoadPlan, table: str) -> None:
        """Delete what loads added that were not committed: nothing takes the place of such rows.

        The load to come may have no rows of a relation, and no rejections.
        """
        connection = self._transactions.connection
        connection.run(END_INSERTS, name_inserts(plan.schema, table))  # or they land afterwards
        _, entry = catalogue.read_entry(connection, plan.schema, table)
        unfinished = join(", ", (self._dialect.instant(each.batched_at) for each in self._attempts))
        for schema, name in list_added(plan.schema, [entry, plan.table_after]):
            # One that is missing, or was adopted and has no such column yet, has no such rows.
            if any(
                BATCHED_AT in each.columns for each in connection.describe(schema, [name]).values()
            ):
                connection.run(
                    compose(
                        "DELETE FROM {target} WHERE {at} IN ({unfinished})",
                        target=self._dialect.place(schema, name),
                        at=self._dialect.quote(BATCHED_AT),
                        unfinished=unfinished,
                    )
                )
        if connection.holds_table(plan.schema, REJECTED):  # the user may have dropped it
            self._undo_rejections(plan, self._attempts)

    def _finish_widening(self, schema: str, table: str, noted: LoadIntent) -> None:
        """Spell texts anew of which a load that was not committed may have changed the type alone.

        This comes before the intent of the load to come, so that it is done again where it fails.
        """
        connection = self._transactions.connection
        _, held = catalogue.read_held_entry(connection, schema, table)
        if held is None or not noted.table:
            return
        coming = table_codec.decode_table(noted.table)
        for statement in generate_respelling(connection, schema, held, coming, self._attempts):
            with self._transactions.guarded():
                connection.run(statement)

    def _undo_rejections(self, plan: LoadPlan, attempts: Sequence[LoadAttempt]) -> None:
        connection = self._transactions.connection
        for attempt in attempts:
            if attempt.rejected:
                names = (Quoted(self._dialect.literal(name)) for name in attempt.rejected)
                connection.run(
                    compose(
                        "DELETE FROM {place} WHERE _sdc_rejected_at = {at}"
                        " AND table_name IN ({names})",
                        place=self._dialect.place(plan.schema, REJECTED),
                        at=self._dialect.instant(attempt.rejected_at),
                        names=join(", ", names),
                    )
                )

    # --- rehearsals -------------------------------------------------------------------------------

    def _rehearse(self, plan: LoadPlan) -> LoadResult:
        """Carry a plan out on empty copies of the tables that it writes to, and drop them."""
        connection, dialect = self._transactions.connection, self._dialect
        with self._transactions.loading([plan], rehearse=True), self._imagining(plan):
            self._begin_loads()
            self._follow(plan)
            with self._transactions.translated():
                statements = ClickhouseStatements(connection, plan)
                statements.check()
                statements.rehearsed = True
                copies = statements.list_drafted()
                real = {
                    place: dialect.place(*place)
                    for place in copies
                    if connection.holds_table(*place)
                }
                places = {place: dialect.place(place[0], copies[place]) for place in copies}
                self._attempts = ()
                try:
                    for place, copy in places.items():
                        connection.run(compose("DROP TABLE IF EXISTS {copy}", copy=copy))
                        if place in real and place not in statements.drafts:
                            live = real[place]
                            made = compose("CREATE TABLE {copy} AS {live}", copy=copy, live=live)
                            connection.run(made)
                    self._read_places = frozenset(real.keys() - statements.drafts.keys())
                    with dialect.drafting(copies):
                        for statement in statements.generate_structure():
                            run_change(connection, statement)
                        for statement in statements.generate_contents():
                            connection.run(statement)
                        return self.write(replace(plan, rejections=()))
                finally:
                    self._read_places = frozenset()
                    with suppress(*connection.errors):
                        for copy in places.values():
                            connection.run(compose("DROP TABLE IF EXISTS {copy}", copy=copy))
                    connection.release()

    def _is_unused(self, connection: SqlConnection, schema: str) -> bool:
        """Return whether nothing is in a database: DROP DATABASE drops also one that is full."""
        return not connection.list_relations(schema)


def name_inserts(schema: str, table: str) -> str:
    """Return how the tokens of a table's INSERTs begin, those of every load."""
    return f"{digest_name(f'{schema}/{table}')}:"


def list_added(schema: str, tables: Iterable[Table | None]) -> list[tuple[str, str]]:
    """Return schema and name of the relations of a table to which rows are only added.

    Args:
        schema: of the table.
        tables: its catalogue entries, of which the first one counts that has a relation; None for a
            missing one.
    """
    found: dict[tuple[str, str], bool] = {}
    for table in tables:
        if table is None:
            continue
        places = [(schema, each) for each in table.relations]
        places += [(PRIVATE_SCHEMA, each) for stage in table.stages for each in stage.relations]
        for place, relation in places:
            found.setdefault((place, relation.name), table.append or not relation.key)
    return [place for place, is_added in found.items() if is_added]


def _name_rejected(plan: LoadPlan) -> tuple[str, ...]:
    return tuple(sorted({each.table_name for each in plan.rejections}))


def _make_proof(plan: LoadPlan, attempts: Sequence[LoadAttempt]) -> LoadProof:
    """Return what proves that a plan is carried out."""
    mark = plan.offset
    attempt = LoadAttempt(plan.batched_at, plan.rejected_at, _name_rejected(plan))
    return LoadProof(
        0 if plan.table_after is None else plan.revision + 1,
        mark.log_id if moves_offset(mark) else "",
        mark.source_id,
        digest_name(mark.table_name),
        mark.position,
        (*attempts, attempt)[-ATTEMPTS_MAX:],
    )


def _is_of(intent: LoadIntent, plan: LoadPlan) -> bool:
    """Return whether an intent is that of a plan: no other load has its `_sdc_batched_at`."""
    proof = intent.proof
    return proof is not None and proof.attempts[-1].batched_at == plan.batched_at


def _check_kept(connection: SqlConnection, mark: OffsetCommit) -> None:
    """Check that the offset that was written is the one that is held.

    Raises:
        FencedError: a later holder has written its own.
        PlanOutdatedError: somebody with the same fence has.
    """
    rows = _read_offset(connection, mark.log_id, mark.source_id, digest_name(mark.table_name))
    position, fence = rows[0] if rows else (-1, 0)
    if fence > mark.fence:
        raise FencedError(
            f"table {mark.table_name!r}: the fence {mark.fence} was overtaken by {fence}, whose "
            "holder loads this table now",
            int(fence),
        )
    if position != mark.position:
        raise PlanOutdatedError(
            f"table {mark.table_name!r}: the position {mark.position} was written, and the "
            f"destination holds {position}"
        )


def _read_offset(
    connection: SqlConnection, log_id: str, source_id: int, table_key: str
) -> list[tuple[Any, ...]]:
    dialect = connection.dialect
    claim = compose(dialect.claim_offset, **dialect.own_tables)
    return connection.rows(claim, log_id, source_id, table_key)


def _read_revision(connection: SqlConnection, schema: str, table: str) -> int:
    """Return the revision that the catalogue holds; 0 for none."""
    dialect = connection.dialect
    claim = compose(dialect.claim_entry, **dialect.own_tables)
    rows = connection.rows(claim, schema, catalogue.table_key(dialect, table))
    return int(rows[0][0]) if rows else 0


def _is_committed(connection: SqlConnection, schema: str, table: str, intent: LoadIntent) -> bool:
    """Return whether the load of an intent is committed."""
    proof = intent.proof
    if proof is None:
        return False
    if not proof.log_id:
        return _read_revision(connection, schema, table) >= proof.revision
    rows = _read_offset(connection, proof.log_id, proof.source_id, proof.table_key)
    return bool(rows) and int(rows[0][0]) == proof.position
