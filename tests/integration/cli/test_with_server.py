"""Push and query with the whole server in between."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.treadle import TreadleServer, eventually


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TreadleServer]:
    """A server that loads when records are as old as it is set by default, with one source."""
    with TreadleServer(tmp_path_factory.mktemp("slow") / "data") as running:
        running.treadle("source", "create", "Import API")
        yield running


def test_what_is_pushed_can_be_queried(tmp_path: Path) -> None:
    file = tmp_path / "records.json"
    records = [{"id": n % 500, "n": n} for n in range(1_000)]
    file.write_text(json.dumps(records))
    with TreadleServer(tmp_path / "data", settings={"load_age_seconds": "0.1"}) as server:
        server.treadle("source", "create", "Import API")
        said = server.treadle("push", str(file), "--table", "numbers", "--key", "id")
        assert said.startswith("Pushed 1,000 records to numbers in ")
        statement = "SELECT count(*) AS rows, min(n) AS least FROM import_api.numbers"
        # Later records win.
        eventually(lambda: server.query(statement) == [{"rows": 500, "least": 500}])
        load_for_another_account(server, file)


def load_for_another_account(server: TreadleServer, file: Path) -> None:
    """An account that is made beside a running server is loaded."""
    file.write_text('[{"id": 1}]')
    server.treadle("account", "create", "--name", "Mine", "--client-id", "116078")
    server.treadle("source", "create", "Shop", "--account", "116078")
    server.treadle("push", str(file), "--table", "orders", "--key", "id", "--source", "shop")
    eventually(lambda: server.query("SELECT id FROM shop.orders") == [{"id": 1}])


def test_a_push_that_waits_ends_when_its_records_are_rows(
    server: TreadleServer, tmp_path: Path
) -> None:
    file = tmp_path / "records.json"
    file.write_text(json.dumps([{"id": n % 500, "n": n} for n in range(1_000)]))
    words = ("push", str(file), "--table", "numbers", "--key", "id", "--wait")
    said = server.treadle(*words, "--batch-records", "90").splitlines()
    rows = server.query("SELECT count(*) AS rows, min(n) AS least FROM import_api.numbers")
    assert rows == [{"rows": 500, "least": 500}]
    last = re.fullmatch(
        r"After \d+\.\d s: ([\d,]+) loaded, ([\d,]+) superseded, 0 rejected\.", said[1]
    )
    assert last is not None
    # What one load took into the table and a later one replaced counts as loaded.
    assert sum(int(count.replace(",", "")) for count in last.groups()) == 1_000


def test_a_push_that_waits_tells_of_rejected_records(server: TreadleServer, tmp_path: Path) -> None:
    file = tmp_path / "records.json"
    file.write_text(json.dumps([{"id": 1}, {"id": 2, "n": 10**30}]))
    words = ("push", str(file), "--table", "t", "--key", "id", "--wait")
    assert ": 1 loaded, 0 superseded, 1 rejected." in server.treadle(*words, check=False)
    assert server.query("SELECT id FROM import_api.t") == [{"id": 1}]
    with pytest.raises(AssertionError, match=r"Rejected, the first because: .* shows all"):
        server.treadle(*words)
