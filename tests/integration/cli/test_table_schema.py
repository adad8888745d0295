"""`treadle source schema` sets, prints, lists and removes the schemas of tables."""

import json
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Treadle

SCHEMA = {"properties": {"at": {"type": "string", "format": "date-time"}, "n": {}}}


@pytest.fixture
def file(data: Path, treadle: Treadle, tmp_path: Path) -> Path:
    assert treadle("account create").code == 0
    assert treadle("source create Web").code == 0
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    return path


def test_the_schema_of_a_table(file: Path, treadle: Treadle) -> None:
    assert treadle("source schema web --json").json == []
    assert treadle("source schema web orders").code == 2
    assert treadle(f"source schema web orders --set {file} --json").json == SCHEMA
    assert json.loads(treadle("source schema web orders").out) == SCHEMA
    [row] = treadle("source schema web --json").json
    assert (row["table"], row["properties"]) == ("orders", 2)
    assert "orders" in treadle("source schema web").out
    removed = treadle("source schema web orders --remove")
    assert removed.out == "Removed the schema of the table orders; its rows stay.\n"
    assert "has no schema" in treadle("source schema web orders --remove").err


def test_what_cannot_be_set(file: Path, treadle: Treadle, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"properties":5}')
    assert "cannot be used" in treadle(f"source schema web orders --set {bad}").err
    for words in (
        f"--set {file}",
        "--remove",
        f"orders --set {file} --remove",
        "orders --set none",
    ):
        assert treadle(f"source schema web {words}").code == 2
    assert treadle("source schema web --json").json == []


def test_a_plan_holds_records_to_it(file: Path, treadle: Treadle, tmp_path: Path) -> None:
    records = tmp_path / "records.json"
    records.write_text('{"id":1,"at":"2026-01-01T00:00:00Z"}\n')
    plan = f"plan {records} --table orders --key id"
    assert '"at" VARCHAR' in treadle(plan).out
    assert treadle(f"source schema web orders --set {file}").code == 0
    assert '"at" TIMESTAMPTZ' in treadle(plan).out
    records.write_text('{"id":1,"at":"yesterday"}\n')
    refused = treadle(plan)
    assert refused.code == 2
    assert "A push would be refused" in refused.err
    assert "#/at" in refused.err
