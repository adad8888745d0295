"""A sender as clients are: it repeats what was not answered, with the same idempotency key."""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

import httpx
from tests.servers.treadle import PATIENCE_SECONDS

EVENTS: Final = 20
"""Records without a key in a request: one that is loaded twice is there twice."""
PEOPLE: Final = 5
"""Records with a key in a request."""
IDS: Final = 40
"""Different keys: few, so that records supersede each other over all of a run."""


class RetryingSender(threading.Thread):
    """Pushes to a table without a key and to one with a key, until it is told to stop.

    Args:
        urls: of servers that share a log. After a request that was not taken the next one gets it.

    Attributes:
        acknowledged: requests that were answered 201.
        retries: requests that were sent again.
        fault: an answer that a sender cannot go on from.
    """

    def __init__(self, urls: Sequence[str], client_id: int, token: str) -> None:
        super().__init__(daemon=True)
        self._servers = [httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) for url in urls]
        self._turn = 0
        self._client_id = client_id
        self._token = token
        self._told = threading.Event()
        self.acknowledged = 0
        self.retries = 0
        self.fault: str | None = None

    def run(self) -> None:
        with ExitStack() as stack:
            for server in self._servers:
                stack.enter_context(server)
            while not self._told.is_set() and self.fault is None:
                self._push()

    def stop(self) -> None:
        """Let it end with the answer to what is under way."""
        self._told.set()
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive(), "no answer to what was repeated"
        assert self.fault is None, self.fault

    def _push(self) -> None:
        number = self.acknowledged
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Idempotency-Key": f"request-{number}",
        }
        body = [*self._make_events(number), *self._make_people(number)]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            server = self._servers[self._turn % len(self._servers)]
            try:
                answer = server.post("/v2/import/push", json=body, headers=headers)
            except httpx.TransportError:
                pass  # whether it was stored is not known
            else:
                if answer.status_code == 201:
                    self.acknowledged += 1
                    return
                if answer.status_code not in (429, 503) or "Retry-After" not in answer.headers:
                    self.fault = f"{answer.status_code}: {answer.text}"
                    return
            self.retries += 1
            self._turn += 1
            time.sleep(0.02)
        self.fault = f"request {number} was not answered in time"

    def _make_events(self, number: int) -> list[dict[str, Any]]:
        return [
            self._make_record("events", [], place, {"id": place})
            for place in range(number * EVENTS, (number + 1) * EVENTS)
        ]

    def _make_people(self, number: int) -> list[dict[str, Any]]:
        return [
            self._make_record("people", ["id"], place, {"id": place % IDS, "seen": place})
            for place in range(number * PEOPLE, (number + 1) * PEOPLE)
        ]

    def _make_record(
        self, table: str, keys: list[str], place: int, data: dict[str, int]
    ) -> dict[str, Any]:
        return {
            "client_id": self._client_id,
            "table_name": table,
            "sequence": place + 1,
            "action": "upsert",
            "key_names": keys,
            "data": data,
        }


def expect_people(requests: int) -> dict[int, int]:
    """The rows of the table with a key after so many requests: what each key was sent last."""
    return {place % IDS: place for place in range(requests * PEOPLE)}
