"""Drafts the rows of a load: winners only (loading.md 2, 7.5, 9.4)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from treadle.destinations.iceberg.key_search import make_numbers
from treadle.destinations.iceberg.load_context import LoadContext
from treadle.destinations.iceberg.load_drafts import LoadDrafts
from treadle.destinations.iceberg.relation_draft import RelationDraft
from treadle.destinations.iceberg.row_format import make_rows
from treadle.destinations.layout import (
    SEQUENCE,
    find_empty_relations,
    list_subtables,
    pair_parent_key,
)
from treadle.destinations.load_counter import LoadCounter
from treadle.destinations.protocol import LoadResult
from treadle.tables.model import Relation, RelationRows, TableWrite


@dataclass
class WrittenParents:
    """Root rows that a load wrote, as their children are looked up by them.

    Attributes:
        rows: the key columns of the root, and their sequences, in a column whose name is empty.
        are_all: no row of the load lost.
    """

    rows: "pa.Table"
    are_all: bool


class LoadRows:
    """Drafts the writes of a plan.

    Args:
        context: of the load.
        drafts: of the load; its schema changes are drafted.
    """

    def __init__(self, context: LoadContext, drafts: LoadDrafts) -> None:
        self._context = context
        self._search = context.search
        self._drafts = drafts
        self._counter = LoadCounter(context.plan)
        self._empty = find_empty_relations(context.plan)

    def draft_writes(self) -> LoadResult:
        """Draft everything; returns the result that the load has when it is committed."""
        for write in self._counter.writes():
            self._write_table(write)
        return self._counter.result

    def _write_table(self, write: TableWrite) -> None:
        if write.mode == "append":
            for rows in (write.root, *write.children):
                self._append(rows, write.private)
            return
        if len(write.root):
            parents = self._merge_root(write)
            for rows in filter(len, write.children):
                self._write_children(write, rows, parents)
            written = {rows.relation.name for rows in write.children if len(rows)}
            for child in write.stale:
                is_empty = (write.private, child.name) in self._empty
                if not is_empty and child.name not in written:
                    self._write_children(write, RelationRows(child, {}), parents)
        if write.deletes is not None and len(write.deletes):
            self._delete(write, write.deletes)

    def _append(self, rows: RelationRows, private: bool) -> None:
        if len(rows):
            draft = self._drafts.require_draft(rows.relation.name, private, rows.relation)
            draft.require_free_columns()
            draft.add_rows(make_rows(rows))
            self._counter.count(rows.relation, len(rows))

    def _merge_root(self, write: TableWrite) -> WrittenParents:
        """Upsert the root's rows (loading.md 2)."""
        root = write.root.relation
        draft = self._drafts.require_draft(root.name, write.private, root)
        draft.require_free_columns()
        rows = make_rows(write.root)
        keys = rows.select(list(root.key))
        if self._counter.is_empty(root) and not draft.added:
            draft.add_rows(rows)
            self._counter.count(root, rows.num_rows)
            return WrittenParents(_with_sequence(rows, root.key), are_all=True)
        foreign = draft.list_foreign_columns()
        live = draft.find_keys(root.key, keys)
        found = self._search.find_rows(live, root.key, keys, [SEQUENCE, *foreign])
        lost = find_lost(found, rows, write.tie)
        if self._context.keeps_tombstones:
            lost |= self._find_buried(write, keys, rows)
        kept = rows
        if lost:
            self._supersede(write.root, lost)
            numbers = make_numbers(rows.num_rows)
            stays = pc.invert(pc.is_in(numbers, value_set=pa.array(sorted(lost), pa.int64())))
            kept = rows.filter(stays)
            won = pc.invert(pc.is_in(found["row"], value_set=pa.array(sorted(lost), pa.int64())))
            found = found.filter(won)
        draft.remove_rows(live, found.select(["file", "pos"]))
        written = kept
        if foreign and kept.num_rows:
            places = [at for at in range(rows.num_rows) if at not in lost]
            written = carry_columns(kept, places, found, foreign)
        if written.num_rows:
            draft.add_rows(written)
        self._counter.count(root, kept.num_rows)
        return WrittenParents(_with_sequence(kept, root.key), are_all=not lost)

    def _find_buried(self, write: TableWrite, keys: "pa.Table", rows: "pa.Table") -> set[int]:
        """Return the rows of the load whose key was deleted with a sequence that is not lower."""
        root = write.root.relation
        draft = self._drafts.find_tombstones(root, private=write.private)
        if draft is None:
            return set()
        live = draft.find_keys(root.key, keys)
        found = self._search.find_rows(live, root.key, keys, [SEQUENCE])
        if not found.num_rows:
            return set()
        mine = pa.table({"row": make_numbers(rows.num_rows), "sequence": rows[SEQUENCE]})
        at_least = ">" if write.tie == "last" else ">="
        buried = self._search.run(
            "SELECT DISTINCT f.row FROM found f JOIN mine s ON s.row = f.row"  # noqa: S608
            f" WHERE f.x0 {at_least} s.sequence",
            found=found.select(["row", "x0"]),
            mine=mine,
        )
        return {int(row["row"]) for row in buried.to_pylist()}

    def _supersede(self, rows: RelationRows, lost: set[int]) -> None:
        if rows.entries:
            entries = Counter(int(rows.entries[row]) for row in lost)
            self._counter.supersede(sorted(entries.items()))

    def _write_children(
        self, write: TableWrite, rows: RelationRows, parents: WrittenParents
    ) -> None:
        """Write the rows of a subtable whose parents won, and remove those that they leave stale.

        The rows of a parent are looked up once: they go if they have the place of one that comes,
        or if the parent is newer (loading.md 7.5).
        """
        child, root = rows.relation, write.root.relation
        stale = any(each.name == child.name for each in write.stale)
        draft = self._drafts.require_draft(child.name, write.private, child)
        coming = make_rows(rows) if len(rows) else None
        pairs = pair_parent_key(root, child)
        if coming is not None:
            draft.require_free_columns()
            if not parents.are_all:
                coming = self._keep_children(coming, parents, pairs)
        is_empty = (write.private, child.name) in self._empty and not draft.added
        if not is_empty and parents.rows.num_rows:
            self._replace_children(draft, child, coming, parents, pairs, stale=stale)
        if coming is not None and coming.num_rows:
            draft.add_rows(coming)
            self._counter.count(child, coming.num_rows)

    def _keep_children(
        self, coming: "pa.Table", parents: WrittenParents, pairs: Sequence[tuple[str, str]]
    ) -> "pa.Table":
        """Return the rows whose parent was written."""
        if not coming.num_rows:
            return coming
        mine = coming.select([repeated for _, repeated in pairs])
        mine = mine.rename_columns([f"k{at}" for at in range(len(pairs))])
        kept = self._search.run(
            "SELECT s.row FROM mine s SEMI JOIN parents p ON "  # noqa: S608 - names of ours
            + " AND ".join(f"p.k{at} = s.k{at}" for at in range(len(pairs))),
            mine=mine.append_column("row", make_numbers(mine.num_rows)),
            parents=_name_keys(parents, [key for key, _ in pairs]),
        )
        return coming.take(kept["row"].combine_chunks().sort())

    def _replace_children(
        self,
        draft: RelationDraft,
        child: Relation,
        coming: "pa.Table | None",
        parents: WrittenParents,
        pairs: Sequence[tuple[str, str]],
        *,
        stale: bool,
    ) -> None:
        repeated = [name for _, name in pairs]
        others = [name for name in child.key if name not in repeated]
        # A subtable without a key of its own has rows that no coming row has the place of.
        replaces = coming is not None and coming.num_rows > 0 and bool(child.key)
        if not stale and not replaces:
            return
        wanted = _name_keys(parents, [key for key, _ in pairs]).drop_columns(["sequence"])
        live = draft.find_keys(repeated, wanted)
        found = self._search.find_rows(live, repeated, wanted, [SEQUENCE, *others])
        if not found.num_rows:
            return
        if stale:
            gone = self._search.run(
                "SELECT f.file, f.pos FROM found f JOIN parents p ON p.row = f.row"
                " WHERE f.x0 <= p.sequence",
                found=found.select(["row", "file", "pos", "x0"]),
                parents=pa.table(
                    {"row": make_numbers(parents.rows.num_rows), "sequence": parents.rows[""]}
                ),
            )
            draft.remove_rows(live, gone)
        if replaces and coming is not None:
            draft.remove_rows(live, self._find_replaced(found, coming, wanted, repeated, others))

    def _find_replaced(
        self,
        found: "pa.Table",
        coming: "pa.Table",
        wanted: "pa.Table",
        repeated: Sequence[str],
        others: Sequence[str],
    ) -> "pa.Table":
        """Return the places of the rows that have the place of one that comes.

        The number of the parent stands for its key: `found` has it from the search.
        """
        names = [*repeated, *others]
        mine = coming.select(names).rename_columns([f"k{at}" for at in range(len(names))])
        others_of_mine = [f"m.k{len(repeated) + at} AS x{at + 1}" for at in range(len(others))]
        placed = self._search.run(
            f"SELECT {', '.join(['w.row', *others_of_mine])} FROM mine m JOIN wanted w ON "  # noqa: S608 - names of ours
            + " AND ".join(f"w.k{at} = m.k{at}" for at in range(len(repeated))),
            mine=mine,
            wanted=wanted.append_column("row", make_numbers(wanted.num_rows)),
        )
        same = ["m.row = f.row", *(f"m.x{at + 1} = f.x{at + 1}" for at in range(len(others)))]
        return self._search.run(
            f"SELECT f.file, f.pos FROM found f SEMI JOIN placed m ON {' AND '.join(same)}",  # noqa: S608
            found=found,
            placed=placed,
        )

    def _delete(self, write: TableWrite, deletes: RelationRows) -> None:
        """Remove rows with their children, and keep their keys (loading.md 9.4)."""
        root = write.root.relation
        rows = make_rows(RelationRows(root, deletes.columns, deletes.entries))
        keys = rows.select(list(root.key))
        mine = pa.table({"row": make_numbers(rows.num_rows), "sequence": rows[SEQUENCE]})
        draft = self._drafts.require_draft(root.name, write.private, root)
        live = draft.find_keys(root.key, keys)
        found = self._search.find_rows(live, root.key, keys, [SEQUENCE])
        # A delete that is older than the row in the table loses to it.
        outlived = find_lost(found, rows, write.tie)
        if outlived:
            self._supersede(deletes, outlived)
        kept = self._drafts.find_tombstones(root, private=write.private)
        if kept is None:
            kept = self._drafts.make_tombstones(root, private=write.private)
        held_live = kept.find_keys(root.key, keys)
        held = self._search.find_rows(held_live, root.key, keys, [SEQUENCE])
        judged = self._search.run(
            "SELECT s.row, coalesce(max(h.x0) >= s.sequence, false) AS is_held,"
            " coalesce(max(h.x0) > s.sequence, false) AS is_higher"
            " FROM mine s LEFT JOIN held h ON h.row = s.row GROUP BY s.row, s.sequence",
            mine=mine,
            held=held.select(["row", "x0"]),
        )
        alive = [row for row in judged.to_pylist() if row["row"] not in outlived]
        noted = sorted(row["row"] for row in alive if not row["is_held"])
        done = sorted(row["row"] for row in alive if not row["is_higher"])
        if noted:
            chosen = pa.array(noted, pa.int64())
            replaced = held.filter(pc.is_in(held["row"], value_set=chosen))
            kept.remove_rows(held_live, replaced.select(["file", "pos"]))
            names = [*root.key, SEQUENCE]
            kept.add_rows(rows.select(names).take(chosen))
        if not done:
            return
        chosen = pa.array(done, pa.int64())
        gone = rows.take(chosen)
        for relation in (root, *list_subtables(self._context.plan, write)):
            pairs = pair_parent_key(root, relation) if relation.path else _pairs(root.key)
            draft = self._drafts.require_draft(relation.name, write.private, relation)
            self._remove_older(draft, gone, pairs)

    def _remove_older(
        self, draft: RelationDraft, gone: "pa.Table", pairs: Sequence[tuple[str, str]]
    ) -> None:
        names = [name for _, name in pairs]
        keys = gone.select([key for key, _ in pairs])
        live = draft.find_keys(names, keys)
        found = self._search.find_rows(live, names, keys, [SEQUENCE])
        if not found.num_rows:
            return
        places = self._search.run(
            "SELECT f.file, f.pos FROM found f JOIN mine s ON s.row = f.row"
            " WHERE f.x0 IS NULL OR f.x0 <= s.sequence",
            found=found,
            mine=pa.table({"row": make_numbers(gone.num_rows), "sequence": gone[SEQUENCE]}),
        )
        draft.remove_rows(live, places)


