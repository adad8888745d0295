"""Every loading case on every destination; the test id is the case number.

`cases.json` is the document's own list, `more.json` the same form for rules it has no case for, and
`append_only.json` that for a destination where rows are only added, which leaves out the cases that
`left_out` names. No case deviates. One statement is carried out otherwise: DuckDB refuses to drop a
column that an index depends on, so there the table is built anew without it, as a user has to
(`tests.conformance.loading.warehouse`).
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conformance.loading.runner import Rig, cases, run
from tests.kinds import take_some_daily

from treadle.destinations.conformance.loading import literals
from treadle.destinations.conformance.loading.compare import applies_to

if TYPE_CHECKING:
    from tests.servers.bigquery import BigqueryServer
    from tests.servers.clickhouse import ClickhouseServer
    from tests.servers.mariadb import MariaServer
    from tests.servers.redshift_gate import RedshiftGate
    from tests.servers.snowflake import SnowflakeServer

LOADING = Path(literals.__file__).parent
LONG_NAMES = {"L60", "M38"}
"""Cases with names that Redshift takes, and the server behind its gate does not."""

CASES = [
    case
    for name in ("cases.json", "more.json", "append_only.json")
    for case in cases(LOADING / name)
]


@pytest.fixture(scope="module")
def duckdb_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("duckdb") / "data").running() as rig:
        yield rig


@pytest.fixture(scope="module")
def postgres_rig(
    tmp_path_factory: pytest.TempPathFactory, postgres_user_database: str
) -> Iterator[Rig]:
    data = tmp_path_factory.mktemp("postgres") / "data"
    with Rig(data, postgres_user_database).running() as rig:
        yield rig


@pytest.fixture(scope="module")
def system_postgres_rig(
    tmp_path_factory: pytest.TempPathFactory, system_postgres_user_database: str
) -> Iterator[Rig]:
    data = tmp_path_factory.mktemp("system_postgres") / "data"
    with Rig(data, system_postgres_user_database).running() as rig:
        yield rig


@pytest.fixture(scope="module")
def mariadb_rig(
    tmp_path_factory: pytest.TempPathFactory, mariadb_server: "MariaServer"
) -> Iterator[Rig]:
    data = tmp_path_factory.mktemp("mariadb") / "data"
    with Rig(data, mariadb_server.url()).running() as rig:
        yield rig
    mariadb_server.empty()


@pytest.fixture(scope="module")
def clickhouse_rig(
    tmp_path_factory: pytest.TempPathFactory, clickhouse_server: "ClickhouseServer"
) -> Iterator[Rig]:
    data = tmp_path_factory.mktemp("clickhouse") / "data"
    with Rig(data, clickhouse_server.url()).running() as rig:
        yield rig
    clickhouse_server.empty()


@pytest.fixture(scope="module")
def redshift_rig(
    tmp_path_factory: pytest.TempPathFactory, redshift_gate: "RedshiftGate"
) -> Iterator[Rig]:
    data = tmp_path_factory.mktemp("redshift") / "data"
    with redshift_gate.lend() as url, Rig(data, url).running() as rig:
        yield rig


@pytest.fixture(scope="module")
def bigquery_rig(
    tmp_path_factory: pytest.TempPathFactory, bigquery_server: "BigqueryServer"
) -> Iterator[Rig]:
    data = tmp_path_factory.mktemp("bigquery") / "data"
    with Rig(data, bigquery_server.url()).running() as rig:
        yield rig
    bigquery_server.empty()


@pytest.fixture(scope="module")
def snowflake_rig(
    tmp_path_factory: pytest.TempPathFactory, snowflake_server: "SnowflakeServer"
) -> Iterator[Rig]:
    data = tmp_path_factory.mktemp("snowflake") / "data"
    with Rig(data, snowflake_server.lend_database()).running() as rig:
        yield rig


@pytest.fixture(scope="module")
def iceberg_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("iceberg")
    with Rig(folder / "data", f"iceberg+sql://{folder / 'lake.db'}").running() as rig:
        yield rig


@pytest.fixture(scope="module")
def files_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("files")
    with Rig(folder / "data", f"files://{folder / 'lake'}").running() as rig:
        yield rig


def for_destination(name: str, *, every: int = 1) -> list[Any]:
    return take_some_daily((case for case in CASES if applies_to(case, name)), every)


def test_each_number_is_one_case() -> None:
    numbers = [case["id"] for case in CASES]
    assert len(set(numbers)) == len(numbers)
    assert sum(number.startswith("L") for number in numbers) == 77


@pytest.mark.parametrize("case", for_destination("duckdb"))
def test_on_duckdb(duckdb_rig: Rig, case: dict[str, Any]) -> None:
    assert not run(duckdb_rig, case)


@pytest.mark.parametrize("case", for_destination("pg"))
def test_on_postgres(postgres_rig: Rig, case: dict[str, Any]) -> None:
    assert not run(postgres_rig, case)


@pytest.mark.parametrize("case", for_destination("mysql", every=8))
def test_on_mariadb(mariadb_rig: Rig, case: dict[str, Any]) -> None:
    assert not run(mariadb_rig, case)


@pytest.mark.parametrize("case", for_destination("clickhouse", every=25))
def test_on_clickhouse(clickhouse_rig: Rig, case: dict[str, Any]) -> None:
    assert not run(clickhouse_rig, case)


@pytest.mark.parametrize("case", for_destination("redshift", every=0))
def test_on_redshift(redshift_rig: Rig, case: dict[str, Any]) -> None:
    if case["id"] in LONG_NAMES:
        pytest.skip("the PostgreSQL behind the gate cuts names of more than 63 bytes")
    assert not run(redshift_rig, case)


@pytest.mark.release
@pytest.mark.parametrize("case", for_destination("snowflake"))
def test_on_snowflake(snowflake_rig: Rig, case: dict[str, Any]) -> None:
    assert not run(snowflake_rig, case)


@pytest.mark.parametrize("case", for_destination("iceberg", every=40))
def test_on_iceberg(iceberg_rig: Rig, case: dict[str, Any]) -> None:
    assert not run(iceberg_rig, case)


@pytest.mark.parametrize("case", for_destination("files", every=40))
def test_on_files(files_rig: Rig, case: dict[str, Any]) -> None:
    assert not run(files_rig, case)


@pytest.mark.release
@pytest.mark.parametrize("case", for_destination("bigquery"))
def test_on_bigquery(bigquery_rig: Rig, case: dict[str, Any]) -> None:
    assert not run(bigquery_rig, case)


@pytest.mark.parametrize("case", for_destination("pg", every=10))
def test_on_the_systems_postgres(system_postgres_rig: Rig, case: dict[str, Any]) -> None:
    assert not run(system_postgres_rig, case)


def test_the_command_tells_what_differs(tmp_path: Path) -> None:
    """A runner that passes whatever a file expects would show nothing."""
    good = next(case for case in CASES if case["id"] == "L03")
    found = good["expect"]["all"]["tables"]["t"]
    wrong_row = {"tables": {"t": found | {"rows": [["old", 1, 19]]}}}
    written = [
        good,
        {**good, "id": "W1", "expect": {"all": wrong_row}},
        {**good, "id": "W2", "expect": {"all": {"tables": {}}}},
        {**good, "id": "W3", "loads": [[{"unheard_of": {}}]]},
        {**good, "id": "W4", "only": "pg"},
    ]
    file = tmp_path / "cases.json"
    file.write_text(json.dumps(written))
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance", str(file)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert [line.split(":")[0] for line in lines] == [
        "L03 passes",
        "W1 differs",
        "W2 differs",
        "W3 differs",
        "W4 left out",
        "1 passed, 3 failed, 1 skipped",
    ]
    assert done.returncode == 1
