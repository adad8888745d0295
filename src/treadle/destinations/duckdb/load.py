"""One load as DuckDB statements, inside a transaction that the caller began and will end."""

from typing import Final

from treadle import failpoint
from treadle.destinations.duckdb.bookkeeping import check, finish, reject
from treadle.destinations.duckdb.changes import apply_changes, create_tombstones, tombstones
from treadle.destinations.duckdb.quoting import Quoted, compose, joined, name, names
from treadle.destinations.duckdb.rows import Database, Stage
from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    encode_result,
    find_empty_relations,
    list_subtables,
    pair_parent_key,
    partition_columns,
)
from treadle.destinations.load_counter import LoadCounter
from treadle.destinations.protocol import LoadResult
from treadle.tables.model import LoadPlan, Relation, RelationRows, TableWrite

_NOTHING: Final = Quoted("")


def carry_out(database: Database, plan: LoadPlan) -> LoadResult:
    """Do everything of a plan but COMMIT.

    Raises:
        PlanOutdated, Fenced: the plan does not follow what is held.
        duckdb.Error, pyarrow.ArrowException: the refusal; the caller rolls back.
    """
    check(database, plan)
    failpoint.reach("destination.after-lock")
    apply_changes(database, plan)
    failpoint.reach("destination.after-changes")
    progress = LoadCounter(plan)
    for number, write in progress.writes():
        _Writer(database, plan, write, f"treadle_{number}", progress).run()
    _reject(database, plan)
    result = progress.result
    finish(database, plan, encode_result(result.rows, result.superseded))
    return result


def carry_out_first(database: Database, plan: LoadPlan, foreseen: LoadResult) -> LoadResult:
    """The same for a plan whose result `progress.foreseen` knew.

    The position and the catalogue entry are inserted as they will be; their keys say whether there
    are any, for which `check` needs two statements that take as long.

    Raises:
        duckdb.ConstraintException, duckdb.CatalogException: something of the table is there;
            `carry_out` says what is wrong with the plan, or clears it away.
        duckdb.Error, pyarrow.ArrowException: the refusal; the caller rolls back.
    """
    finish(database, plan, encode_result(foreseen.rows, foreseen.superseded))
    failpoint.reach("destination.after-lock")
    apply_changes(database, plan)
    failpoint.reach("destination.after-changes")
    for write in plan.writes:
        for rows in (write.root, *write.children):
            if len(rows):
                database.insert(plan.schema, rows)
    _reject(database, plan)
    return foreseen


def _reject(database: Database, plan: LoadPlan) -> None:
    if plan.rejections:
        reject(database, plan.schema, plan.rejections, plan.rejected_at)
    failpoint.reach("destination.after-rows")


