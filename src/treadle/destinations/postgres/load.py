"""One load as PostgreSQL statements, inside a transaction that the caller began and will end.

Rows go straight into a relation that is still empty or has only smaller keys, else into a temporary
staging table, from where one statement merges them.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg import sql

from treadle import failpoint
from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    encode_result,
    find_empty_relations,
    list_subtables,
    order_key,
    pair_parent_key,
    partition_columns,
)
from treadle.destinations.load_counter import LoadCounter
from treadle.destinations.postgres.bookkeeping import finish, hold, lock, reject
from treadle.destinations.postgres.changes import apply_changes, create_tombstones, tombstones
from treadle.destinations.postgres.rows import (
    Connection,
    Stage,
    copy_into,
    identifiers,
    stage_rows,
)
from treadle.destinations.protocol import LoadResult
from treadle.tables.model import ColumnType, LoadPlan, Relation, RelationRows, TableWrite
from treadle.tables.prepare import arrow_column
from treadle.tables.prepare.convert import INT64_MIN
from treadle.tables.prepare.frame import make_row_picker

ANALYZE_ROWS_MIN: Final = 1_000
"""A smaller stage joins well whatever the planner believes of it."""

NEW_SHARE: Final = 4
"""Rows are told apart where at least one of so many is new."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def carry_out(connection: Connection, plan: LoadPlan) -> LoadResult:
    """Do everything of a plan but COMMIT.

    Raises:
        PlanOutdated, Fenced: the plan does not follow what is held.
        psycopg.Error: the server's refusal; the caller rolls back.
    """
    lock(connection, plan)
    failpoint.reach("destination.after-lock")
    apply_changes(connection, plan)
    failpoint.reach("destination.after-changes")
    result = _write(connection, plan)
    finish(connection, plan, encode_result(result.rows, result.superseded))
    return result


def carry_out_first(connection: Connection, plan: LoadPlan, foreseen: LoadResult) -> LoadResult:
    """Do what is left of a first load that `first.begin` began, but COMMIT.

    Raises:
        psycopg.Error: the server's refusal; the caller rolls back.
    """
    failpoint.reach("destination.after-lock")
    failpoint.reach("destination.after-changes")
    result = _write(connection, plan)
    if result != foreseen:  # something of the operator's gave the new table a trigger
        hold(connection, plan.offset, encode_result(result.rows, result.superseded))
    return result


def _write(connection: Connection, plan: LoadPlan) -> LoadResult:
    progress = LoadCounter(plan)
    for number, write in progress.writes():
        _Writer(connection, plan, write, number, progress).run()
    if plan.rejections:
        reject(connection, plan.schema, plan.rejections, plan.rejected_at)
    failpoint.reach("destination.after-rows")
    return progress.result


def split(
    rows: RelationRows, leads: Sequence[int], greatest: int
) -> tuple[RelationRows, RelationRows]:
    """Rows whose leading key is at most the greatest one, and those beyond it."""
    held = arrow_column.to_values(leads)
    beyond = [row for row, lead in enumerate(held) if lead > greatest]
    if len(beyond) == len(held):
        return RelationRows(rows.relation, {}), rows
    rest = [row for row, lead in enumerate(held) if lead <= greatest]
    return _some(rows, rest), _some(rows, beyond)


def _some(rows: RelationRows, chosen: Sequence[int]) -> RelationRows:
    pick = make_row_picker(chosen)
    return RelationRows(
        rows.relation,
        {name: pick(column) for name, column in rows.columns.items()} if chosen else {},
        pick(rows.entries) if rows.entries else (),
    )


