"""Tables as a destination's catalogue has them."""

from collections.abc import Mapping

from treadle.dbt_project.loaded_source import LoadedSource, ModelledRelation, name_relations
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, PhysicalRelation, Relation, Table

ROW = {
    "_sdc_batched_at": ColumnType.TIMESTAMP,
    "_sdc_received_at": ColumnType.TIMESTAMP,
    "_sdc_sequence": ColumnType.BIGINT,
    "_sdc_table_version": ColumnType.BIGINT,
}


def make_relation(
    name: str, columns: Mapping[str, str], key: tuple[str, ...], *path: str
) -> Relation:
    """A relation of columns `name: type` or `name: type field`."""
    made = []
    for column, said in columns.items():
        type_, _, field = said.partition(" ")
        made.append(Column(column, field or column, ColumnType(type_), column not in key))
    row = [Column(name, name, type_) for name, type_ in ROW.items()]
    return Relation(path, name, (*row, *made), key, name)


def make_child(name: str, columns: Mapping[str, str], depth: int, *path: str) -> Relation:
    """A subtable of a table with the key `id`."""
    levels = {f"_sdc_level_{number}_id": "bigint" for number in range(depth)}
    key = (*levels, "_sdc_source_key_id")
    return make_relation(name, {**levels, "_sdc_source_key_id": "bigint", **columns}, key, *path)


def make_table(root: Relation, *children: Relation, append: bool = False) -> Table:
    """A table whose key is that of its root, or `id`."""
    keys = root.key or ("id",)
    return Table(
        schema="shop",
        name=root.name,
        keys=tuple(column for column in root.columns if column.name in keys),
        keyless=root.key == ("__sdc_primary_key",),
        append=append,
        version=0,
        relations=(root, *children),
    )


def load_tables(*tables: Table, name: str = "shop") -> LoadedSource:
    """A source in whose destination everything is as the catalogue says."""
    return LoadedSource(
        name,
        name.title(),
        name,
        tuple(
            (
                table,
                {
                    one.name: PhysicalRelation(
                        {column.name: column.type for column in one.columns}, frozenset(one.key)
                    )
                    for one in table.relations
                },
            )
            for table in tables
        ),
    )


def model_tables(*tables: Table) -> dict[str, ModelledRelation]:
    """Name of the table in dbt -> its relation, of one source."""
    [(_, found)] = name_relations([load_tables(*tables)], "stg_")
    return {one.name: one for one in found}


ORDERS = make_table(
    make_relation("orders", {"customer__name": "text", "id": "bigint"}, ("id",)),
    make_child("orders__items", {"qty": "bigint", "sku": "text"}, 1, "items"),
    make_child("orders__items__taxes", {"rate": "double"}, 2, "items", "taxes"),
)
