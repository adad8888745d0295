"""Intents: what a load changes that no rollback undoes, noted before it is done.

An intent is in the catalogue in one of two forms. Before the first schema change of a load it has
the catalogue entry to come. From the commit of the rows on it has what is left to be done: tables
that take the place of others, and tables that go. Everything here is a function of values.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import msgspec

from treadle.destinations.layout import digest_name
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, PhysicalRelation, Relation, Table

Fold = Callable[[str], str]

OLD: Final = "old_"
"""Beginning of the name of a table whose place another one took, until it is dropped."""


class TableReplacement(msgspec.Struct, frozen=True, array_like=True):
    """A table, the draft, that takes the place of another one, which may be missing.

    Attributes:
        schema: of both.
        relation: the name that the draft gets.
        draft: its name until then.
        is_new: this load makes the draft, so that it is of no use when the load fails.
        mark: the comment of the draft, which no other table has, where two tables change their
            names with each other: it tells whether they did.
    """

    schema: str
    relation: str
    draft: str
    is_new: bool = True
    mark: str = ""

    @property
    def old(self) -> str:
        """The name of the table whose place is taken, until it is dropped."""
        return OLD + digest_name(self.draft)[:52]


class LoadAttempt(msgspec.Struct, frozen=True, array_like=True):
    """A load that was begun: by these its rows are known, where no transaction holds them.

    Attributes:
        batched_at: `_sdc_batched_at` of its rows.
        rejected_at: `_sdc_rejected_at` of its rejected records.
        rejected: their `table_name`, each once.
    """

    batched_at: int
    rejected_at: int = 0
    rejected: tuple[str, ...] = ()


class LoadProof(msgspec.Struct, frozen=True):
    """What proves that a load is committed, where no transaction holds its rows.

    Attributes:
        revision: that its catalogue entry gets; 0 where it has none.
        log_id, source_id, table_key, position: the offset that it moves to. `log_id` is empty where
            it moves none: then the entry proves it.
        attempts: this load, and those of the table before it that were not committed; the last one
            is this.
    """

    revision: int
    log_id: str
    source_id: int
    table_key: str
    position: int
    attempts: tuple[LoadAttempt, ...] = ()


class LoadIntent(msgspec.Struct, frozen=True):
    """What a load is going to do.

    Attributes:
        table: the catalogue entry to come, as text; empty once the rows are committed.
        replacements: tables that take the place of others, all at once.
        drops: names of private tables that nobody needs afterwards.
        proof: of its commit, where no transaction holds the rows. The other attributes are those of
            the load from its beginning to its end then.
        attempt: whose it is, where no lock keeps two loaders apart: who finds another's writes its
            own in its place, and the other one does nothing more. Empty elsewhere.
    """

    table: str = ""
    replacements: tuple[TableReplacement, ...] = ()
    drops: tuple[str, ...] = ()
    proof: LoadProof | None = None
    attempt: str = ""

    def __bool__(self) -> bool:
        """Return whether there is anything to do."""
        return bool(self.table or self.replacements or self.drops or self.proof)


def encode_intent(intent: LoadIntent) -> str:
    """Return an intent as text."""
    return msgspec.json.encode(intent).decode()


def decode_intent(text: str) -> LoadIntent:
    """Return the intent that `encode_intent` was given."""
    return msgspec.json.decode(text, type=LoadIntent)


def resolve_entry(
    held: Table | None,
    coming: Table,
    live: Mapping[str, PhysicalRelation],
    private: Mapping[str, PhysicalRelation],
    fold: Fold,
) -> Table | None:
    """Return the catalogue entry of what is there, where a load ended amid its schema changes.

    What is there of the entry to come is taken over; what is not is planned anew by the next load.
    What the present entry has and is not there was dropped by the user, and stays in the entry.

    Args:
        held: the present entry.
        coming: the entry to come.
        live: the relations of the source's schema that are there, of those that one of them names.
        private: the same for treadle's schema, with the table of deleted keys.
        fold: of the profile.

    Returns:
        None when there was no entry, and nothing was made.
    """
    before = {} if held is None else {fold(each.name): each for each in held.relations}
    relations = _resolve_relations(coming.relations, before, live, fold)
    stages = {} if held is None else {stage.version: stage for stage in held.stages}
    for stage in coming.stages:
        former = stages.pop(stage.version, None)
        staged = () if former is None else former.relations
        found = _resolve_relations(
            stage.relations, {fold(each.name): each for each in staged}, private, fold
        )
        if found:
            stages[stage.version] = replace(stage, relations=tuple(found))
    if held is None and not relations and not stages:
        return None
    kept = fold(coming.tombstones_relation) in set(map(fold, private))
    noted = coming if kept or held is None else held
    entry = replace(
        coming,
        relations=tuple(relations),
        stages=tuple(stages[version] for version in sorted(stages)),
        batched_at=0,
        tombstones=noted.tombstones and (kept or held is not None),
        tombstones_relation=noted.tombstones_relation,
        # No row is in it yet, so the first version that is sent is the table's.
        adopted=True,
    )
    if held is None or not held.relations:
        return entry
    return replace(
        entry,
        keys=held.keys,
        keyless=held.keyless,
        append=held.append,
        version=held.version,
        batched_at=held.batched_at,
        adopted=held.adopted,
    )


def _resolve_relations(
    coming: tuple[Relation, ...],
    before: Mapping[str, Relation],
    there: Mapping[str, PhysicalRelation],
    fold: Fold,
) -> list[Relation]:
    physical = {fold(name): found for name, found in there.items()}
    found: dict[str, Relation] = {}
    for relation in coming:
        name = fold(relation.name)
        if name in physical:
            found[name] = _resolve_relation(before.get(name), relation, physical[name], fold)
        elif name in before:  # the user dropped it
            found[name] = before[name]
    if found:  # a root that is missing was dropped by the user: its subtables come after it
        for relation in coming:
            if not relation.path:
                found = {fold(relation.name): relation, **found}
    kept = [each for name, each in before.items() if name not in found]
    return [*found.values(), *kept] if found else kept


def _resolve_relation(
    before: Relation | None, coming: Relation, there: PhysicalRelation, fold: Fold
) -> Relation:
    types = {fold(name): type_ for name, type_ in there.columns.items()}
    held = {} if before is None else {fold(column.name): column for column in before.columns}
    wanted = {fold(column.name) for column in coming.columns}
    columns: list[Column] = []
    for column in coming.columns:
        name = fold(column.name)
        former = held.get(name)
        if name in types:
            columns.append(_choose_type(column, former, types[name]))
        elif former is not None:  # the user dropped it
            columns.append(former)
        else:  # not renamed yet, or not added
            columns += [
                each
                for at, each in held.items()
                if (each.field, each.type) == (column.field, column.type)
                and at in types
                and at not in wanted
            ]
    key = coming.key
    if before is not None and set(map(fold, there.key)) != set(map(fold, coming.key)):
        key = before.key
    return replace(coming, columns=tuple(columns), key=key)


def _choose_type(column: Column, former: Column | None, type_: ColumnType | None) -> Column:
    """Return a column as it was before it was to be widened, if it has that type still."""
    if former is not None and former.type is type_ and column.type is not type_:
        return former
    return column
