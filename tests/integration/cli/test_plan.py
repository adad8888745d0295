"""`treadle plan` says what a load of a file would do."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Treadle

from treadle.config import Config
from treadle.store.key_files import load_cipher
from treadle.store.store import Store


@pytest.fixture
def folder(data: Path, treadle: Treadle) -> Path:
    """The data folder, with one source."""
    assert treadle("account create").code == 0
    assert treadle("source create Web").code == 0
    return data


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "records.json"
    path.write_text('{"id":1,"a":5}\n{"id":2,"a":"x"}\n{"id":3,"v__st":1}\n')
    return path


@pytest.mark.parametrize("how", ["", "--rehearse"])
def test_a_plan_is_printed_and_nothing_is_done(
    folder: Path, file: Path, treadle: Treadle, how: str
) -> None:
    done = treadle(f"plan {file} --table t --key id {how}")
    assert done.code == 0
    assert done.out.startswith("Table web.t: 3 records received, 1 rejected,")
    assert 'CREATE TABLE "warehouse"."web"."t" (' in done.out
    assert '"a" BIGINT, "a__st" VARCHAR, "id" BIGINT NOT NULL, PRIMARY KEY ("id"));' in done.out
    if not how:
        assert not (folder / "warehouse.duckdb").exists()
    again = treadle(f"plan {file} --table t --key id --json").json
    assert again["tables_created"] == ["t"]
    assert [each["record"] for each in again["rejected"]] == [2]
    printed = "".join(done.out.split())
    assert all("".join(f"{text};".split()) in printed for text in again["statements"])


def test_a_table_that_would_stop(folder: Path, file: Path, treadle: Treadle) -> None:
    assert treadle("source options web contract.tables=freeze").code == 0
    done = treadle(f"plan {file} --table t --key id")
    assert (done.code, done.out) == (2, "")
    assert "Table t would stop: Table t is not in the contract, which is frozen" in done.err
    done = treadle(f"plan {file} --table t --key id --json")
    assert done.code == 2
    assert "is frozen" in json.loads(done.out)["error"]


def test_what_a_push_refuses(folder: Path, tmp_path: Path, treadle: Treadle) -> None:
    file = tmp_path / "bad.json"
    file.write_text('{"id":null}\n')
    done = treadle(f"plan {file} --table t --key id")
    assert done.code == 2
    assert "Record 1 has null in its key field 'id'." in done.err
    file.write_text('{"id":{"a":1}}\n')
    assert treadle(f"plan {file} --table t").out.startswith("Table web.t: 1 record received")
    file.write_text("\n")
    assert treadle(f"plan {file} --table t").out == "The file holds no record.\n"


def test_a_file_without_a_key_is_appended(folder: Path, file: Path, treadle: Treadle) -> None:
    done = treadle(f"plan {file} --table t --source web")
    assert "__sdc_primary_key" in done.out


def test_another_destination_is_asked_when_it_is_named(
    folder: Path, file: Path, treadle: Treadle
) -> None:
    config = Config(data=folder)
    with closing(Store.open(config.store_url, load_cipher(config.key_path))) as store:
        store.destinations.set_default_destination(
            1, "duckdb", f"duckdb://{folder / 'first.duckdb'}", "first"
        )
    line = f"plan {file} --table t --key id"
    assert 'CREATE TABLE "first"."web"."t" (' in treadle(line).out
    other = f"duckdb://{folder / 'second.duckdb'}"
    assert 'CREATE TABLE "second"."web"."t" (' in treadle(f"{line} --destination {other}").out
