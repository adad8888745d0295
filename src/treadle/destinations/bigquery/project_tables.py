"""The datasets and tables of a project, by requests that are no jobs."""

from collections.abc import Sequence

from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from treadle.destinations.bigquery.dialect import (
    FIELD_TYPES,
    KEY_COLUMNS,
    PRIMARY_KEYS,
    BigqueryDialect,
    SchemaRequest,
)
from treadle.destinations.bigquery.errors import ERRORS, is_missing
from treadle.destinations.bigquery.jobs import REQUEST
from treadle.destinations.layout import PRIVATE_SCHEMA
from treadle.destinations.sql.relation_lookup import RelationLookup
from treadle.destinations.sql.text import Quoted, compose, join
from treadle.tables.model import PhysicalRelation


class BigqueryTables(RelationLookup):
    """What a project has, and how it is changed where no statement does that.

    Attributes:
        dialect: how statements are spelled.
        driver: the client.
    """

    dialect: BigqueryDialect
    driver: bigquery.Client

    def change_schema(self, request: SchemaRequest) -> None:
        """Create a table, or add columns to one."""
        fields = [SchemaField(column.name, FIELD_TYPES[column.type]) for column in request.columns]
        place = self.refer(request.schema, request.relation)
        if request.creates:
            table = bigquery.Table(place, schema=fields)
            self.driver.create_table(table, **REQUEST)
            return
        table = self.driver.get_table(place, **REQUEST)
        table.schema = [*table.schema, *fields]
        # With the tag of what was read: who else changed the table meanwhile is not overruled.
        self.driver.update_table(table, ["schema"], **REQUEST)

    def is_divided(self, schema: str, relation: str) -> bool:
        """Return whether a table has partitions or clustering."""
        table = self._find_table(schema, relation)
        return table is not None and bool(
            table.time_partitioning or table.range_partitioning or table.clustering_fields
        )

    def drop_table(self, schema: str, name: str) -> None:
        """Drop a table if it is there."""
        self.driver.delete_table(
            self.refer(schema, name),
            not_found_ok=True,
            **REQUEST,
        )

    def refer(self, schema: str, relation: str) -> bigquery.TableReference:
        """Return what requests name a table by."""
        return bigquery.DatasetReference(self.driver.project, schema).table(relation)

    def holds_schema(self, schema: str) -> bool:
        """Return whether there is such a dataset."""
        dataset = bigquery.DatasetReference(self.driver.project, schema)
        try:
            self.driver.get_dataset(dataset, **REQUEST)
        except exceptions.NotFound:
            return False
        return True

    def list_schemas(self) -> list[str]:
        """Return the names of the datasets of the project."""
        found = self.driver.list_datasets(**REQUEST)
        return [str(each.dataset_id) for each in found]

    def _find_table(self, schema: str, name: str) -> bigquery.Table | None:
        try:
            place = self.refer(schema, name)
            return self.driver.get_table(place, **REQUEST)
        except exceptions.NotFound:
            return None

    def holds_table(self, schema: str, name: str) -> bool:
        """Return whether there is such a table."""
        return self._find_table(schema, name) is not None

    def list_relations(self, schema: str) -> set[str]:
        """Return the names of the tables and views of a dataset."""
        dataset = bigquery.DatasetReference(self.driver.project, schema)
        try:
            found = self.driver.list_tables(dataset, **REQUEST)
            return {str(table.table_id) for table in found}
        except exceptions.NotFound:
            return set()

    def describe(self, schema: str, names: Sequence[str]) -> dict[str, PhysicalRelation]:
        """Return those of some relations that exist, with the key that `_sdc_primary_keys` says."""
        found = {name: self._find_table(schema, name) for name in names}
        there = {name: table for name, table in found.items() if table is not None}
        keys = self._read_keys(schema, list(there)) if schema != PRIVATE_SCHEMA else {}
        return {
            name: PhysicalRelation(
                {
                    field.name: None
                    if field.mode == "REPEATED"
                    else self.dialect.logical_types.get(field.field_type)
                    for field in table.schema
                },
                frozenset(keys.get(name, ())),
            )
            for name, table in there.items()
        }

    def _read_keys(self, schema: str, names: Sequence[str]) -> dict[str, set[str]]:
        keys: dict[str, set[str]] = {}
        relation, column = (self.dialect.quote(each.name) for each in KEY_COLUMNS)
        statement = compose(
            "SELECT {relation}, {column} FROM {keys} WHERE {relation} IN ({names})",
            relation=relation,
            column=column,
            keys=self.dialect.quote(schema, PRIMARY_KEYS),
            names=join(", ", (Quoted(self.dialect.literal(name)) for name in names)),
        )
        try:
            for name, one in self.rows(statement) if names else ():
                keys.setdefault(name, set()).add(one)
        except ERRORS as error:
            if not is_missing(error):
                raise
        return keys