def find_lost(found: "pa.Table", rows: "pa.Table", tie: str) -> set[int]:
    """Return the rows of a load that lose against one that is there.

    Args:
        found: rows that are there: `row`, the number of the one that comes, and `x0`, the sequence.
        rows: that come.
        tie: see `TableWrite`.
    """
    if not found.num_rows:
        return set()
    mine: Any = rows[SEQUENCE].combine_chunks().take(found["row"])
    is_newer: Any = (pc.greater_equal if tie == "last" else pc.greater)(mine, found["x0"])
    lost: Any = found["row"].filter(pc.equal(is_newer, pa.scalar(False)))
    return set(lost.to_pylist())


def carry_columns(
    kept: "pa.Table", places: Sequence[int], found: "pa.Table", names: Sequence[str]
) -> "pa.Table":
    """Return rows with the values that the rows they replace have in further columns.

    Args:
        kept: the rows that are written.
        places: the number of each, as `found` has it.
        found: the rows that are replaced: `row`, and the columns as x1, x2, ...
        names: of these columns.
    """
    at = pc.index_in(pa.array(places, pa.int64()), value_set=found["row"].combine_chunks())
    for number, name in enumerate(names, 1):
        kept = kept.append_column(name, found[f"x{number}"].take(at))
    return kept


def _with_sequence(rows: "pa.Table", key: Sequence[str]) -> "pa.Table":
    """Return the key columns of rows, and their sequences behind them, which have no name."""
    columns = [*(rows[name] for name in key), rows[SEQUENCE]]
    return pa.table(columns, names=[*key, ""])


def _name_keys(parents: WrittenParents, keys: Sequence[str]) -> "pa.Table":
    columns = {f"k{at}": parents.rows[key] for at, key in enumerate(keys)}
    return pa.table({**columns, "sequence": parents.rows[""]})


def _pairs(key: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, name) for name in key]
