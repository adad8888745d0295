"""Finds the destination of a URL.

Back-ends of other distributions announce themselves by an entry point in the group
`treadle.destinations`: its name is the URL's scheme, its value a function from URL to Destination.
"""

import importlib
from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from treadle.destinations.iceberg_form import REST_SCHEME, SQL_SCHEME
from treadle.destinations.protocol import Destination
from treadle.errors import OperatorError

ENTRY_POINT_GROUP: Final = "treadle.destinations"
POSTGRES_SCHEMES: Final = ("postgres", "postgresql")
MYSQL_SCHEMES: Final = ("mysql", "mariadb")
CLICKHOUSE_SCHEMES: Final = ("clickhouse",)
ICEBERG_SCHEMES: Final = (SQL_SCHEME, REST_SCHEME)
SNOWFLAKE_SCHEMES: Final = ("snowflake",)
SERVER_SCHEMES: Final = (
    *POSTGRES_SCHEMES,
    *MYSQL_SCHEMES,
    *CLICKHOUSE_SCHEMES,
    *ICEBERG_SCHEMES,
    *SNOWFLAKE_SCHEMES,
)

ROLE_TYPES: Final = ("clickhouse", "mysql_destination", "postgres", "snowflake")
"""Types of destinations that know roles, whose sessions see each other."""


def list_types() -> list[str]:
    """Return the types of destinations whose driver is installed, in order."""
    drivers = {
        "clickhouse": "clickhouse_connect",
        "iceberg": "pyiceberg",
        "mysql_destination": "pymysql",
        "postgres": "psycopg",
        "snowflake": "snowflake.connector",
    }
    missing = {type_ for type_, driver in drivers.items() if not _is_installed(driver)}
    named = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
    return sorted(({"duckdb", *drivers} | named) - missing - {"postgresql"})


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def make_destination(url: str, check_address: Callable[[str], None] | None = None) -> Destination:
    """Return the destination of a URL; nothing is opened or connected to.

    Args:
        url: `duckdb:///absolute/path.duckdb`, `duckdb://relative/path.duckdb`,
            `postgresql://user:password@host:5432/database`, `mysql://user:password@host:3306/`,
            `clickhouse://user:password@host:8123/`, `iceberg+sql:///absolute/path.db`,
            `iceberg+rest://id:secret@host:port/path`,
            `snowflake://user:password@account/database?warehouse=NAME`, or the scheme of an
            installed back-end.
        check_address: raises for a resolved address that is not to be connected to; None to connect
            to any. For the URLs that clients of the Connect API made. A back-end of another
            distribution is not told of it.

    Raises:
        OperatorError: no such scheme, a malformed URL, or a driver that is not installed.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    url = f"{scheme}{separator}{rest}"
    if not separator:
        # Nothing of the text is repeated: it may hold a password.
        raise OperatorError(
            "a destination is named by a URL such as duckdb:///var/lib/treadle/data.duckdb, "
            "postgresql://user:password@host:5432/database or mysql://user:password@host:3306/; "
            "the text given has no ://"
        )
    if scheme == "duckdb":
        return _duckdb(url)
    if scheme in POSTGRES_SCHEMES:
        return _postgres(url, check_address)
    if scheme in MYSQL_SCHEMES:
        return _mysql(url, check_address)
    if scheme in CLICKHOUSE_SCHEMES:
        return _clickhouse(url, check_address)
    if scheme in ICEBERG_SCHEMES:
        return _iceberg(url, check_address)
    if scheme in SNOWFLAKE_SCHEMES:
        return _snowflake(url, check_address)
    installed = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if scheme in installed:
        make: Callable[[str], Destination] = installed[scheme].load()
        return make(url)
    known = sorted({"duckdb", *SERVER_SCHEMES, *installed})
    near = get_close_matches(scheme, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}://?" if near else f"known are {', '.join(known)}"
    raise OperatorError(f"no destination is called {scheme!r}; {hint}")


def find_type(url: str) -> str:
    """Return the type of destination that a URL names, by its scheme alone."""
    scheme = url.partition("://")[0].lower()
    if scheme in POSTGRES_SCHEMES:
        return "postgres"
    if scheme in ICEBERG_SCHEMES:
        return "iceberg"
    return "mysql_destination" if scheme in MYSQL_SCHEMES else scheme


def is_exclusive(url: str) -> bool:
    """Return whether only one process at a time can open the destination of a URL.

    Their drivers are not imported for those that treadle has itself.
    """
    scheme = url.partition("://")[0].lower()
    if scheme == "duckdb" or scheme in SERVER_SCHEMES:
        return scheme == "duckdb"
    try:
        return make_destination(url).capabilities.exclusive
    except OperatorError:
        return False


def _duckdb(url: str) -> Destination:
    from treadle.destinations.duckdb import DuckDBDestination

    path = unquote(url.partition("://")[2])
    if not path or path.endswith("/") or path.startswith(":memory:"):
        raise OperatorError(
            "a DuckDB destination is a file that is opened anew for each load; expected "
            f"duckdb:///absolute/path.duckdb, found {url!r}"
        )
    if unable := sorted(set(path) & set("?\\\0")):
        # DuckDB has its write-ahead log elsewhere then, or takes a directory for meant.
        raise OperatorError(
            f"DuckDB cannot open a file whose path has {unable[0]!r} in it, as {path!r}; name "
            "another file"
        )
    return DuckDBDestination(Path(path))


def _postgres(url: str, check_address: Callable[[str], None] | None) -> Destination:
    try:
        module = importlib.import_module("treadle.destinations.postgres")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("psycopg"):
            raise
        raise OperatorError(
            "PostgreSQL destinations need the driver psycopg, which is not installed; run "
            'pip install "treadle[postgres]"'
        ) from error
    destination: Destination = module.PostgresDestination(url, check_address)
    return destination


def _mysql(url: str, check_address: Callable[[str], None] | None) -> Destination:
    try:
        module = importlib.import_module("treadle.destinations.mysql")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("pymysql"):
            raise
        raise OperatorError(
            "MySQL destinations need the driver PyMySQL, which is not installed; run "
            'pip install "treadle[mysql]"'
        ) from error
    destination: Destination = module.MysqlDestination(url, check_address)
    return destination


def _clickhouse(url: str, check_address: Callable[[str], None] | None) -> Destination:
    try:
        module = importlib.import_module("treadle.destinations.clickhouse")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("clickhouse_connect"):
            raise
        raise OperatorError(
            "ClickHouse destinations need the driver clickhouse-connect, which is not installed; "
            'run pip install "treadle[clickhouse]"'
        ) from error
    destination: Destination = module.ClickhouseDestination(url, check_address)
    return destination


def _iceberg(url: str, check_address: Callable[[str], None] | None) -> Destination:
    try:
        module = importlib.import_module("treadle.destinations.iceberg")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("pyiceberg"):
            raise
        raise OperatorError(
            "Iceberg destinations need the library pyiceberg, which is not installed; run "
            'pip install "treadle[iceberg]"'
        ) from error
    destination: Destination = module.IcebergDestination(url, check_address)
    return destination


def _snowflake(url: str, check_address: Callable[[str], None] | None) -> Destination:
    try:
        module = importlib.import_module("treadle.destinations.snowflake.destination")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "snowflake":
            raise
        raise OperatorError(
            "Snowflake destinations need the driver snowflake-connector-python, which is not "
            'installed; run pip install "treadle[snowflake]"'
        ) from error
    destination: Destination = module.SnowflakeDestination(url, check_address)
    return destination
