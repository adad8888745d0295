"""Every loading case on every destination; the test id is the case number."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.loading.runner import Rig, cases, run

CASES = cases(Path(__file__).parent / "loading" / "cases.json")


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


def for_destination(name: str) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in CASES if case.get("only", name) == name]


@pytest.mark.parametrize("case", for_destination("duckdb"))
def test_on_duckdb(duckdb_rig: Rig, case: dict[str, Any]) -> None:
    assert not run(duckdb_rig, case)


@pytest.mark.parametrize("case", for_destination("pg"))
def test_on_postgres(postgres_rig: Rig, case: dict[str, Any]) -> None:
    assert not run(postgres_rig, case)
