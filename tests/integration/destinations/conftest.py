"""The conformance suite over every back-end: `destination` is a fresh, empty one of each kind.

Each commit to Iceberg writes several files, each load into ClickHouse takes its engine a tenth of a
second of processor time, and MariaDB makes two files for a table. So of each module of the suite
some tests take them with each change, and a release all.
"""

import secrets
from dataclasses import replace
from pathlib import Path

import pytest
from tests.kinds import some_at_release

from treadle.destinations.conformance.append_only import LEFT_OUT
from treadle.destinations.conformance.fixtures import loads, session
from treadle.destinations.conformance.known_traits import TRAITS
from treadle.destinations.conformance.spelled import spell_statements
from treadle.destinations.conformance.traits import DestinationTraits
from treadle.destinations.protocol import Destination
from treadle.destinations.registry import make_destination

__all__ = ["loads", "session"]

HERE = Path(__file__).parent

TAKEN_EVERY = {"clickhouse": 5, "files": 3, "iceberg": 3, "mariadb": 3, "redshift": 4}
"""Kind -> each so manyth test of a module takes it with each change, with its first case."""

INSERTED_VALUES = 12
"""More values than these are copied from files into Redshift in these tests."""

GATED_REDSHIFT = replace(TRAITS["redshift"], row_too_big="row is too big for Amazon Redshift")
"""A row is as long as the PostgreSQL behind the gate takes it: Redshift has no such pages."""

EMULATED_SNOWFLAKE = replace(TRAITS["snowflake"], schemas_refused=frozenset({'quo"te', "main"}))
"""The engine of the emulator cannot have such schemas, and the service can."""

OWN_TRAITS = {"redshift": GATED_REDSHIFT, "snowflake": EMULATED_SNOWFLAKE}
"""Kind -> its traits where its tests have another database than its users."""

REDSHIFT_DAILY = "test_upsert.py"
"""The module that takes some tests of Redshift with each change."""

GAPS = {
    "test_a_widened_column_holds_what_a_later_value_would_be[bigquery-bigint-decimal-values1]": (
        "the NUMERIC of the emulator's CAST has 3 digits after the point"
    )
}
"""Tests that an emulator fails and not the service, as its page says."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to a release what repeats on some kinds, before `-m` chooses."""
    items[:] = [item for item in items if not is_left_out(item)]
    seen: dict[tuple[Path, str], list[str]] = {}
    for item in items:
        if item.name in GAPS:
            item.add_marker(pytest.mark.xfail(reason=GAPS[item.name], strict=True))
        chosen = getattr(item, "callspec", None)
        kind = chosen.params.get("url") if chosen else None
        if item.path.parent != HERE or kind not in TAKEN_EVERY:
            continue
        if kind == "redshift" and item.path.name != REDSHIFT_DAILY:  # its servers take 2 s a module
            item.add_marker(pytest.mark.release)
            continue
        tests = seen.setdefault((item.path, kind), [])
        its = getattr(item, "originalname", item.name)
        if its in tests or len(tests) % TAKEN_EVERY[kind]:
            item.add_marker(pytest.mark.release)
        if its not in tests:
            tests.append(its)


def is_left_out(item: pytest.Item) -> bool:
    """Whether a test of the suite is not for files, which are only added."""
    chosen = getattr(item, "callspec", None)
    is_files = chosen is not None and chosen.params.get("url") in ("bucket", "files")
    return is_files and getattr(item, "originalname", item.name) in LEFT_OUT


@pytest.fixture(
    params=[
        "duckdb",
        "files",
        *some_at_release("bucket"),
        "iceberg",
        "postgres",
        *some_at_release("system_postgres"),
        "mariadb",
        "clickhouse",
        "redshift",
        *some_at_release("bigquery"),
        *some_at_release("snowflake"),
    ]
)
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a fresh, empty database."""
    if request.param == "redshift":  # so that the few rows of tests go both ways
        place = "treadle.destinations.redshift.connection.INSERTED_VALUES_MAX"
        monkeypatch.setattr(place, INSERTED_VALUES)
    if request.param == "duckdb":
        return f"duckdb://{tmp_path / 'data.duckdb'}"
    if request.param == "bucket":
        return str(
            request.getfixturevalue("seaweed_server").files_url(f"suite-{secrets.token_hex(6)}")
        )
    if request.param == "files":
        return f"files://{tmp_path / 'files'}"
    if request.param == "iceberg":
        return f"iceberg+sql://{tmp_path / 'lake.db'}"
    if request.param in ("bigquery", "clickhouse", "mariadb", "redshift", "snowflake"):
        return str(request.getfixturevalue(f"{request.param}_url"))
    return str(request.getfixturevalue(f"{request.param}_database"))


def make(url: str) -> Destination:
    """The destination of a URL; where there is no SQL, the suite's statements go by a hand."""
    if url.startswith("iceberg+"):
        from tests.servers.iceberg import HandDestination

        return HandDestination(url)
    made = make_destination(url)
    return spell_statements(made, TRAITS[made.kind].spell)


@pytest.fixture
def destination(url: str) -> Destination:
    return make(url)


@pytest.fixture
def same_destination(url: str) -> Destination:
    return make(url)


@pytest.fixture
def traits(destination: Destination) -> DestinationTraits:
    return {**TRAITS, **OWN_TRAITS}[destination.kind]
