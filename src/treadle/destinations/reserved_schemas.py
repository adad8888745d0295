"""The names that no schema of a source may have, in any destination.

The API, the command line and a rebuild ask `is_reserved_schema` before a name is taken. A source
may get another destination later, so a name that PostgreSQL or DuckDB reserves is refused for all
of them. Refused only where the destination is known are the name of the file of a DuckDB
destination, which is harmless elsewhere, since every statement of treadle names file and schema,
and what MySQL, ClickHouse, Redshift, BigQuery or Snowflake keeps for itself.

A session asks `is_system_schema` before it writes: of its own destination, and at every load.
"""

from collections.abc import Iterable
from pathlib import PurePath
from typing import Final

from treadle.destinations.layout import PRIVATE_SCHEMA
from treadle.tables.profile import DestinationProfile
from treadle.tables.profiles import (
    BIGQUERY,
    CLICKHOUSE,
    DUCKDB,
    MYSQL,
    POSTGRES,
    REDSHIFT,
    SNOWFLAKE,
)

KNOWN_PROFILES: Final = (POSTGRES, DUCKDB)
"""The profiles whose names are refused for every destination."""

PROFILES_BY_PLACE: Final = {
    "bigquery://": BIGQUERY,
    "clickhouse://": CLICKHOUSE,
    "mysql://": MYSQL,
    "redshift://": REDSHIFT,
    "snowflake://": SNOWFLAKE,
}
"""Beginning of an identity -> the profile whose names are refused only there. Sources that are
called `mysql` or `sys` are common: they copy those."""

DUCKDB_IDENTITY: Final = "duckdb://"
"""Beginning of the identity of a DuckDB destination; the path of the file follows."""


def is_system_schema(name: str, profile: DestinationProfile) -> bool:
    """Return whether a schema is the database's own or treadle's own, so that nobody loads there.

    Args:
        name: of the schema.
        profile: of the destination.
    """
    lowered = name.lower()
    return lowered == PRIVATE_SCHEMA or any(
        lowered.startswith(reserved[:-1]) if reserved.endswith("*") else lowered == reserved
        for reserved in profile.schemas_system
    )


def is_reserved_schema(name: str, identities: Iterable[str] = ()) -> bool:
    """Return whether no new source may have a schema of this name.

    Args:
        name: of the schema.
        identities: of destinations that the source is to load into (`Destination.identity`).
    """
    lowered = name.lower()
    return any(
        is_system_schema(lowered, profile) or lowered in profile.schemas_reserved
        for profile in KNOWN_PROFILES
    ) or any(
        lowered == name_file_catalog(identity)
        or any(
            is_system_schema(lowered, profile)
            for place, profile in PROFILES_BY_PLACE.items()
            if identity.startswith(place)
        )
        for identity in identities
    )


def name_file_catalog(identity: str) -> str | None:
    """Return what DuckDB calls the file of a destination, lower case; None for other kinds.

    It is the part of the file's name before a dot. A reader who writes `warehouse.orders` would
    mean the schema or the file.
    """
    if not identity.startswith(DUCKDB_IDENTITY):
        return None
    file = PurePath(identity.removeprefix(DUCKDB_IDENTITY)).name
    called = next((piece for piece in file.split(".") if piece), file).lower()
    return f"{called}_db" if called in DUCKDB.schemas_reserved else called
