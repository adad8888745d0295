"""Finds who looks into a destination with its own driver."""

from tests.conformance.loading.warehouse import DuckDB, Postgres, Warehouse


def open_warehouse(url: str, schema: str) -> Warehouse:
    """The schema of the destination of a URL, looked at with the engine's own driver."""
    scheme, _, rest = url.partition("://")
    if scheme == "duckdb":
        return DuckDB(rest, schema)
    if scheme in ("mysql", "mariadb"):
        from tests.conformance.loading.mysql_warehouse import Mysql

        return Mysql(url, schema)
    if scheme == "clickhouse":
        from tests.conformance.loading.clickhouse_warehouse import Clickhouse

        return Clickhouse(url, schema)
    if scheme == "redshift":
        from tests.conformance.loading.redshift_warehouse import Redshift

        return Redshift(url, schema)
    if scheme == "bigquery":
        from tests.conformance.loading.bigquery_warehouse import Bigquery

        return Bigquery(url, schema)
    if scheme.startswith("iceberg+"):
        from tests.conformance.loading.iceberg_warehouse import Iceberg

        return Iceberg(url, schema)
    if scheme == "snowflake":
        from tests.conformance.loading.snowflake_warehouse import Snowflake

        return Snowflake(url, schema)
    if scheme == "files":
        from tests.conformance.loading.files_warehouse import Files

        return Files(url, schema)
    return Postgres(url, schema)