class _Writer:
    """Writes one `TableWrite`: the root's rows, then children, then what they leave stale."""

    def __init__(
        self,
        database: Database,
        plan: LoadPlan,
        write: TableWrite,
        title: str,
        progress: LoadCounter,
    ) -> None:
        self._database = database
        self._plan = plan
        self._write = write
        self._title = title
        self._progress = progress
        self._batched_at = Quoted(f"make_timestamptz({plan.batched_at:d})")
        self._stages = 0
        self._tombstones = plan.table_after is not None and plan.table_after.tombstones

    def run(self) -> None:
        """Write everything."""
        write = self._write
        if write.mode == "append":
            for rows in (write.root, *write.children):
                if len(rows):
                    self._progress.count(rows.relation, self._insert(rows, self._stage(rows)))
            return
        if self._tombstones:
            self._database.run(create_tombstones(self._database, self._plan, write))
            self._database.made_tombstones()
        if len(write.root):
            parents = self._stage(write.root)
            lost = self._merge_root(parents)
            for rows in write.children:
                if len(rows):
                    self._write_children(rows, lost)
            empty = find_empty_relations(self._plan)
            for child in write.stale:
                if (write.private, child.name) not in empty:
                    self._remove_stale(child, parents)
        if write.deletes is not None and len(write.deletes):
            self._delete(write.deletes)

    # --- parts ------------------------------------------------------------------------------------

    def _merge_root(self, stage: Stage) -> bool:
        """Upsert the root's rows; returns whether some of them were superseded."""
        write = self._write
        root = write.root.relation
        greater = Quoted(">=" if write.tie == "last" else ">")
        written = self._insert(
            write.root,
            stage,
            where=self._not_buried(stage),
            wins=compose(
                "t._sdc_sequence IS NULL OR {sequence} {greater} t._sdc_sequence",
                sequence=stage.values(["_sdc_sequence"]),
                greater=greater,
            ),
            update_where=compose(
                "WHERE t._sdc_sequence IS NULL OR excluded._sdc_sequence {greater} t._sdc_sequence",
                greater=greater,
            ),
        )
        self._progress.count(root, written)
        if written == len(write.root):
            return False
        if len(write.root.entries) == len(write.root):
            self._add_superseded(
                stage,
                compose(
                    "NOT EXISTS (SELECT 1 FROM {root} t WHERE {written})",
                    root=self._place(root),
                    written=self._is_written(stage),
                ),
            )
        return True

    def _write_children(self, rows: RelationRows, lost: bool) -> None:
        child = rows.relation
        root = self._write.root.relation
        stage = self._stage(rows)
        where = _NOTHING
        if lost:
            where = compose(
                "WHERE EXISTS (SELECT 1 FROM {root} t WHERE {same}"
                " AND t._sdc_batched_at = {batched_at})",
                root=self._place(root),
                same=stage.matches(
                    "t", [(repeated, key) for key, repeated in pair_parent_key(root, child)]
                ),
                batched_at=self._batched_at,
            )
        # Their parents won, so the children replace whatever has their place.
        self._progress.count(child, self._insert(rows, stage, where=where))

    def _remove_stale(self, child: Relation, parents: Stage) -> None:
        """Delete children of the parents written that this load did not write (loading.md 7.5)."""
        root = self._write.root.relation
        self._database.run(
            compose(
                "DELETE FROM {child} c USING {stage} s, {root} t"
                " WHERE {written} AND {theirs} AND c._sdc_sequence <= t._sdc_sequence"
                " AND c._sdc_batched_at IS DISTINCT FROM {batched_at}",
                batched_at=self._batched_at,
                child=self._place(child),
                stage=parents.name,
                root=self._place(root),
                written=self._is_written(parents),
                theirs=parents.matches("c", pair_parent_key(root, child)),
            )
        )

    # --- hard deletes (loading.md 9.4) ------------------------------------------------------------

    def _not_buried(self, stage: Stage) -> Quoted:
        if not self._tombstones:
            return _NOTHING
        return compose(
            "WHERE NOT EXISTS (SELECT 1 FROM {tombstones} d WHERE {same_key}"
            " AND d._sdc_sequence {at_least} {sequence})",
            tombstones=self._buried(),
            same_key=stage.matches("d", [(key, key) for key in self._write.root.relation.key]),
            at_least=Quoted(">" if self._write.tie == "last" else ">="),
            sequence=stage.values(["_sdc_sequence"]),
        )

    def _delete(self, deletes: RelationRows) -> None:
        root = self._write.root.relation
        stage = self._stage(RelationRows(root, deletes.columns, deletes.entries))
        pairs = [(key, key) for key in root.key]
        # A delete that is older than the row in the table loses to it.
        outlived = compose(
            "EXISTS (SELECT 1 FROM {root} t WHERE {same_key} AND t._sdc_sequence IS NOT NULL"
            " AND NOT {sequence} {greater} t._sdc_sequence)",
            root=self._place(root),
            same_key=stage.matches("t", pairs),
            sequence=stage.values(["_sdc_sequence"]),
            greater=Quoted(">=" if self._write.tie == "last" else ">"),
        )
        if len(deletes.entries) == len(deletes):
            self._add_superseded(stage, outlived)
        buried = self._buried()
        self._database.run(
            compose(
                "INSERT INTO {tombstones} AS d ({key}, _sdc_sequence)"
                " SELECT {values} FROM {stage} s WHERE NOT {outlived}"
                " ON CONFLICT ({key}) DO UPDATE SET _sdc_sequence ="
                " greatest(d._sdc_sequence, excluded._sdc_sequence)",
                tombstones=buried,
                key=names(root.key),
                values=stage.values([*root.key, "_sdc_sequence"]),
                stage=stage.name,
                outlived=outlived,
            )
        )
        for relation in (root, *list_subtables(self._plan, self._write)):
            theirs = pair_parent_key(root, relation) if relation.path else pairs
            self._database.run(
                compose(
                    "DELETE FROM {relation} t USING {stage} s, {tombstones} d"
                    " WHERE {same_row} AND {same_key} AND d._sdc_sequence = {sequence}"
                    " AND (t._sdc_sequence IS NULL OR t._sdc_sequence <= d._sdc_sequence)",
                    relation=self._place(relation),
                    stage=stage.name,
                    tombstones=buried,
                    same_row=stage.matches("t", list(theirs)),
                    same_key=stage.matches("d", pairs),
                    sequence=stage.values(["_sdc_sequence"]),
                )
            )

    def _buried(self) -> Quoted:
        schema = PRIVATE_SCHEMA if self._write.private else self._plan.schema
        return tombstones(self._database, schema, self._write.root.relation.name)

    # --- helpers ----------------------------------------------------------------------------------

    def _place(self, relation: Relation) -> Quoted:
        if self._write.private:
            return self._database.private(relation.name)
        return self._database.place(self._plan.schema, relation.name)

    def _stage(self, rows: RelationRows) -> Stage:
        self._stages += 1
        return Stage(self._database, rows, f"{self._title}_{self._stages}")

    def _is_written(self, stage: Stage) -> Quoted:
        """Condition: row `t` of the root has the key of `s` and was written by this load."""
        return compose(
            # No other load of the table has this `_sdc_batched_at`.
            "{same_key} AND t._sdc_batched_at = {batched_at}",
            batched_at=self._batched_at,
            same_key=stage.matches("t", [(key, key) for key in self._write.root.relation.key]),
        )

    def _insert(
        self,
        rows: RelationRows,
        stage: Stage,
        *,
        where: Quoted = _NOTHING,
        wins: Quoted = _NOTHING,
        update_where: Quoted = _NOTHING,
    ) -> int:
        """Insert a stage, or upsert it by the relation's key; returns how many rows were written.

        Managed columns without values become NULL (loading.md 2.2).

        Args:
            rows: what is in the stage.
            stage: the rows' table.
            where: which rows of the stage `s` take part.
            wins: which rows of the relation `t` give way to the row of `s` with their key.
            update_where: the same as ON CONFLICT says it.
        """
        relation = rows.relation
        given, missing = partition_columns(rows)
        on_conflict = _NOTHING
        # A relation without rows has none of the same key, and a plain INSERT takes half the time.
        empty = self._progress.is_empty(relation)
        if self._write.mode == "upsert" and relation.key and not empty:
            if self._database.holds_only(self._place(relation), relation):
                where = self._remove_replaced(relation, stage, where, wins)
            else:
                on_conflict = self._on_conflict(rows, update_where)
        return self._database.run(
            compose(
                "INSERT INTO {target} AS t ({columns}) SELECT {values} FROM {stage} s"
                " {where} {on_conflict}",
                target=self._place(relation),
                columns=names(column.name for column in (*given, *missing)),
                values=joined(
                    ", ",
                    [
                        *(stage.values([column.name]) for column in given),
                        *(Quoted("NULL") for _ in missing),
                    ],
                ),
                stage=stage.name,
                where=where,
                on_conflict=on_conflict,
            )
        )

    def _remove_replaced(
        self, relation: Relation, stage: Stage, where: Quoted, wins: Quoted
    ) -> Quoted:
        """Delete the rows that the stage replaces; returns which rows of the stage to insert.

        DuckDB writes every block again that an update touches, and a block holds 122,880 rows: to
        replace 10,000 rows of 500,000 takes a seventh of the time when they are deleted first.
        """
        same_key = stage.matches("t", [(key, key) for key in relation.key])
        takes_part = Quoted(where.removeprefix("WHERE "))
        conditions = [
            same_key,
            *(compose("({condition})", condition=each) for each in (wins, takes_part) if each),
        ]
        target = self._place(relation)
        self._database.run(
            compose(
                "DELETE FROM {target} t USING {stage} s WHERE {conditions}",
                target=target,
                stage=stage.name,
                conditions=joined(" AND ", conditions),
            )
        )
        kept = compose(
            "NOT EXISTS (SELECT 1 FROM {target} t WHERE {same_key})",
            target=target,
            same_key=same_key,
        )
        parts = [kept, *([compose("({condition})", condition=takes_part)] if takes_part else [])]
        return compose("WHERE {conditions}", conditions=joined(" AND ", parts))

    @staticmethod
    def _on_conflict(rows: RelationRows, update_where: Quoted) -> Quoted:
        """The clause that replaces rows in place and leaves columns that are not ours."""
        relation = rows.relation
        given, missing = partition_columns(rows)
        return compose(
            "ON CONFLICT ({key}) DO UPDATE SET {assignments} {update_where}",
            key=names(relation.key),
            assignments=joined(
                ", ",
                [
                    compose("{name} = excluded.{name}", name=name(column.name))
                    for column in given
                    if column.name not in relation.key
                ]
                + [compose("{name} = NULL", name=name(column.name)) for column in missing],
            ),
            update_where=update_where,
        )

    def _add_superseded(self, stage: Stage, condition: Quoted) -> None:
        found = self._database.rows(
            compose(
                "SELECT s.entry, count(*) FROM {stage} s WHERE {condition} GROUP BY s.entry",
                stage=stage.name,
                condition=condition,
            )
        )
        self._progress.supersede((entry, count) for entry, count in found)