class _Writer:
    """Writes one `TableWrite`: the root's rows, then children, then what they leave stale."""

    def __init__(
        self,
        connection: Connection,
        plan: LoadPlan,
        write: TableWrite,
        number: int,
        progress: LoadCounter,
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._write = write
        self._number = number
        self._progress = progress
        self._batched_at = _EPOCH + timedelta(microseconds=plan.batched_at)
        self._stages = 0
        self._tombstones = plan.table_after is not None and plan.table_after.tombstones

    def run(self) -> None:
        """Write everything."""
        write = self._write
        if write.mode == "append":
            for rows in (write.root, *write.children):
                self._append(rows)
            return
        if self._tombstones:
            self._connection.execute(create_tombstones(self._plan, write))
        parents: Stage | None = None
        if not len(write.root) or self._progress.is_empty(write.root.relation):
            self._append(write.root)
        else:
            write = self._write = self._without_new()
            if not len(write.root):
                return
            parents = self._merge_root()
        for rows in write.children:
            self._write_children(rows, parents)
        if len(write.root):
            empty = find_empty_relations(self._plan)
            for child in write.stale:
                if (write.private, child.name) not in empty:
                    self._remove_stale(child, parents)
        if write.deletes is not None and len(write.deletes):
            self._delete(write.deletes)

    # --- parts ------------------------------------------------------------------------------------

    def _append(self, rows: RelationRows) -> None:
        if len(rows):
            count = copy_into(self._connection, self._place(rows.relation), rows)
            self._progress.count(rows.relation, count)

    def _without_new(self) -> TableWrite:
        """What is left of the write when rows beyond all keys that are there are copied.

        Most sources number what they send. Rows with greater keys than all that are there replace
        nothing, so they are copied straight to their place, which takes half of the server's work;
        the greatest key is one look into an index. Whoever else writes such a key meanwhile makes
        the COPY fail, and the load is tried again.
        """
        write, root = self._write, self._write.root.relation
        places = self._led_by_key()
        if not places:
            return write
        leads = {relation.name: name for relation, name in places}
        greatest = self._greatest(places)
        if greatest is None:
            return write
        held = write.root.columns[leads[root.name]]
        new = sum(map(greatest.__lt__, arrow_column.to_values(held)))
        if new * NEW_SHARE < len(held):
            return write
        parts = [
            split(rows, rows.columns[leads[rows.relation.name]], greatest)
            for rows in (write.root, *write.children)
        ]
        for _, beyond in parts:
            self._append(beyond)
        (rest, _), *children = parts
        return replace(write, root=rest, children=tuple(each for each, _ in children))

    def _led_by_key(self) -> list[tuple[Relation, str]]:
        """The relations of the write, each with the first column of its index; none if unusual."""
        write, root = self._write, self._write.root.relation
        if not root.key or self._tombstones or write.deletes is not None:
            return []
        lead = order_key(root.key)[0]
        type_ = next(column.type for column in root.columns if column.name == lead)
        if type_ is not ColumnType.BIGINT:  # its order is the same here and there
            return []
        places = [(root, lead)]
        children = {rows.relation.name: rows.relation for rows in write.children}
        children.update((child.name, child) for child in write.stale)
        for child in children.values():
            repeated = dict(pair_parent_key(root, child))[lead]
            if not child.key or order_key(child.key)[0] != repeated:
                return []
            places.append((child, repeated))
        return places

    def _greatest(self, places: Sequence[tuple[Relation, str]]) -> int | None:
        """The greatest key that the relations hold; None where COPY may not go."""
        asked = [
            sql.SQL(
                "SELECT max({name}) AS key, row_security_active({place}) AS shut FROM {table}"
            ).format(
                name=sql.Identifier(name),
                place=sql.Literal(self._place(relation).as_string(self._connection)),
                table=self._place(relation),
            )
            for relation, name in places
        ]
        found = self._connection.execute(
            sql.SQL("SELECT max(key), bool_or(shut) FROM ({}) g").format(
                sql.SQL(" UNION ALL ").join(asked)
            )
        ).fetchone()
        if found is None or found[1]:
            return None
        return INT64_MIN if found[0] is None else int(found[0])

    def _merge_root(self) -> Stage:
        """Upsert the root's rows; the stage returned holds those that were written."""
        write = self._write
        root = write.root.relation
        total = len(write.root)
        stage = self._stage(write.root)
        if self._tombstones:
            total -= self._lose_to_tombstones(stage)
        greater = sql.SQL(">=" if write.tie == "last" else ">")
        written = self._upsert(
            write.root,
            stage,
            sql.SQL(
                "WHERE t._sdc_sequence IS NULL OR excluded._sdc_sequence {} t._sdc_sequence"
            ).format(greater),
        )
        self._progress.count(root, written)
        if written < total:
            # A row of this load is known by its `_sdc_batched_at`, which no other load has.
            self._lose(
                stage,
                sql.SQL(
                    "NOT EXISTS (SELECT FROM {target} t WHERE {same_key}"
                    " AND t._sdc_batched_at = {batched_at})"
                ).format(
                    target=self._place(root),
                    same_key=stage.matches("t", [(name, name) for name in root.key]),
                    batched_at=sql.Literal(self._batched_at),
                ),
            )
        return stage

    def _write_children(self, rows: RelationRows, parents: Stage | None) -> None:
        if not len(rows):
            return
        child = rows.relation
        lost = parents is not None and self._lost
        if self._progress.is_empty(child) and not lost:
            self._append(rows)
            return
        stage = self._stage(rows)
        if lost and parents is not None:
            pairs = pair_parent_key(self._write.root.relation, child)
            self._connection.execute(
                sql.SQL(
                    "DELETE FROM {stage} c WHERE NOT EXISTS (SELECT FROM {parents} s WHERE {same})"
                ).format(
                    stage=stage.name,
                    parents=parents.name,
                    same=sql.SQL(" AND ").join(
                        sql.SQL("c.{} = s.{}").format(stage.columns[repeated], parents.columns[key])
                        for key, repeated in pairs
                    ),
                )
            )
        # Their parents won, so the children replace whatever has their place.
        self._progress.count(child, self._upsert(rows, stage, sql.SQL("")))

    def _remove_stale(self, child: Relation, parents: Stage | None) -> None:
        """Delete children of the parents written that this load did not write (loading.md 7.5)."""
        root = self._write.root.relation
        pairs = pair_parent_key(root, child)
        if parents is None:
            source: sql.Composable = sql.SQL("{} s").format(self._place(root))
            same = sql.SQL(" AND ").join(
                sql.SQL("c.{} = s.{}").format(sql.Identifier(repeated), sql.Identifier(key))
                for key, repeated in pairs
            )
            sequence: sql.Composable = sql.Identifier("_sdc_sequence")
        else:
            source = sql.SQL("{} s").format(parents.name)
            same = parents.matches("c", pairs)
            sequence = parents.columns["_sdc_sequence"]
        self._connection.execute(
            sql.SQL(
                "DELETE FROM {child} c USING {source} WHERE {same}"
                " AND c._sdc_sequence <= s.{sequence}"
                " AND c._sdc_batched_at IS DISTINCT FROM {batched_at}"
            ).format(
                child=self._place(child),
                source=source,
                same=same,
                sequence=sequence,
                batched_at=sql.Literal(self._batched_at),
            )
        )

    # --- hard deletes (loading.md 9.4) ------------------------------------------------------------

    def _lose_to_tombstones(self, stage: Stage) -> int:
        root = self._write.root.relation
        return self._lose(
            stage,
            sql.SQL(
                "EXISTS (SELECT FROM {tombstones} d WHERE {same_key}"
                " AND d._sdc_sequence {at_least} s.{sequence})"
            ).format(
                tombstones=self._buried(),
                same_key=stage.matches("d", [(name, name) for name in root.key]),
                at_least=sql.SQL(">" if self._write.tie == "last" else ">="),
                sequence=stage.columns["_sdc_sequence"],
            ),
        )

    def _delete(self, deletes: RelationRows) -> None:
        root = self._write.root.relation
        stage = self._stage(RelationRows(root, deletes.columns, deletes.entries))
        greater = sql.SQL(">=" if self._write.tie == "last" else ">")
        # A delete that is older than the row in the table loses to it.
        self._lose(
            stage,
            sql.SQL(
                "EXISTS (SELECT FROM {target} t WHERE {same_key} AND t._sdc_sequence IS NOT NULL"
                " AND NOT s.{sequence} {greater} t._sdc_sequence)"
            ).format(
                target=self._place(root),
                same_key=stage.matches("t", [(name, name) for name in root.key]),
                sequence=stage.columns["_sdc_sequence"],
                greater=greater,
            ),
        )
        for relation, pairs in (
            (root, tuple((name, name) for name in root.key)),
            *(
                (child, pair_parent_key(root, child))
                for child in list_subtables(self._plan, self._write)
            ),
        ):
            self._connection.execute(
                sql.SQL("DELETE FROM {} t USING {} s WHERE {}").format(
                    self._place(relation), stage.name, stage.matches("t", pairs)
                )
            )
        self._connection.execute(
            sql.SQL(
                "INSERT INTO {tombstones} AS d ({key}, _sdc_sequence)"
                " SELECT {staged} FROM {stage} s"
                " ON CONFLICT ({key}) DO UPDATE SET _sdc_sequence ="
                " greatest(d._sdc_sequence, excluded._sdc_sequence)"
            ).format(
                tombstones=self._buried(),
                key=identifiers(root.key),
                staged=sql.SQL(", ").join(
                    sql.SQL("s.{}").format(stage.columns[name])
                    for name in (*root.key, "_sdc_sequence")
                ),
                stage=stage.name,
            )
        )

    def _buried(self) -> sql.Identifier:
        schema = PRIVATE_SCHEMA if self._write.private else self._plan.schema
        return tombstones(schema, self._write.root.relation.name)

    # --- helpers ----------------------------------------------------------------------------------

    _lost = False
    """Some of the root's rows were superseded."""

    def _place(self, relation: Relation) -> sql.Identifier:
        schema = PRIVATE_SCHEMA if self._write.private else self._plan.schema
        return sql.Identifier(schema, relation.name)

    def _stage(self, rows: RelationRows) -> Stage:
        self._stages += 1
        stage = stage_rows(self._connection, rows, f"treadle_{self._number}_{self._stages}")
        if len(rows) >= ANALYZE_ROWS_MIN and (self._write.stale or self._write.children):
            self._connection.execute(sql.SQL("ANALYZE {}").format(stage.name))
        return stage

    def _upsert(self, rows: RelationRows, stage: Stage, condition: sql.Composable) -> int:
        """Insert a stage, replacing rows of the same key where the condition holds.

        Managed columns without values become NULL (loading.md 2.2).
        """
        relation = rows.relation
        given, missing = partition_columns(rows)
        assignments = [
            sql.SQL("{name} = excluded.{name}").format(name=sql.Identifier(column.name))
            for column in given
            if column.name not in relation.key
        ] + [sql.SQL("{} = NULL").format(sql.Identifier(column.name)) for column in missing]
        on_conflict: sql.Composable = sql.SQL("")
        if relation.key:  # the user may have dropped a subtable's key
            on_conflict = sql.SQL(
                "ON CONFLICT ({key}) DO UPDATE SET {assignments} {condition}"
            ).format(
                key=identifiers(relation.key),
                assignments=sql.SQL(", ").join(assignments),
                condition=condition,
            )
        cursor = self._connection.execute(
            sql.SQL(
                "INSERT INTO {target} AS t ({columns}) SELECT {values} FROM {stage} s {on_conflict}"
            ).format(
                target=self._place(relation),
                columns=identifiers(column.name for column in (*given, *missing)),
                values=sql.SQL(", ").join(
                    [
                        *(sql.SQL("s.{}").format(stage.columns[column.name]) for column in given),
                        *(sql.SQL("NULL") for _ in missing),
                    ]
                ),
                stage=stage.name,
                on_conflict=on_conflict,
            )
        )
        return cursor.rowcount

    def _lose(self, stage: Stage, condition: sql.Composable) -> int:
        """Take the rows that meet a condition out of a stage `s` and count them by entry."""
        if not stage.entries:
            cursor = self._connection.execute(
                sql.SQL("DELETE FROM {} s WHERE {}").format(stage.name, condition)
            )
            self._lost = self._lost or cursor.rowcount > 0
            return cursor.rowcount
        found = self._connection.execute(
            sql.SQL(
                "WITH lost AS (DELETE FROM {} s WHERE {} RETURNING entry)"
                " SELECT entry, count(*) FROM lost GROUP BY entry"
            ).format(stage.name, condition)
        ).fetchall()
        self._progress.supersede(found)
        self._lost = self._lost or bool(found)
        return sum(count for _, count in found)
