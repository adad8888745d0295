"""Finds and takes over schemas and tables that treadle did not make (see `Adoption`)."""

from collections.abc import Mapping, Sequence

from treadle.destinations.layout import REJECTED
from treadle.destinations.schema_claim import refuse_system_schema
from treadle.destinations.sql import catalogue, inspection
from treadle.destinations.sql.connection import SqlConnection
from treadle.tables.model import PhysicalRelation, Table
from treadle.tables.schema_owner import SchemaOwner


def find_unknown_relations(
    connection: SqlConnection, schema: str
) -> Mapping[str, PhysicalRelation]:
    """Return the relations that no catalogue entry names; see `Adoption.unknown_relations`."""
    known = catalogue.read_relation_names(connection, schema)
    fold = connection.dialect.profile.fold
    there = inspection.list_relations(connection, schema)
    names = sorted(name for name in there if fold(name) not in known and name != REJECTED)
    return connection.describe(schema, names) if names else {}


def adopt_schema(
    connection: SqlConnection, schema: str, owner: SchemaOwner, tables: Sequence[Table]
) -> None:
    """Record an owner and catalogue entries, inside a transaction; see `Adoption.adopt`."""
    refuse_system_schema(schema, connection.dialect.profile)
    connection.lock_schemas()
    status = catalogue.read_status(connection, schema)
    for statement in list(catalogue.prepare_schema(connection, schema)):
        connection.run(statement)
    if status.owner != owner:
        known = status.owner is not None
        catalogue.record_owner(connection, schema, owner, known=known)
    for table in tables:
        catalogue.add_entry(connection, table)
