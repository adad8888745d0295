"""The kinds of destination that treadle has, as data: what their URLs look like, what they need.

A kind is found by the scheme of a URL. Its module is imported when a URL asks for it, since its
driver need not be installed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from treadle.destinations.files_form import BUCKET_SCHEME, FOLDER_SCHEME
from treadle.destinations.iceberg_form import REST_SCHEME, SQL_SCHEME
from treadle.destinations.protocol import Destination
from treadle.errors import OperatorError

AddressCheck = Callable[[str], None]
"""Raises for a resolved address that is not to be connected to."""


@dataclass(frozen=True, slots=True)
class KnownKind:
    """A kind of destination.

    Attributes:
        type: as the Connect API calls it (connect-api.md 2.7).
        display_name: as people call it.
        schemes: of its URLs.
        maker: module and class, with a colon between. It is called with a URL and an
            `AddressCheck` or None.
        driver: the module without which it cannot be used.
        library: the driver as people call it.
        extra: of the distribution, which installs the driver.
        has_roles: it knows roles, whose sessions see each other.
    """

    type: str
    display_name: str
    schemes: Sequence[str]
    maker: str
    driver: str
    library: str
    extra: str
    has_roles: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether the driver is there."""
        try:
            return find_spec(self.driver) is not None
        except ModuleNotFoundError:  # the package that it is in is missing
            return False

    def make(self, url: str, check_address: AddressCheck | None) -> Destination:
        """Return the destination of a URL; nothing is opened or connected to.

        Raises:
            OperatorError: a malformed URL, or the driver is not installed.
        """
        module, _, name = self.maker.partition(":")
        try:
            made = getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != self.driver.partition(".")[0]:
                raise
            raise OperatorError(
                f"{self.display_name} destinations need the {self.library}, which is not "
                f'installed; run pip install "treadle[{self.extra}]"'
            ) from error
        destination: Destination = made(url, check_address)
        return destination


KNOWN_KINDS: Final = (
    KnownKind(
        "bigquery_v2",
        "BigQuery",
        ("bigquery",),
        "treadle.destinations.bigquery:BigqueryDestination",
        driver="google.cloud.bigquery",
        library="client google-cloud-bigquery",
        extra="bigquery",
    ),
    KnownKind(
        "clickhouse",
        "ClickHouse",
        ("clickhouse",),
        "treadle.destinations.clickhouse:ClickhouseDestination",
        driver="clickhouse_connect",
        library="driver clickhouse-connect",
        extra="clickhouse",
        has_roles=True,
    ),
    KnownKind(
        "iceberg",
        "Iceberg",
        (SQL_SCHEME, REST_SCHEME),
        "treadle.destinations.iceberg:IcebergDestination",
        driver="pyiceberg",
        library="library pyiceberg",
        extra="iceberg",
    ),
    KnownKind(
        "mysql_destination",
        "MySQL",
        ("mysql", "mariadb"),
        "treadle.destinations.mysql:MysqlDestination",
        driver="pymysql",
        library="driver PyMySQL",
        extra="mysql",
        has_roles=True,
    ),
    KnownKind(
        "postgres",
        "PostgreSQL",
        ("postgresql", "postgres"),
        "treadle.destinations.postgres:PostgresDestination",
        driver="psycopg",
        library="driver psycopg",
        extra="postgres",
        has_roles=True,
    ),
    KnownKind(
        "redshift",
        "Redshift",
        ("redshift",),
        "treadle.destinations.redshift:RedshiftDestination",
        driver="psycopg",
        library="driver psycopg",
        extra="redshift",
        has_roles=True,
    ),
    KnownKind(
        "s3",
        "Parquet",
        (FOLDER_SCHEME, BUCKET_SCHEME),
        "treadle.destinations.files:FilesDestination",
        driver="obstore",
        library="library obstore",
        extra="files",
    ),
    KnownKind(
        "snowflake",
        "Snowflake",
        ("snowflake",),
        "treadle.destinations.snowflake.destination:SnowflakeDestination",
        driver="snowflake.connector",
        library="driver snowflake-connector-python",
        extra="snowflake",
        has_roles=True,
    ),
)
"""Those with a driver of their own; DuckDB is always there."""

ROLE_TYPES: Final = tuple(kind.type for kind in KNOWN_KINDS if kind.has_roles)
"""Types of destinations that know roles, whose sessions see each other."""


def find_known_kind(scheme: str) -> KnownKind | None:
    """Return the kind whose URLs have a scheme, in lower case; None where there is none."""
    return next((kind for kind in KNOWN_KINDS if scheme in kind.schemes), None)
