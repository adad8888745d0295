"""Finds the forms of the types of destinations that are installed."""

from pathlib import Path

from treadle.destinations.clickhouse_form import ClickhouseForm
from treadle.destinations.duckdb_form import DuckDBForm
from treadle.destinations.form import DestinationForm, UrlForm
from treadle.destinations.iceberg_form import IcebergForm
from treadle.destinations.mysql_form import MysqlForm
from treadle.destinations.postgres_form import PostgresForm
from treadle.destinations.registry import list_types
from treadle.destinations.snowflake_form import SnowflakeForm


def list_forms(folder: Path) -> list[DestinationForm]:
    """Return the form of each type whose driver is installed, by type.

    Args:
        folder: for DuckDB files; absolute.
    """
    return [_make_form(type_, folder) for type_ in list_types()]


def find_form(type_: str, folder: Path) -> DestinationForm:
    """Return the form of a type, also of one whose driver is not installed."""
    return _make_form(type_, folder)


def _make_form(type_: str, folder: Path) -> DestinationForm:
    if type_ == "postgres":
        return PostgresForm()
    if type_ == "clickhouse":
        return ClickhouseForm()
    if type_ == "mysql_destination":
        return MysqlForm()
    if type_ == "snowflake":
        return SnowflakeForm()
    if type_ == "iceberg":
        return IcebergForm(folder)
    return DuckDBForm(folder) if type_ == "duckdb" else UrlForm(type_)
