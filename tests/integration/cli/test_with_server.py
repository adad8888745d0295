"""Push and query with the whole server in between."""

import json
from pathlib import Path

from tests.servers.treadle import TreadleServer, eventually


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


def test_an_account_made_beside_a_running_server_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "records.json"
    file.write_text('[{"id": 1}]')
    with TreadleServer(tmp_path / "data", settings={"load_age_seconds": "0.1"}) as server:
        server.treadle("account", "create", "--name", "Mine", "--client-id", "116078")
        server.treadle("source", "create", "Shop", "--account", "116078")
        server.treadle("push", str(file), "--table", "orders", "--key", "id", "--source", "shop")
        eventually(lambda: server.query("SELECT id FROM shop.orders") == [{"id": 1}])
