"""The conformance suite over every back-end: `destination` is a fresh, empty one of each kind.

Each commit to Iceberg writes several files, and each load into ClickHouse takes its engine a tenth
of a second of processor time, so of each module of the suite some tests take them with each change,
and a release all.
"""

from pathlib import Path

import pytest
from tests.kinds import some_at_release

from treadle.destinations.conformance.fixtures import loads, session
from treadle.destinations.conformance.traits import ODD_NAMES, DestinationTraits
from treadle.destinations.protocol import Destination
from treadle.destinations.registry import make_destination
from treadle.tables.profiles import SNOWFLAKE as SNOWFLAKE_PROFILE

__all__ = ["loads", "session"]

HERE = Path(__file__).parent

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
CLICKHOUSE = DestinationTraits(
    timestamp_microseconds="toUnixTimestamp64Micro({column})",
    timestamps_beyond=False,
    timestamp_type="DateTime64(6, 'UTC')",
    schema_word="DATABASE",
    table_options=" ENGINE = MergeTree ORDER BY tuple()",
    nullable="Nullable({type})",
    update="ALTER TABLE {table} UPDATE {changes} WHERE true",
    index_options=" TYPE minmax",
    has_constraints=False,
    required=frozenset({"_sdc_sequence", "_treadle_gone", "id"}),
    columns_besides=("_treadle_gone",),
    is_nullable=("0", "1"),
    views_follow=False,
    enforces_unique=False,
)
ICEBERG = DestinationTraits(
    timestamp_microseconds="epoch_us({column})",
    timestamps_beyond=False,
    default_text=None,
    enforces_unique=False,
)
SNOWFLAKE = DestinationTraits(
    timestamp_microseconds="DATE_PART(EPOCH_MICROSECOND, {column})",
    timestamps_beyond=False,
    timestamp_type="TIMESTAMP_TZ(9)",
    has_indexes=False,
    enforces_unique=False,
    schemas_refused=frozenset({'quo"te', "main"}),  # of the emulator alone
    names_refused=frozenset(
        name for name in ODD_NAMES if SNOWFLAKE_PROFILE.canonical(name) != name
    ),
)
TAKEN_EVERY = {"clickhouse": 5, "iceberg": 3}
"""Kind -> each so manyth test of a module takes it with each change, with its first case."""

TRAITS = {
    "clickhouse": CLICKHOUSE,
    "duckdb": DUCKDB,
    "iceberg": ICEBERG,
    "mysql_destination": MYSQL,
    "postgres": POSTGRES,
    "snowflake": SNOWFLAKE,
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to a release what repeats on some kinds, before `-m` chooses."""
    seen: dict[tuple[Path, str], list[str]] = {}
    for item in items:
        chosen = getattr(item, "callspec", None)
        kind = chosen.params.get("url") if chosen else None
        if item.path.parent != HERE or kind not in TAKEN_EVERY:
            continue
        tests = seen.setdefault((item.path, kind), [])
        its = getattr(item, "originalname", item.name)
        if its in tests or len(tests) % TAKEN_EVERY[kind]:
            item.add_marker(pytest.mark.release)
        if its not in tests:
            tests.append(its)


@pytest.fixture(
    params=[
        "duckdb",
        "iceberg",
        "postgres",
        *some_at_release("system_postgres"),
        "mariadb",
        "clickhouse",
        *some_at_release("snowflake"),
    ]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh, empty database."""
    if request.param == "duckdb":
        return f"duckdb://{tmp_path / 'data.duckdb'}"
    if request.param == "iceberg":
        return f"iceberg+sql://{tmp_path / 'lake.db'}"
    if request.param in ("clickhouse", "mariadb", "snowflake"):
        return str(request.getfixturevalue(f"{request.param}_url"))
    return str(request.getfixturevalue(f"{request.param}_database"))


def make(url: str) -> Destination:
    """The destination of a URL; where there is no SQL, the suite's statements go by a hand."""
    if url.startswith("iceberg+"):
        from tests.servers.iceberg import HandDestination

        return HandDestination(url)
    return make_destination(url)


@pytest.fixture
def destination(url: str) -> Destination:
    return make(url)


@pytest.fixture
def same_destination(url: str) -> Destination:
    return make(url)


@pytest.fixture
def traits(destination: Destination) -> DestinationTraits:
    return TRAITS[destination.kind]
