"""Writes the rows of a load, inside its transaction: winners only (loading.md 2, 7.5, 9.4)."""

from typing import Final, LiteralString

from treadle.destinations.layout import (
    BATCHED_AT,
    PRIVATE_SCHEMA,
    SEQUENCE,
    find_empty_relations,
    list_subtables,
    pair_parent_key,
)
from treadle.destinations.load_counter import LoadCounter
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.schema_changes import make_tombstones
from treadle.destinations.sql.text import NOTHING, Quoted, compose, join_conditions, where
from treadle.destinations.sql.upsert import StagedRows, StagedUpsert, delete_matching
from treadle.tables.model import LoadPlan, Relation, RelationRows, TableWrite

_NEWER: Final[dict[str, LiteralString]] = {
    "first": "t._sdc_sequence IS NULL OR {sequence} > t._sdc_sequence",
    "last": "t._sdc_sequence IS NULL OR {sequence} >= t._sdc_sequence",
}
"""By `TableWrite.tie`: when the row of a load replaces the row `t` that is there."""


class TableWriter:
    """Writes one `TableWrite`: the root's rows, then children, then what they leave stale.

    What was sent is never changed. The rows that a load wrote are known by their
    `_sdc_batched_at`, which no other load of the table has.
    """

    def __init__(
        self,
        connection: SqlConnection,
        plan: LoadPlan,
        write: TableWrite,
        number: int,
        counter: LoadCounter,
    ) -> None:
        self._connection = connection
        self._dialect = connection.dialect
        self._plan = plan
        self._write = write
        self._number = number
        self._counter = counter
        self._schema = PRIVATE_SCHEMA if write.private else plan.schema
        self._batched_at = self._dialect.instant(plan.batched_at)
        self._stages = 0
        self._tombstones = plan.table_after is not None and plan.table_after.tombstones
        self._lost = False
        """Some of the root's rows were superseded."""

    def run(self) -> None:
        """Write everything."""
        write = self._write
        if write.mode == "append":
            for rows in (write.root, *write.children):
                self._append(rows)
            return
        parents: StagedRows | None = None
        if self._counter.is_empty(write.root.relation):
            self._append(write.root)
        else:
            write = self._write = self._append_new()
            if len(write.root):
                parents = self._merge_root()
        if len(write.root):
            for rows in write.children:
                self._write_children(rows)
            empty = find_empty_relations(self._plan)
            for child in write.stale:
                if (write.private, child.name) not in empty:
                    self._remove_stale(child, parents)
        if write.deletes is not None and len(write.deletes):
            self._delete(write.deletes)

    def _append(self, rows: RelationRows) -> None:
        if len(rows):
            written = self._connection.insert(self._place(rows.relation), rows)
            self._counter.count(rows.relation, written)

    def _append_new(self) -> TableWrite:
        """Append rows that can replace none, where that is quicker; returns what is left."""
        return self._write

    def _merge_root(self) -> StagedRows:
        """Upsert the root's rows."""
        rows, root = self._write.root, self._write.root.relation
        stage = self._stage(rows)
        written = self._upsert(rows, stage, self._not_buried(stage), _NEWER[self._write.tie])
        if written < len(rows):
            self._lost = True
            unwritten = compose(
                "NOT EXISTS (SELECT 1 FROM {root} t WHERE {written})",
                root=self._place(root),
                written=self._is_written(stage, root.key, root.key),
            )
            self._supersede(stage, unwritten)
        return stage

    def _write_children(self, rows: RelationRows) -> None:
        if not len(rows):
            return
        if self._counter.is_empty(rows.relation) and not self._lost:
            self._append(rows)
            return
        root = self._write.root.relation
        stage = self._stage(rows)
        condition = NOTHING
        if self._lost:
            keys, repeated = zip(*pair_parent_key(root, rows.relation), strict=True)
            condition = compose(
                "EXISTS (SELECT 1 FROM {root} t WHERE {written})",
                root=self._place(root),
                written=self._is_written(stage, repeated, keys),
            )
        # Their parents won, so the children replace whatever has their place.
        self._upsert(rows, stage, condition)

    def _remove_stale(self, child: Relation, parents: StagedRows | None) -> None:
        """Delete children of the parents written that this load did not write (loading.md 7.5)."""
        root = self._write.root.relation
        pairs = pair_parent_key(root, child)
        place = self._place(root)
        if parents is None:  # all rows of the root are of this load
            others = compose("{root} r", root=place)
            same = self._dialect.match("r", "c", pairs)
            sequence = Quoted("r._sdc_sequence")
        elif self._lost:
            others = compose("{stage} s, {root} t", stage=parents.name, root=place)
            same = join_conditions(
                self._is_written(parents, root.key, root.key),
                parents.match(self._dialect, "c", pairs),
            )
            sequence = Quoted("t._sdc_sequence")
        else:
            others = compose("{stage} s", stage=parents.name)
            same = parents.match(self._dialect, "c", pairs)
            sequence = parents.value(SEQUENCE)
        self._connection.run(
            delete_matching(
                self._dialect,
                self._place(child),
                "c",
                child.key or (*(name for _, name in pairs), BATCHED_AT),
                others,
                join_conditions(
                    same,
                    compose("c._sdc_sequence <= {sequence}", sequence=sequence),
                    compose(
                        self._dialect.differs,
                        one=Quoted("c._sdc_batched_at"),
                        two=self._batched_at,
                    ),
                ),
            )
        )

    # --- hard deletes (loading.md 9.4) ------------------------------------------------------------

    def _not_buried(self, stage: StagedRows) -> Quoted:
        """Return the condition that no deleted key keeps a staged row out."""
        if not self._tombstones:
            return NOTHING
        at_least = Quoted(">" if self._write.tie == "last" else ">=")
        kept = self._find_tombstones()
        return compose(
            "NOT EXISTS (SELECT 1 FROM {tombstones} d WHERE {same_key}"
            " AND d._sdc_sequence {at_least} {sequence})",
            tombstones=self._dialect.own(kept.name),
            same_key=self._match_key(stage, "d"),
            at_least=at_least,
            sequence=stage.value(SEQUENCE),
        )

    def _delete(self, deletes: RelationRows) -> None:
        root = self._write.root.relation
        kept = self._find_tombstones()
        tombstones = self._dialect.own(kept.name)
        stage = self._stage(RelationRows(root, deletes.columns, deletes.entries))
        sequence = stage.value(SEQUENCE)
        # A delete that is older than the row in the table loses to it.
        outlived = compose(
            "EXISTS (SELECT 1 FROM {root} t WHERE {same_key} AND NOT ({newer}))",
            root=self._place(root),
            same_key=self._match_key(stage, "t"),
            newer=compose(_NEWER[self._write.tie], sequence=sequence),
        )
        self._supersede(stage, outlived)
        self._connection.upsert(
            StagedUpsert(
                tombstones,
                RelationRows(kept, deletes.columns),
                stage,
                compose("NOT {outlived}", outlived=outlived),
                "{sequence} > t._sdc_sequence",
            )
        )
        for relation in (root, *list_subtables(self._plan, self._write)):
            pairs = pair_parent_key(root, relation) if relation.path else _pairs(root.key)
            self._connection.run(
                delete_matching(
                    self._dialect,
                    self._place(relation),
                    "t",
                    relation.key or (*(name for _, name in pairs), BATCHED_AT),
                    compose("{stage} s, {tombstones} d", stage=stage.name, tombstones=tombstones),
                    join_conditions(
                        stage.match(self._dialect, "t", pairs),
                        self._match_key(stage, "d"),
                        compose("d._sdc_sequence = {sequence}", sequence=sequence),
                        Quoted("t._sdc_sequence IS NULL OR t._sdc_sequence <= d._sdc_sequence"),
                    ),
                )
            )

    def _find_tombstones(self) -> Relation:
        write = self._write
        return make_tombstones(
            self._dialect, self._plan, write.root.relation, private=write.private
        )

    def _place(self, relation: Relation) -> Quoted:
        return self._dialect.place(self._schema, relation.name)

    def _stage(self, rows: RelationRows) -> StagedRows:
        self._stages += 1
        return self._connection.stage(rows, f"treadle_{self._number}_{self._stages}")

    def _match_key(self, stage: StagedRows, alias: str) -> Quoted:
        return stage.match(self._dialect, alias, _pairs(self._write.root.relation.key))

    def _is_written(
        self, stage: StagedRows, staged: tuple[str, ...], key: tuple[str, ...]
    ) -> Quoted:
        """Return the condition that row `t` of the root has a staged key and is of this load."""
        return compose(
            "{same_key} AND {batched} = {batched_at}",
            same_key=stage.match(self._dialect, "t", zip(staged, key, strict=True)),
            batched=self._dialect.quote("t", BATCHED_AT),
            batched_at=self._batched_at,
        )

    def _upsert(
        self, rows: RelationRows, stage: StagedRows, condition: Quoted, wins: LiteralString = ""
    ) -> int:
        place = self._place(rows.relation)
        written = self._connection.upsert(StagedUpsert(place, rows, stage, condition, wins))
        self._counter.count(rows.relation, written)
        return written

    def _supersede(self, stage: StagedRows, condition: Quoted) -> None:
        """Count the staged rows that meet a condition as superseded, by entry."""
        if not stage.entries:
            return
        found = self._connection.rows(
            compose(
                "SELECT s.entry, count(*) FROM {stage} s {where} GROUP BY s.entry",
                stage=stage.name,
                where=where(condition),
            )
        )
        self._counter.supersede((int(entry), int(count)) for entry, count in found)


def _pairs(key: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, name) for name in key]
