"""The statement that makes a relation."""

from treadle.destinations.sql.dialect import SqlDialect
from treadle.destinations.sql.text import Quoted, compose
from treadle.tables.model import Relation


def create_relation(
    dialect: SqlDialect,
    schema: str,
    relation: Relation,
    *,
    if_missing: bool = False,
    temporary: bool = False,
) -> Quoted:
    """Return the statement that makes a relation.

    Args:
        dialect: of the database.
        schema: that it is in.
        relation: its columns and its key.
        if_missing: do nothing where there is one of that name.
        temporary: for this session alone.
    """
    return compose(
        "CREATE {temporary}TABLE {if_missing}{place} ({columns}{key}){options}",
        temporary=Quoted("TEMPORARY " if temporary else ""),
        if_missing=Quoted("IF NOT EXISTS " if if_missing else ""),
        place=dialect.place(schema, relation.name),
        columns=dialect.define(relation.columns, relation.key),
        key=dialect.define_key(relation.key),
        options=dialect.describe_storage(relation),
    )
