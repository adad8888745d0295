"""The conformance suite over every back-end: `destination` is a fresh, empty one of each kind."""

from pathlib import Path

import pytest
from tests.kinds import some_at_release

from treadle.destinations.conformance.fixtures import loads, session
from treadle.destinations.conformance.traits import DestinationTraits
from treadle.destinations.protocol import Destination
from treadle.destinations.registry import make_destination

__all__ = ["loads", "session"]

DUCKDB = DestinationTraits(timestamp_microseconds="epoch_us({column})")
POSTGRES = DestinationTraits(
    timestamp_microseconds=(
        "('x' || encode(timestamptz_send({column}), 'hex'))::bit(64)::bigint"
        " + 946684800000000::numeric"
    ),
    row_too_big="row is too big for PostgreSQL",
    key_too_big="row is too big for PostgreSQL",
)
MYSQL = DestinationTraits(
    timestamp_microseconds="TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {column})",
    duplicate_text="Duplicate entry",
    row_too_big="ERROR: too many columns",
    key_too_big="ERROR 1265: Data truncated for column 'k' at row 1",
    nonfinite_doubles=False,
    timestamps_beyond=False,
    timestamp_type="DATETIME(6)",
    text_type="VARCHAR(20)",
    index_text="{column}(20)",
    names_refused=frozenset({"emoji 🧵"}),
)
TRAITS = {"duckdb": DUCKDB, "postgres": POSTGRES, "mysql_destination": MYSQL}


@pytest.fixture(params=["duckdb", "postgres", *some_at_release("system_postgres"), "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh, empty database."""
    if request.param == "duckdb":
        return f"duckdb://{tmp_path / 'data.duckdb'}"
    if request.param == "mariadb":
        return str(request.getfixturevalue("mariadb_url"))
    return str(request.getfixturevalue(f"{request.param}_database"))


@pytest.fixture
def destination(url: str) -> Destination:
    return make_destination(url)


@pytest.fixture
def same_destination(url: str) -> Destination:
    return make_destination(url)


@pytest.fixture
def traits(destination: Destination) -> DestinationTraits:
    return TRAITS[destination.kind]
