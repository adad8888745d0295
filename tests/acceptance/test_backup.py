"""A backup of a server under load, restored into an empty folder: nothing lost, nothing doubled."""

import threading
from collections import Counter
from pathlib import Path

from tests.servers.treadle import Client, TreadleServer, eventually

from treadle.cli.query import query_destination
from treadle.errors import TreadleError

BATCH = 20
SETTINGS = {"load_age_seconds": "0.1", "load_rows": "200"}


class LoadSender(threading.Thread):
    """Pushes records without a key: one that is loaded twice is in the table twice."""

    def __init__(self, client: Client, token: str) -> None:
        super().__init__(daemon=True)
        self._client, self._token = client, token
        self._end = threading.Event()
        self.acknowledged = 0

    def run(self) -> None:
        while not self._end.is_set():
            self.push()

    def push(self) -> None:
        first = self.acknowledged
        records = [{"id": number} for number in range(first, first + BATCH)]
        answer = self._client.push(self._token, records, table="events", keys=[])
        assert answer.status_code == 201, answer.text
        self.acknowledged += BATCH

    def stop(self) -> None:
        self._end.set()
        self.join(60)
        assert not self.is_alive()


def count_ids(url: str) -> Counter[int]:
    try:
        rows = query_destination(url, "select id from import_api.events").rows
    except TreadleError as error:
        raise AssertionError(str(error)) from error  # not there yet
    return Counter(row[0] for row in rows)


def test_a_server_under_load_is_restored_into_an_empty_folder(tmp_path: Path) -> None:
    new, backup = tmp_path / "new", tmp_path / "backup"
    former_url = f"duckdb://{tmp_path / 'data' / 'warehouse.duckdb'}"
    with TreadleServer(tmp_path / "data", settings=SETTINGS) as server:
        client = Client(server, *server.account())
        _, token = client.create_source()
        sender = LoadSender(client, token)
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
