"""The catalogue that lists the tables of a warehouse, and how it is reached."""

import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    NamespaceAlreadyExistsError,
    NamespaceNotEmptyError,
    NoSuchNamespaceError,
    NoSuchTableError,
)
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from sqlalchemy.exc import IntegrityError

from treadle.destinations.iceberg.rest_catalogue import CheckedRestCatalog, LimitedRestCatalog
from treadle.destinations.iceberg.row_delta import KeptSqlCatalog
from treadle.destinations.iceberg_form import SQL_SCHEME, IcebergUrl
from treadle.destinations.layout import PRIVATE_SCHEMA, REJECTED

NAME: Final = "treadle"
"""What the catalogue is called in a database of several catalogues."""

FILE_IO: Final = "treadle.destinations.iceberg.file_io.SyncedFileIO"

TABLE_PROPERTIES: Final[Mapping[str, str]] = {
    "format-version": "2",
    # For other writers by pyiceberg: to repeat a commit on another's snapshot is not safe with
    # position deletes. treadle's own commits are never repeated, whatever this says.
    "commit.retry.num-retries": "0",
    "write.delete.mode": "merge-on-read",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
    "write.target-file-size-bytes": str(128 * 1024 * 1024),
    # Columns of many different values are smaller without a dictionary, and written in half of the
    # time. It ends where it is larger than this; a column of few values keeps it.
    "write.parquet.dict-size-bytes": str(128 * 1024),
    "write.parquet.compression-level": "1",
}
"""Properties of each table that treadle makes."""

PASSED_PARAMETERS: Final = frozenset(
    {
        "token",
        "scope",
        "oauth2-server-uri",
        "s3.endpoint",
        "s3.region",
        "s3.access-key-id",
        "s3.secret-access-key",
        "s3.session-token",
        "s3.role-arn",
        "s3.connect-timeout",
        "s3.request-timeout",
        "s3.force-virtual-addressing",
    }
)
"""Parameters of a URL that are properties of the catalogue."""

DATABASE_TIMEOUTS: Final[Mapping[str, str]] = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""Parameters of libpq: a database that is gone without a word is given up."""

TIMEOUTS: Final[Mapping[str, str]] = {"s3.connect-timeout": "10", "s3.request-timeout": "60"}

PLAIN: Final = "plain"
"""Value of the parameter `names` for a catalogue that takes only names of a-z, 0-9 and `_` which
begin with a letter or a digit: that of buckets of tables in S3."""

PLAIN_NAMES: Final[Mapping[str, str]] = {
    PRIVATE_SCHEMA: "treadle",
    REJECTED: "sdc_rejected",
}
"""What treadle's own schema and the table of rejections are called there."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")
_PATH_CHARACTERS_MAX: Final = 60


