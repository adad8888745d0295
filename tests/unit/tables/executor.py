"""A destination of dicts: carries a `LoadPlan` out the plain way, for tests of the plans."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from treadle.destinations.conformance.loading import literals
from treadle.records.message_batch import MessageBatch
from treadle.tables import table_codec
from treadle.tables.arrow_column import to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    CopyStage,
    CreateRelation,
    DropStage,
    EmptyRelation,
    LoadPlan,
    OffsetCommit,
    PhysicalRelation,
    Relation,
    RelationRows,
    RenameColumn,
    TableOptions,
    TableState,
    TableWrite,
    WidenColumn,
)
from treadle.tables.plan.column_split import widen_values
from treadle.tables.plan.planner import plan_load
from treadle.tables.plan.reconcile import adopt_table
from treadle.tables.plan.sequence_lookup import KnownSequences, SequenceLookup
from treadle.tables.prepare.prepare import LogBatch, PreparedLoad, prepare_load
from treadle.tables.profile import DestinationProfile

SEQUENCE = "_sdc_sequence"
Row = dict[str, Any]


@dataclass
class Held:
    """One physical table."""

    columns: dict[str, ColumnType | None]
    not_null: set[str]
    key: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)

    def check(self) -> None:
        """What an engine would enforce."""
        for row in self.rows:
            assert set(row) <= set(self.columns), (row, self.columns)
            for name in self.not_null:
                assert row.get(name) is not None, (name, row)
        if self.key:
            keys = [tuple(row.get(name) for name in self.key) for row in self.rows]
            assert len(set(keys)) == len(keys), keys


@dataclass
class Executor:
    """Tables of one schema."""

    profile: DestinationProfile
    live: dict[str, Held] = field(default_factory=dict)
    private: dict[str, Held] = field(default_factory=dict)
    catalogue: dict[str, str] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)
    rejected: list[tuple[str, str, str]] = field(default_factory=list)
    causes: list[tuple[str, str, str, str | None]] = field(default_factory=list)
    tombstones: dict[tuple[Any, ...], int] = field(default_factory=dict)
    lookups: int = 0
    position: int = 0

    def state(self, name: str) -> TableState:
        fold = self.profile.fold
        text = self.catalogue.get(fold(name))
        table = None if text is None else table_codec.decode_table(text)
        names: list[str] = [name]
        if table is not None:
            names = [table.name, *(relation.name for relation in table.relations)]
        wanted = set(map(fold, names))
        physical = {
            n: PhysicalRelation(dict(held.columns), frozenset(held.key))
            for n, held in self.live.items()
            if fold(n) in wanted
        }
        return TableState(self.revisions.get(fold(name), 0), table, physical)

    def adopt(self, name: str) -> None:
        """What an operator does about a table that is there already."""
        physical = {
            n: PhysicalRelation(dict(held.columns), frozenset(held.key))
            for n, held in self.live.items()
        }
        table = adopt_table(name, physical, "s", self.profile)
        self.catalogue[self.profile.fold(name)] = table_codec.encode_table(table)
        self.revisions[self.profile.fold(name)] = 1

    def sequences(self, lookup: SequenceLookup) -> list[int | None]:
        self.lookups += 1
        held = (self.private if lookup.private else self.live)[lookup.relation.name]
        by_key = {tuple(row.get(n) for n in lookup.relation.key): row for row in held.rows}
        return [
            by_key[key].get(SEQUENCE)
            if key in by_key
            else self.tombstones.get((lookup.relation.name, *key))
            for key in zip(*lookup.keys, strict=True)
        ]

    def run(
        self,
        batches: Sequence[MessageBatch],
        *,
        options: TableOptions | None = None,
        now: int = 1_000_000,
    ) -> LoadPlan:
        """Prepare, plan and carry out one load."""
        options = options or TableOptions()
        arrivals = [LogBatch(batch, self.position + n, 10 + n) for n, batch in enumerate(batches)]
        self.position += len(batches)
        prepared = prepare_load(arrivals, profile=self.profile, options=options, schema="s")
        return self.carry_out(prepared, options=options, now=now)

    def carry_out(self, prepared: PreparedLoad, *, options: TableOptions, now: int) -> LoadPlan:
        known = KnownSequences()
        while True:
            made = plan_load(
                prepared,
                self.state(prepared.table_name),
                profile=self.profile,
                options=options,
                mark=OffsetCommit("log", 1, prepared.source_name, -1, 0),
                now=now,
                log_id="log",
                known=known,
            )
            if isinstance(made, LoadPlan):
                self.load(made)
                return made
            known = known.with_answer(made, self.sequences(made))

    # --- carrying out ---

    def load(self, made: LoadPlan) -> None:
        made = copy.deepcopy(made)
        for change in made.changes:
            self._change(change)
        for write in made.writes:
            self._write(write, made)
        for rejection in made.rejections:
            self.rejected.append((rejection.table_name, rejection.reason, rejection.record))
            self.causes.append(
                (rejection.table_name, rejection.reason, rejection.code.value, rejection.field)
            )
        fold = self.profile.fold
        if made.table_after is not None:
            self.catalogue[fold(made.table_after.name)] = table_codec.encode_table(made.table_after)
            assert (
                table_codec.decode_table(table_codec.encode_table(made.table_after))
                == made.table_after
            )
            for relation in made.table_after.relations:
                held = self.live[relation.name]
                for column in relation.columns:
                    assert held.columns[column.name] is column.type, (relation.name, column)
            for stage in made.table_after.stages:
                for relation in stage.relations:
                    assert relation.name in self.private
        self.revisions[fold(made.table_name)] = made.revision + 1
        for held in (*self.live.values(), *self.private.values()):
            held.check()

    def _change(self, change: object) -> None:
        place = self.private if getattr(change, "private", False) else self.live
        if isinstance(change, CreateRelation):
            relation = change.relation
            fold = self.profile.fold
            assert fold(relation.name) not in set(map(fold, place)), relation.name
            folded = [fold(column.name) for column in relation.columns]
            assert len(set(folded)) == len(folded), folded
            place[relation.name] = Held(
                {column.name: column.type for column in relation.columns},
                {column.name for column in relation.columns if not column.nullable},
                relation.key,
            )
        elif isinstance(change, RenameColumn):
            held = place[change.relation]
            assert change.new not in held.columns
            held.columns = {
                change.new if n == change.old else n: t for n, t in held.columns.items()
            }
            for row in held.rows:
                row[change.new] = row.pop(change.old, None)
        elif isinstance(change, AddColumn):
            held = place[change.relation]
            taken = set(map(self.profile.fold, held.columns))
            assert self.profile.fold(change.column.name) not in taken, change
            held.columns[change.column.name] = change.column.type
        elif isinstance(change, WidenColumn):
            held = place[change.relation]
            name = change.column.name
            held.columns[name] = change.column.type
            for row in held.rows:
                if row.get(name) is not None:
                    (row[name],) = to_values(
                        widen_values([row[name]], change.old, change.column.type)
                    )
        elif isinstance(change, ChangeKey):
            held = self.live[change.relation]
            assert not change.key or not held.rows
            held.key = change.key
            held.not_null = (held.not_null - set(change.old)) | set(change.key)
        elif isinstance(change, EmptyRelation):
            self.live[change.relation].rows.clear()
            self.tombstones = {
                grave: at for grave, at in self.tombstones.items() if grave[0] != change.relation
            }
        elif isinstance(change, CopyStage):
            stage = self.private[change.stage]
            live = self.live[change.relation]
            assert {old for old, _ in change.columns} == set(stage.columns)
            graves = {g: at for g, at in self.tombstones.items() if g[0] == change.stage}
            self.tombstones |= {(change.relation, *g[1:]): at for g, at in graves.items()}
            for row in stage.rows:
                copied = {}
                for old, new in change.columns:
                    types = stage.columns[old], live.columns[new]
                    assert types[0] is not None
                    assert types[1] is not None
                    (copied[new],) = to_values(widen_values([row.get(old)], types[0], types[1]))
                live.rows.append(copied)
        elif isinstance(change, DropStage):
            del self.private[change.relation]
        else:
            pytest.fail(f"unknown change {change}")

    def _write(self, write: TableWrite, made: LoadPlan) -> None:
        place = self.private if write.private else self.live
        root = write.root.relation
        rows = _rows(write.root)
        held = place[root.name]
        for row in rows:
            for name, value in row.items():
                _check_type(value, held.columns[name])
        children = {rows_.relation.name: (rows_, _rows(rows_)) for rows_ in write.children}
        if write.mode == "append":
            held.rows += rows
            for name, (_, child_rows) in children.items():
                place[name].rows += child_rows
            return
        managed = [column.name for column in root.columns]
        by_key = {tuple(row.get(n) for n in root.key): row for row in held.rows}
        written: dict[tuple[Any, ...], int] = {}
        deletes = _rows(write.deletes) if write.deletes is not None else []
        for row in deletes:
            key = tuple(row[n] for n in root.key)
            if _beats(row, by_key.get(key), write.tie):
                if key in by_key:
                    held.rows.remove(by_key.pop(key))
                written[key] = row[SEQUENCE]
                self.tombstones[(root.name, *key)] = row[SEQUENCE]
        for row in rows:
            key = tuple(row[n] for n in root.key)
            assert key not in written, "a key twice"
            grave = self.tombstones.get((root.name, *key))
            if grave is not None and row[SEQUENCE] <= grave:
                continue
            old = by_key.get(key)
            if not _beats(row, old, write.tie):
                continue
            if old is None:
                held.rows.append({name: row.get(name) for name in managed})
            else:
                old.update({name: row.get(name) for name in managed})
            written[key] = row[SEQUENCE]
        sources = ["_sdc_source_key_" + name for name in root.key]
        gone = {tuple(row[n] for n in root.key) for row in deletes} & set(written)
        for relation in write.stale:
            place[relation.name].rows = [
                row
                for row in place[relation.name].rows
                if not (
                    (key := tuple(row[n] for n in sources)) in written
                    and row[SEQUENCE] < written[key] + (write.tie == "last")
                )
            ]
        for relation in _subtables(made, write) if gone else ():
            place[relation.name].rows = [
                row
                for row in place[relation.name].rows
                if tuple(row[n] for n in sources) not in gone
            ]
        for name, (child, child_rows) in children.items():
            there = place[name]
            at = {tuple(row.get(n) for n in child.relation.key): row for row in there.rows}
            for row in child_rows:
                if written.get(tuple(row[n] for n in sources)) == row[SEQUENCE]:
                    at[tuple(row[n] for n in child.relation.key)] = row
            there.rows = list(at.values())


def _subtables(made: LoadPlan, write: TableWrite) -> list[Relation]:
    assert made.table_after is not None
    sets = [stage.relations for stage in made.table_after.stages] if write.private else []
    sets.append(made.table_after.relations)
    relations = next(s for s in sets if s[0].name == write.root.relation.name)
    return [relation for relation in relations if relation.path]


def _beats(row: Row, old: Row | None, tie: str) -> bool:
    if old is None or old.get(SEQUENCE) is None:
        return True
    return bool(row[SEQUENCE] > old[SEQUENCE] or (tie == "last" and row[SEQUENCE] == old[SEQUENCE]))


def _check_type(value: object, type_: ColumnType | None) -> None:
    if value is None:
        return
    expected = {
        ColumnType.BIGINT: "int",
        ColumnType.BOOLEAN: "bool",
        ColumnType.DECIMAL: "Decimal Huge",
        ColumnType.DOUBLE: "float",
        ColumnType.JSON: "str",
        ColumnType.TEXT: "str",
        ColumnType.TIMESTAMP: "int",
    }
    assert type_ is not None
    assert type(value).__name__ in expected[type_], (value, type_)


def _rows(rows: RelationRows) -> list[Row]:
    sizes = {len(column) for column in rows.columns.values()}
    assert len(sizes) <= 1, {n: len(c) for n, c in rows.columns.items()}
    return [
        dict(zip(rows.columns, values, strict=True))
        for values in zip(*map(to_values, rows.columns.values()), strict=True)
    ]


def batch(
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    *,
    table: str = "t",
    keys: Sequence[str] = ("id",),
    schema: Mapping[str, Any] | None = None,
    version: int = 0,
    activations: Sequence[tuple[int, int]] = (),
    extracted: list[str | None] | None = None,
    bookmarks: Sequence[str] = (),
) -> MessageBatch:
    """A batch as the import endpoints make it."""
    return MessageBatch(
        table_name=table,
        key_names=tuple(keys),
        form="json" if schema is None else "schema",
        schema=b"" if schema is None else json.dumps(schema).encode(),
        bookmark_names=tuple(bookmarks),
        sequences=[sequence for sequence, _ in rows],
        versions=version,
        extracted=extracted,
        activations=list(activations),
        data=literals.dumps([record for _, record in rows]).encode(),
    )


def physical(relation: Relation) -> PhysicalRelation:
    """What a destination shows of a relation."""
    return PhysicalRelation({c.name: c.type for c in relation.columns}, frozenset(relation.key))
