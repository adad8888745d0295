"""Finds the forms of the types of destinations that are installed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from treadle.destinations.bigquery_form import BigqueryForm
from treadle.destinations.clickhouse_form import ClickhouseForm
from treadle.destinations.duckdb_form import DuckDBForm
from treadle.destinations.files_form import FilesForm
from treadle.destinations.form import DestinationForm, UrlForm
from treadle.destinations.iceberg_form import IcebergForm
from treadle.destinations.mysql_form import MysqlForm
from treadle.destinations.postgres_form import PostgresForm
from treadle.destinations.redshift_form import RedshiftForm
from treadle.destinations.registry import list_types
from treadle.destinations.snowflake_form import SnowflakeForm

FORMS: Final[Mapping[str, Callable[[Path], DestinationForm]]] = {
    "bigquery_v2": lambda folder: BigqueryForm(),
    "clickhouse": lambda folder: ClickhouseForm(),
    "duckdb": DuckDBForm,
    "iceberg": IcebergForm,
    "mysql_destination": lambda folder: MysqlForm(),
    "postgres": lambda folder: PostgresForm(),
    "redshift": lambda folder: RedshiftForm(),
    "s3": FilesForm,
    "snowflake": lambda folder: SnowflakeForm(),
}
"""Type -> makes its form with the folder for files. Other back-ends have a URL alone."""


def list_forms(folder: Path) -> list[DestinationForm]:
    """Return the form of each type whose driver is installed, by type.

    Args:
        folder: for DuckDB files; absolute.
    """
    return [find_form(type_, folder) for type_ in list_types()]


def find_form(type_: str, folder: Path) -> DestinationForm:
    """Return the form of a type, also of one whose driver is not installed."""
    make = FORMS.get(type_)
    return UrlForm(type_) if make is None else make(folder)
