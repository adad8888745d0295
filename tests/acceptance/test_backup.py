"""A backup of a server under load, restored into an empty folder: nothing lost, nothing doubled."""

from collections import Counter
from pathlib import Path

import pytest
from tests.servers.keyless_sender import BATCH, KeylessSender, count_ids
from tests.servers.treadle import Client, TreadleServer, eventually

SETTINGS = {"load_age_seconds": "0.1", "load_rows": "200"}

pytestmark = pytest.mark.file_store


def test_a_server_under_load_is_restored_into_an_empty_folder(tmp_path: Path) -> None:
    new, backup = tmp_path / "new", tmp_path / "backup"
    former_url = f"duckdb://{tmp_path / 'data' / 'warehouse.duckdb'}"
    with TreadleServer(tmp_path / "data", settings=SETTINGS) as server:
        client = Client(server, *server.account())
        _, token = client.create_source()
        sender = KeylessSender(client, token)
        sender.start()
        eventually(lambda: count_ids(former_url).total() >= 10 * BATCH)
        before = sender.acknowledged
        server.treadle("backup", str(backup), "--with-warehouse", "--with-key")
        after = sender.acknowledged
        assert after > before  # it was pushed to meanwhile
        eventually(lambda: sender.acknowledged >= after + 5 * BATCH)
        sender.stop()
        server.kill()
    restored = TreadleServer(new, settings=SETTINGS)
    restored.treadle("restore", str(backup))
    url = f"duckdb://{new / 'warehouse.duckdb'}"
    with restored:
        again = Client(restored, client.client_id, client.account["Authorization"].split()[1])
        pushed = again.push(token, [{"id": -1}], table="events", keys=[])
        assert pushed.status_code == 201
        eventually(lambda: count_ids(url)[-1] == 1)
        eventually(lambda: again.http.get("/v2/import/status").json()["reason"] is None)
        found = count_ids(url)
        assert set(found.values()) == {1}
        # What was acknowledged before the backup began is there; of what came meanwhile, the
        # first part, without a gap.
        assert found == Counter([-1, *range(found.total() - 1)])
        assert before < found.total() <= after + 1 + BATCH