class IcebergCatalogue:
    """The tables of one warehouse.

    Args:
        catalogue: of pyiceberg.
        warehouse: where tables that are made here have their files; empty where the server says.
        is_plain: its names begin with a letter or a digit.
    """

    def __init__(self, catalogue: Catalog, warehouse: str, *, is_plain: bool = False) -> None:
        self.catalogue = catalogue
        self._warehouse = warehouse.rstrip("/")
        self._called = PLAIN_NAMES if is_plain else {}
        self._meant = {called: name for name, called in self._called.items()}

    def _place(self, *names: str) -> tuple[str, ...]:
        """Return what the catalogue calls a schema, or a table in one."""
        return tuple(self._called.get(name, name) for name in names)

    def close(self) -> None:
        """Let go of connections."""
        if isinstance(self.catalogue, SqlCatalog):
            self.catalogue.engine.dispose()
        self.catalogue.close()

    def holds_schema(self, schema: str) -> bool:
        """Return whether there is a namespace of this name."""
        return self.catalogue.namespace_exists(self._place(schema))

    def list_schemas(self) -> list[str]:
        """Return the namespaces of one level."""
        found = {name[0] for name in self.catalogue.list_namespaces() if name}
        return sorted(self._meant.get(name, name) for name in found)

    def list_tables(self, schema: str) -> list[str]:
        """Return the tables of a schema, by name; none where it is missing."""
        try:
            found = [name[-1] for name in self.catalogue.list_tables(self._place(schema))]
            return sorted(self._meant.get(name, name) for name in found)
        except NoSuchNamespaceError:
            return []

    def list_views(self, schema: str) -> list[str]:
        """Return the views of a schema, where the catalogue knows any."""
        if not isinstance(self.catalogue, RestCatalog):
            return []
        try:
            return sorted(name[-1] for name in self.catalogue.list_views(self._place(schema)))
        except (NoSuchNamespaceError, NotImplementedError):
            return []

    def make_schema(self, schema: str) -> None:
        """Make a namespace; one that somebody else made meanwhile is as good."""
        with suppress(NamespaceAlreadyExistsError, IntegrityError):
            self.catalogue.create_namespace(self._place(schema))

    def drop_schema(self, schema: str) -> None:
        """Drop a namespace, unless something is in it."""
        with suppress(NoSuchNamespaceError, NamespaceNotEmptyError):
            self.catalogue.drop_namespace(self._place(schema))

    def load(self, schema: str, name: str) -> Table | None:
        """Return a table as it is now; None where it is missing."""
        try:
            return self.catalogue.load_table(self._place(schema, name))
        except (NoSuchTableError, NoSuchNamespaceError):
            return None

    def make(self, schema: str, name: str, columns: Schema, properties: Mapping[str, str]) -> Table:
        """Make a table.

        Raises:
            TableAlreadyExistsError: there is one of this name.
        """
        return self.catalogue.create_table(
            self._place(schema, name),
            columns,
            location=self._choose_location(schema, name),
            properties={**TABLE_PROPERTIES, **properties},
        )

    def _choose_location(self, schema: str, name: str) -> str | None:
        """Return a folder that no table had before: one may be made again under the same name."""
        if not self._warehouse:
            return None
        parts = [_UNSAFE.sub("_", part)[:_PATH_CHARACTERS_MAX] for part in (schema, name)]
        return f"{self._warehouse}/{parts[0]}/{parts[1]}-{uuid.uuid4().hex}"

    def drop(self, schema: str, name: str) -> None:
        """Drop a table with its files, if it is there."""
        try:
            self.catalogue.purge_table(self._place(schema, name))
        except NoSuchTableError:
            pass
        except NotImplementedError:
            self.catalogue.drop_table(self._place(schema, name))


def open_catalogue(
    parts: IcebergUrl,
    *,
    warehouse: str,
    check_address: Callable[[str], None] | None = None,
    makes: bool = True,
) -> IcebergCatalogue:
    """Connect to the catalogue of a URL.

    Args:
        parts: of the URL.
        warehouse: where tables have their files; empty where the server says.
        check_address: of a server that somebody else than the operator named: raises for an address
            that is not to be connected to.
        makes: make the tables of a catalogue in SQL where they are missing.
    """
    properties = {
        name: parts.parameters[name] for name in PASSED_PARAMETERS & set(parts.parameters)
    }
    properties = {**TIMEOUTS, **properties, "py-io-impl": FILE_IO}
    if parts.scheme == SQL_SCHEME:
        made = KeptSqlCatalog(
            NAME,
            **properties,
            uri=make_engine_url(parts),
            warehouse=warehouse,
            init_catalog_tables="true" if makes else "false",
        )
        return IcebergCatalogue(made, warehouse)
    properties["uri"] = parts.http_url
    if "warehouse" in parts.parameters:
        properties["warehouse"] = parts.parameters["warehouse"]
    if parts.password is not None:
        properties["credential"] = f"{parts.user}:{parts.password}"
        properties.setdefault("oauth2-server-uri", f"{parts.http_url}/v1/oauth/tokens")
    opened: RestCatalog
    if check_address is None:
        opened = CheckedRestCatalog(NAME, **properties)
    else:
        opened = LimitedRestCatalog(NAME, check_address, properties)
    is_plain = parts.parameters.get("names") == PLAIN
    return IcebergCatalogue(opened, "", is_plain=is_plain)


def make_engine_url(parts: IcebergUrl) -> str:
    """Return the URL of the database of a catalogue in SQL, as SQLAlchemy has it."""
    from sqlalchemy import URL

    if not parts.host:
        return URL.create("sqlite", database=parts.path or ":memory:").render_as_string()
    made = URL.create(
        "postgresql+psycopg",
        parts.user,
        parts.password,
        parts.host,
        int(parts.port) if parts.port else None,
        parts.path,
        DATABASE_TIMEOUTS,
    )
    return made.render_as_string(hide_password=False)


def default_warehouse(path: Path) -> str:
    """Return where the files of tables are whose catalogue is a file: in a folder beside it."""
    return f"file://{path.with_suffix('')}_tables"
