"""The statement that makes a relation."""

from treadle.destinations.layout import order_key
from treadle.destinations.sql.dialect import SqlDialect
from treadle.destinations.sql.text import NOTHING, Quoted, compose
from treadle.tables.model import Relation


def create_relation(
    dialect: SqlDialect, schema: str, relation: Relation, *, if_missing: bool = False
) -> Quoted:
    """Return the statement that makes a relation."""
    key = compose(", PRIMARY KEY ({key})", key=dialect.quote_all(order_key(relation.key)))
    return compose(
        "CREATE TABLE {if_missing}{place} ({columns}{key})",
        if_missing=Quoted("IF NOT EXISTS " if if_missing else ""),
        place=dialect.place(schema, relation.name),
        columns=dialect.define(relation.columns),
        key=key if relation.key else NOTHING,
    )
