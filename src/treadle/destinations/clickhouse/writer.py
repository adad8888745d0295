"""Writes the rows of a load into ClickHouse by INSERTs that may be repeated (loading.md 2, 7.5).

The engine keeps the row of the greatest sequence, and of equal ones the last that came. So the rows
that lose are left out here: those whose key has a row with a sequence that is not lower. What is
deleted is a row with `_treadle_gone`. The order is children, root: a parent that is there has its
children, whenever a load ends.
"""

from collections.abc import Sequence
from typing import Final, LiteralString

from treadle.destinations.clickhouse.connection import ClickhouseConnection
from treadle.destinations.clickhouse.dialect import GONE
from treadle.destinations.layout import (
    BATCHED_AT,
    PRIVATE_SCHEMA,
    SEQUENCE,
    list_subtables,
    pair_parent_key,
    partition_columns,
)
from treadle.destinations.load_counter import LoadCounter
from treadle.destinations.sql.load_intent import LoadAttempt
from treadle.destinations.sql.text import NOTHING, Quoted, compose, join, where
from treadle.destinations.sql.upsert import StagedRows
from treadle.errors import TableStoppedError
from treadle.tables.model import LoadPlan, Relation, RelationRows, TableWrite
from treadle.tables.profiles import CLICKHOUSE_GONE

_NEWER: Final[dict[str, LiteralString]] = {
    "first": "{sequence} > t._treadle_sequence",
    "last": "{sequence} >= t._treadle_sequence",
}
"""By `TableWrite.tie`: when the row of a load wins over the row `t` that is there."""

LIST_OWN_COLUMNS: Final = """
SELECT name, default_kind FROM system.columns WHERE database = $1 AND table = $2 ORDER BY position
"""


