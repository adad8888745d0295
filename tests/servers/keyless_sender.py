"""Pushes records whose losses and doubles can be counted."""

import threading
from collections import Counter

from tests.servers.treadle import Client

from treadle.cli.query import query_destination
from treadle.errors import TreadleError

BATCH = 20
"""Records of a push."""


class KeylessSender(threading.Thread):
    """Pushes records without a key until it is told to stop: one that is loaded twice is there
    twice."""

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
    """How often each record is in a destination."""
    try:
        rows = query_destination(url, "select id from import_api.events").rows
    except TreadleError as error:
        raise AssertionError(str(error)) from error  # not there yet
    return Counter(row[0] for row in rows)
