"""What is loaded of sources, with the names that it has in dbt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from treadle.dbt_project.model_names import choose_names, join_names
from treadle.dbt_project.schema_descriptions import FieldDescriptions
from treadle.tables.model import Column, PhysicalRelation, Relation, Table
from treadle.tables.names import (
    BATCHED_AT,
    META_COLUMN,
    RECEIVED_AT,
    SEQUENCE,
    SOURCE_KEY,
    VERSION,
    byte_order,
    is_system_name,
)

ROW_COLUMNS: Final = frozenset((BATCHED_AT, META_COLUMN, RECEIVED_AT, SEQUENCE, VERSION))
"""The columns that treadle adds to each row."""


LoadedTable = tuple[Table, Mapping[str, PhysicalRelation]]
"""The catalogue entry of a table, and those relations of it that are there, by name."""


@dataclass(frozen=True, slots=True)
class LoadedSource:
    """A source, and its tables in the destination.

    Attributes:
        name: of the source.
        display_name: of the source.
        schema: that it loads into.
        tables: of it.
        descriptions: name of a root table -> what is said of its fields, and of those of its
            subtables.
        rejections: the table of rejected records, with the columns that are there; None where there
            is none. It is not of treadle's catalogue, so `tables` has no entry of it.
    """

    name: str
    display_name: str
    schema: str
    tables: tuple[LoadedTable, ...]
    descriptions: Mapping[str, FieldDescriptions] = field(default_factory=dict)
    rejections: Relation | None = None


@dataclass(frozen=True, slots=True)
class ModelledRelation:
    """A relation that is there, with the names that dbt has for it.

    Attributes:
        table: that it belongs to.
        relation: with the columns that are there, in the types that they have, and with the key by
            which its rows are told apart; () where rows are only appended.
        source: name of the source in dbt.
        name: of the table in dbt, below its source.
        model: name of its staging model.
        parent: what its rows belong to: the relation of the rows above, or the nearest one above
            that is there; None for the root.
    """

    table: Table
    relation: Relation
    source: str
    name: str
    model: str
    parent: "ModelledRelation | None" = None

    @property
    def fields(self) -> list[tuple[Column, ...]]:
        """Return the columns of each field: several of one that is split.

        The key comes first and what treadle adds to each row comes last, as `treadle query` shows
        a table; all others are in the order in which they were made.
        """
        found: dict[str, list[Column]] = {}
        for column in self.relation.columns:
            found.setdefault(column.field, []).append(column)
        return [tuple(found[field]) for field in sorted(found, key=self.rank_field)]

    def rank_field(self, field: str) -> int:
        """Return where a field stands: 0 and 1 in the key, 2 an ordinary one, 3 at the end."""
        if field in ROW_COLUMNS:
            return 3
        if not self.relation.path:
            return 0 if field in (column.field for column in self.table.keys) else 2
        if field.startswith(SOURCE_KEY):
            return 0
        return 1 if is_system_name(field) else 2


def name_relations(
    sources: Sequence[LoadedSource], prefix: str
) -> list[tuple[str, list[ModelledRelation]]]:
    """Return for each source its name in dbt and its relations, roots before their subtables.

    A table whose root is not there is left out with its subtables: its next record makes it again.

    Args:
        sources: in the order of the answer.
        prefix: of the names of models.
    """
    # Schemas of one destination differ, while two accounts may have sources of one name.
    named = choose_names(source.schema for source in sources)
    present = [[_list_present(state) for state in source.tables] for source in sources]
    tables = [
        _name_tables(source, [one.name for table in its for one in table[1]])
        for source, its in zip(sources, present, strict=True)
    ]
    models = choose_names(
        join_names(f"{prefix}{named[source.schema]}", names[one.name])
        for source, its, names in zip(sources, present, tables, strict=True)
        for table in its
        for one in table[1]
    )
    answer = []
    for source, its, names in zip(sources, present, tables, strict=True):
        called = named[source.schema]
        made: list[ModelledRelation] = []
        for table, relations in sorted(its, key=lambda one: byte_order(one[0].name)):
            above: dict[tuple[str, ...], ModelledRelation] = {}
            for relation in relations:
                name = names[relation.name]
                model = models[join_names(f"{prefix}{called}", name)]
                parent = _find_parent(relation.path, above)
                above[relation.path] = ModelledRelation(
                    table, relation, called, name, model, parent
                )
            made += above.values()
        answer.append((called, made))
    return answer


def _name_tables(source: LoadedSource, tables: list[str]) -> dict[str, str]:
    """Return the names in dbt of some tables. That of the rejected records is its own."""
    return choose_names(tables if source.rejections is None else [*tables, source.rejections.name])


def _list_present(state: LoadedTable) -> tuple[Table, list[Relation]]:
    """Return the relations of a table that are there, upper ones first; none without the root."""
    table, physical = state
    found = []
    for relation in sorted(table.relations, key=lambda one: (len(one.path), byte_order(one.name))):
        there = physical.get(relation.name)
        if there is None:
            if not relation.path:
                return table, []
            continue
        columns = tuple(
            replace(column, type=there.columns[column.name] or column.type)
            for column in relation.columns
            if column.name in there.columns
        )
        key = relation.key if set(relation.key) == there.key else ()
        found.append(replace(relation, columns=columns, key=key))
    return table, found


def _find_parent(
    path: tuple[str, ...], above: dict[tuple[str, ...], ModelledRelation]
) -> ModelledRelation | None:
    return next((above[path[:n]] for n in reversed(range(len(path))) if path[:n] in above), None)