class ReplacingWriter:
    """Writes one `TableWrite`.

    Args:
        connection: to the database.
        plan: with the write.
        write: of it.
        number: of the write in its load.
        counter: of rows.
        attempts: loads of the table that were not committed: their rows count as not there.
        read_places: relations of which a rehearsal reads the real rows, and writes to a copy.
    """

    def __init__(
        self,
        connection: ClickhouseConnection,
        plan: LoadPlan,
        write: TableWrite,
        number: int,
        counter: LoadCounter,
        attempts: Sequence[LoadAttempt] = (),
        read_places: frozenset[tuple[str, str]] = frozenset(),
    ) -> None:
        self._connection = connection
        self._dialect = connection.dialect
        self._plan = plan
        self._write = write
        self._number = number
        self._counter = counter
        self._schema = PRIVATE_SCHEMA if write.private else plan.schema
        self._read_places = read_places
        self._stages = 0
        self._extras: dict[str, list[str]] = {}
        self._batched_at = self._dialect.instant(plan.batched_at)
        self._unfinished = join(", ", (self._dialect.instant(each.batched_at) for each in attempts))

    def run(self) -> None:
        """Write everything."""
        write = self._write
        parts = [part for part in (write.root, *write.children) if len(part)]
        if write.mode == "append":
            for part in parts:
                self._append(part)
            return
        relations = (write.root.relation, *(c.relation for c in write.children), *write.stale)
        if all(map(self._counter.is_empty, relations)):
            for part in reversed(parts):
                self._append(part)
        elif len(write.root):
            self._merge(write.root)
        if write.deletes is not None and len(write.deletes):
            self._delete(write.deletes)

    def _append(self, rows: RelationRows) -> None:
        written = self._connection.insert(self._place(rows.relation), rows)
        self._counter.count(rows.relation, written)

    def _merge(self, rows: RelationRows) -> None:
        root = rows.relation
        self._check(root)
        stage = self._stage(rows)
        losers = self._list_losers(root, stage)
        lost = self._supersede(stage, losers)
        if lost == len(rows):
            return
        winning = NOTHING
        if lost:
            keys = compose(
                "SELECT {keys} FROM {losers}", keys=_values(stage, root.key), losers=losers
            )
            winning = compose("NOT IN ({keys})", keys=keys)
        for child in self._write.children:
            if len(child):
                self._write_child(child, winning)
        for relation in self._write.stale:
            if not self._counter.is_empty(relation):
                self._hide_stale(relation, stage, winning)
        condition = NOTHING
        if lost:
            condition = compose("({key}) {winning}", key=_values(stage, root.key), winning=winning)
        self._replace(rows, stage, condition)
        self._counter.count(root, len(rows) - lost)

    def _list_losers(self, root: Relation, stage: StagedRows) -> Quoted:
        """Return FROM and WHERE of the staged rows that lose against what is there."""
        newer = compose(_NEWER[self._write.tie], sequence=stage.value(SEQUENCE))
        return compose(
            "{stage} s INNER JOIN ({held}) t ON {same_key} WHERE NOT ({newer})",
            stage=stage.name,
            held=self._list_held(root, stage),
            same_key=stage.match(self._dialect, "t", _pairs(root.key)),
            newer=newer,
        )

    def _list_held(self, root: Relation, stage: StagedRows) -> Quoted:
        """Return the SELECT of the greatest sequence, deleted rows included, for staged keys."""
        unfinished = compose(
            "NOT ifNull({at} IN ({unfinished}), 0)",
            at=self._dialect.quote(BATCHED_AT),
            unfinished=self._unfinished,
        )
        return compose(
            "SELECT {key}, max({sequence}) AS _treadle_sequence FROM {root} {where} GROUP BY {key}",
            key=self._dialect.quote_all(root.key),
            sequence=self._dialect.quote(SEQUENCE),
            root=self._read_place(root),
            where=where(
                compose(
                    "({key}) IN (SELECT {keys} FROM {stage} s)",
                    key=self._dialect.quote_all(root.key),
                    keys=_values(stage, root.key),
                    stage=stage.name,
                ),
                unfinished if self._unfinished else NOTHING,
            ),
        )

    def _write_child(self, rows: RelationRows, winning: Quoted) -> None:
        """Write the children of parents that win."""
        extras = self._check(rows.relation)
        if not winning and not extras:
            self._append(rows)
            return
        stage = self._stage(rows)
        if not winning:
            self._replace(rows, stage, NOTHING)
            self._counter.count(rows.relation, len(rows))
            return
        repeated = self._list_repeated(rows.relation)
        condition = compose("({key}) {winning}", key=_values(stage, repeated), winning=winning)
        counted = compose(
            "SELECT count() FROM {stage} s {where} SETTINGS final = 0",
            stage=stage.name,
            where=where(condition),
        )
        [(count,)] = self._connection.rows(counted)
        self._replace(rows, stage, condition)
        self._counter.count(rows.relation, int(count))

    def _replace(self, rows: RelationRows, stage: StagedRows, condition: Quoted) -> None:
        """Insert staged rows, with the values that columns of the user have in the row replaced."""
        relation = rows.relation
        given, _ = partition_columns(rows)
        extras = self._check(relation)
        names = self._dialect.quote_all(column.name for column in given)
        values = _values(stage, [column.name for column in given])
        target = self._place(relation)
        if not extras:
            self._connection.run(
                compose(
                    "INSERT INTO {target} ({names}) SELECT {values} FROM {stage} s {where}"
                    " SETTINGS final = 0",
                    target=target,
                    names=names,
                    values=values,
                    stage=stage.name,
                    where=where(condition),
                )
            )
            return
        kept = self._dialect.quote_all(extras)
        held = compose(
            "SELECT {key}, {kept} FROM {place} FINAL WHERE ({key}) IN"
            " (SELECT {keys} FROM {stage} s)",
            key=self._dialect.quote_all(relation.key),
            kept=kept,
            place=self._read_place(relation),
            keys=_values(stage, relation.key),
            stage=stage.name,
        )
        same_key = stage.match(self._dialect, "t", _pairs(relation.key))
        parts = {"target": target, "names": names, "values": values, "stage": stage.name}
        # The rows that are new come last: after that, all keys have a row. Those that lose now do
        # so still, since what is written meanwhile wins.
        self._connection.run(
            compose(
                "INSERT INTO {target} ({names}, {kept}) SELECT {values}, {from_there}"
                " FROM {stage} s INNER JOIN ({held}) t ON {same_key} {where} SETTINGS final = 0",
                kept=kept,
                from_there=self._dialect.quote_all(extras, "t"),
                held=held,
                same_key=same_key,
                where=where(condition),
                **parts,
            )
        )
        self._connection.run(
            compose(
                "INSERT INTO {target} ({names}) SELECT {values} FROM {stage} s"
                " LEFT ANTI JOIN ({held}) t ON {same_key} {where} SETTINGS final = 0",
                held=held,
                same_key=same_key,
                where=where(condition),
                **parts,
            )
        )

    def _hide_stale(self, child: Relation, stage: StagedRows, winning: Quoted) -> None:
        """Hide children of parents that win, if this load did not write them (loading.md 7.5)."""
        root = self._write.root.relation
        condition = NOTHING
        if winning:
            condition = compose("({key}) {winning}", key=_values(stage, root.key), winning=winning)
        parents = _list_parents(root, stage, condition)
        unwritten = compose(
            "ifNull(c.{at} != {batched_at}, 1)",
            at=self._dialect.quote(BATCHED_AT),
            batched_at=self._batched_at,
        )
        self._hide_children(child, parents, unwritten)

    def _hide_children(self, child: Relation, parents: Quoted, condition: Quoted = NOTHING) -> None:
        """Hide children that are not newer than their parents, which `parents` selects."""
        repeated = self._list_repeated(child)
        numbers = [_number(place) for place in range(len(repeated))]
        if not child.key:  # nothing can hide its rows
            keys = compose(
                "SELECT {numbers} FROM ({parents})", numbers=join(", ", numbers), parents=parents
            )
            self._connection.run(
                compose(
                    "DELETE FROM {target} WHERE ({repeated}) IN ({keys})"
                    " AND ifNull({at} != {batched_at}, 1)",
                    target=self._place(child),
                    repeated=self._dialect.quote_all(repeated),
                    keys=keys,
                    at=self._dialect.quote(BATCHED_AT),
                    batched_at=self._batched_at,
                )
            )
            return
        self._check(child)
        same = join(
            " AND ",
            (
                compose("c.{name} = p.{number}", name=self._dialect.quote(name), number=number)
                for name, number in zip(repeated, numbers, strict=True)
            ),
        )
        self._connection.run(
            compose(
                "INSERT INTO {target} ({key}, {sequence}, {at}, {gone})"
                " SELECT {its_key}, p.sequence, {batched_at}, 1"
                " FROM (SELECT {key}, {sequence}, {at} FROM {place} FINAL WHERE ({repeated}) IN"
                " (SELECT {numbers} FROM ({parents}))) c"
                " INNER JOIN ({parents}) p ON {same} {where} SETTINGS final = 0",
                target=self._place(child),
                place=self._read_place(child),
                key=self._dialect.quote_all(child.key),
                its_key=self._dialect.quote_all(child.key, "c"),
                sequence=self._dialect.quote(SEQUENCE),
                at=self._dialect.quote(BATCHED_AT),
                gone=GONE,
                batched_at=self._batched_at,
                repeated=self._dialect.quote_all(repeated),
                numbers=join(", ", numbers),
                parents=parents,
                same=same,
                where=where(
                    compose("c.{sequence} <= p.sequence", sequence=self._dialect.quote(SEQUENCE)),
                    condition,
                ),
            )
        )

    # --- hard deletes (loading.md 9.4) ------------------------------------------------------------

    def _delete(self, deletes: RelationRows) -> None:
        root = self._write.root.relation
        self._check(root)
        stage = self._stage(RelationRows(root, deletes.columns, deletes.entries))
        # Only a row that is there outlives a delete: one that comes later than another is no news.
        outlived = compose(
            "{stage} s INNER JOIN (SELECT {key}, {sequence} AS _treadle_sequence FROM {root} FINAL"
            " WHERE ({key}) IN (SELECT {keys} FROM {stage} s)) t ON {same_key} WHERE NOT ({newer})",
            stage=stage.name,
            key=self._dialect.quote_all(root.key),
            sequence=self._dialect.quote(SEQUENCE),
            root=self._read_place(root),
            keys=_values(stage, root.key),
            same_key=stage.match(self._dialect, "t", _pairs(root.key)),
            newer=compose(_NEWER[self._write.tie], sequence=stage.value(SEQUENCE)),
        )
        self._supersede(stage, outlived)
        condition = compose(
            "({keys}) NOT IN (SELECT {keys} FROM {outlived})",
            keys=_values(stage, root.key),
            outlived=outlived,
        )
        parents = _list_parents(root, stage, condition)
        for relation in list_subtables(self._plan, self._write):
            self._hide_children(relation, parents)
        self._connection.run(
            compose(
                "INSERT INTO {target} ({key}, {sequence}, {at}, {gone})"
                " SELECT {numbers}, sequence, {batched_at}, 1 FROM ({parents})"
                " SETTINGS final = 0",
                target=self._place(root),
                key=self._dialect.quote_all(root.key),
                sequence=self._dialect.quote(SEQUENCE),
                at=self._dialect.quote(BATCHED_AT),
                gone=GONE,
                numbers=join(", ", (_number(place) for place in range(len(root.key)))),
                batched_at=self._batched_at,
                parents=parents,
            )
        )

    # --- helpers ----------------------------------------------------------------------------------

    def _list_repeated(self, child: Relation) -> list[str]:
        """Return the columns of a child that repeat its parent's key, in the order of that."""
        root = self._write.root.relation
        repeated = dict(pair_parent_key(root, child))
        return [repeated[name] for name in root.key]

    def _check(self, relation: Relation) -> list[str]:
        """Return the columns of the user in a relation, whose rows can take each other's place.

        Raises:
            TableStoppedError: they cannot, since treadle did not make the table.
        """
        if relation.name in self._extras or not relation.key:
            return self._extras.get(relation.name, [])
        known = {column.name for column in relation.columns}
        name = self._dialect.name_of(self._schema, relation.name)
        found = dict(self._connection.rows(Quoted(LIST_OWN_COLUMNS), self._schema, name))
        if found and CLICKHOUSE_GONE not in found:
            raise TableStoppedError(
                f'The table "{relation.name}" has no column {CLICKHOUSE_GONE}, so that no row can '
                "take the place of another. Make it as ReplacingMergeTree(_sdc_sequence, "
                f"{CLICKHOUSE_GONE}), as the page about ClickHouse says, or drop it and send its "
                "data again."
            )
        extras = [
            name
            for name, kind in found.items()
            if name not in known and kind in ("", "DEFAULT") and name != CLICKHOUSE_GONE
        ]
        self._extras[relation.name] = extras
        return extras

    def _place(self, relation: Relation) -> Quoted:
        return self._dialect.place(self._schema, relation.name)

    def _read_place(self, relation: Relation) -> Quoted:
        """Return where the rows of a relation are: in a rehearsal they are not where it writes."""
        if (self._schema, relation.name) in self._read_places:
            return self._dialect.quote(self._schema, relation.name)
        return self._place(relation)

    def _stage(self, rows: RelationRows) -> StagedRows:
        self._stages += 1
        return self._connection.stage(rows, f"{self._number}_{self._stages}")

    def _supersede(self, stage: StagedRows, losers: Quoted) -> int:
        """Count the staged rows of a FROM as superseded, by entry; return how many they are."""
        found = self._connection.rows(
            compose(
                "SELECT {entry} AS its_entry, count() FROM {losers} GROUP BY its_entry"
                " SETTINGS final = 0",
                entry=Quoted("s.entry" if stage.entries else "0"),
                losers=losers,
            )
        )
        if stage.entries:
            self._counter.supersede((int(entry), int(count)) for entry, count in found)
        return sum(int(count) for _, count in found)


def _list_parents(root: Relation, stage: StagedRows, condition: Quoted) -> Quoted:
    """Return the SELECT of the keys of staged rows, as k0, k1 and so on, and of their sequences."""
    keys = (
        compose("{value} AS {name}", value=stage.value(one), name=_number(place))
        for place, one in enumerate(root.key)
    )
    return compose(
        "SELECT {keys}, {sequence} AS sequence FROM {stage} s {where}",
        keys=join(", ", keys),
        sequence=stage.value(SEQUENCE),
        stage=stage.name,
        where=where(condition),
    )


def _values(stage: StagedRows, columns: Sequence[str]) -> Quoted:
    return join(", ", (stage.value(column) for column in columns))


def _pairs(key: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, name) for name in key]


def _number(place: int) -> Quoted:
    return Quoted(f"k{place:d}")
