"""Whatever is killed during a push: every receipt ends in one state and its counts add up.

Every request carries an `Idempotency-Key` and is repeated until it is answered, so that the whole
adds up too, however often something was killed between an append and its answer.
"""

import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.kinds import POSTGRES_DAILY
from tests.servers.treadle import Client, TreadleServer, eventually

RECORDS = 50_000
PER_REQUEST = 200
SENDERS = 4
TABLES = ("orders", "customers", "events")
KEYLESS = "events"
IDS = 2_000
"""Different keys of each table: every record has earlier and later ones of its key."""

OUT_OF_RANGE = 10**30
RESERVED = "_sdc_batched_at"


@pytest.fixture
def server(tmp_path: Path, destination_url: str | None) -> Iterator[TreadleServer]:
    """Loads often and little at a time, so that many loads are there to be killed."""
    settings = {"load_age_seconds": "0.3", "load_rows": "3000"}
    with TreadleServer(tmp_path / "data", destination_url, settings) as running:
        yield running


@dataclass
class Request:
    """What was sent, and its receipt once it was answered.

    Attributes:
        records: (table, id, sequence, rejected), as sent.
        statuses: of all tries.
    """

    key: str
    body: bytes
    records: list[tuple[str, int, int, bool]]
    receipt: str = ""
    statuses: list[int] = field(default_factory=list)

    def counts(self) -> Counter[str]:
        """Records by table."""
        return Counter(table for table, *_ in self.records)


def requests(client_id: int) -> list[Request]:
    """All requests of the test, made with dice that always fall the same."""
    dice = random.Random(11)
    found = []
    for first in range(0, RECORDS, PER_REQUEST):
        records: list[tuple[str, int, int, bool]] = []
        body = []
        for number in range(first, first + PER_REQUEST):
            table = dice.choice(TABLES)
            bad = dice.random() < 0.02
            identity = dice.randrange(IDS)
            data: dict[str, Any] = {"id": identity, "n": number}
            if bad:
                data |= dice.choice([{"n": OUT_OF_RANGE}, {RESERVED: 1}])
            sequence = dice.randrange(RECORDS)  # later requests may hold earlier versions
            records.append((table, identity, sequence, bad))
            body.append(
                {
                    "client_id": client_id,
                    "table_name": table,
                    "sequence": sequence,
                    "action": "upsert",
                    "key_names": [] if table == KEYLESS else ["id"],
                    "data": data,
                }
            )
        found.append(Request(f"request {first}", json.dumps(body).encode(), records))
    return found


class Senders:
    """Threads that send requests and repeat what was not answered 201."""

    def __init__(self, server: TreadleServer, token: str, work: list[Request]) -> None:
        self.answered = 0
        self.strange: list[str] = []
        self._server = server
        self._token = token
        self._work = iter(work)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def alive(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def came_on(self, seen: int) -> bool:
        """Whether more was answered than `seen`, or all is."""
        return self.answered > seen or not self.alive()

    def join(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        with httpx.Client(base_url=self._server.url, timeout=300) as http:
            while True:
                with self._lock:
                    request = next(self._work, None)
                if request is None:
                    return
                while not self._sent(http, request):
                    time.sleep(0.2)
                with self._lock:
                    self.answered += 1

    def _sent(self, http: httpx.Client, request: Request) -> bool:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Idempotency-Key": request.key,
        }
        try:
            answer = http.post("/v2/import/push", content=request.body, headers=headers)
        except httpx.TransportError:
            request.statuses.append(0)
            return False
        request.statuses.append(answer.status_code)
        if answer.status_code == 201:
            request.receipt = answer.headers["Treadle-Receipt"]
            return True
        if answer.status_code != 503:  # somebody was killed just now: come again
            self.strange.append(f"{answer.status_code} {answer.text}")
        return False


def follow(http: httpx.Client, token: str, receipt: str) -> Any:
    """What a receipt says once it is final."""
    headers = {"Authorization": f"Bearer {token}"}
    for _ in range(10):
        answer = http.get(f"/v1/receipts/{receipt}", params={"wait": 60}, headers=headers)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        if found["status"] != "waiting":
            break
    return found


@POSTGRES_DAILY
@pytest.mark.slow
def test_every_receipt_ends_in_one_state_and_the_counts_add_up(
    server: TreadleServer, client: Client
) -> None:
    _, token = client.create_source()
    work = requests(client.client_id)
    senders = Senders(server, token, work)
    dice = random.Random(7)
    victims = ["loader", "everything", "loader", "worker 1", "loader", "everything"]
    for victim in victims:
        eventually(partial(senders.came_on, senders.answered), 300)
        time.sleep(dice.uniform(0.2, 0.8))
        if victim == "everything":
            server.kill()
            server.start()
        else:
            server.kill_part(victim)
    senders.join(600)
    assert not senders.alive()
    assert senders.strange == []
    assert all(request.receipt for request in work)
    assert len({request.receipt for request in work}) == len(work)

    server.kill_part("loader")
    total: Counter[str] = Counter()
    by_table: dict[str, Counter[str]] = {table: Counter() for table in TABLES}
    with httpx.Client(base_url=server.url, timeout=300) as http:
        for request in work:
            found = follow(http, token, request.receipt)
            assert found["status"] == "loaded", found
            assert found["records"] == PER_REQUEST
            assert found["tables_not_shown"] == 0
            counted = request.counts()
            assert {row["table_name"]: row["records"] for row in found["tables"]} == counted
            for row in found["tables"]:
                name, rejected = row["table_name"], len(row["rejected"])
                assert row["status"] == ("loaded" if rejected < row["records"] else "rejected")
                assert row["load"] is not None
                assert row["loaded"] + row["superseded"] + rejected == counted[name], row
                places = [bad for table, _, _, bad in request.records if table == name]
                assert {one["record"] for one in row["rejected"]} == {
                    place for place, bad in enumerate(places) if bad
                }
                assert all(one["reason"] for one in row["rejected"])
                counts = Counter(
                    loaded=row["loaded"], superseded=row["superseded"], rejected=rejected
                )
                by_table[name] += counts
                total += counts
        first = [follow(http, token, request.receipt) for request in work[:20]]
        again = [follow(http, token, request.receipt) for request in work[:20]]
        assert again == first

    assert total.total() == RECORDS
    sent = list(itertools.chain.from_iterable(request.records for request in work))
    assert total["rejected"] == sum(bad for *_, bad in sent)
    [row] = server.query("select count(*) as n from import_api._sdc_rejected")
    assert row["n"] == total["rejected"]
    for table in TABLES:
        good = [(key, sequence) for name, key, sequence, bad in sent if name == table and not bad]
        assert by_table[table]["loaded"] + by_table[table]["superseded"] == len(good)
        [row] = server.query(
            f"select count(*) as n, sum(_sdc_sequence) as total from import_api.{table}"
        )
        if table == KEYLESS:
            assert by_table[table]["superseded"] == 0
            expected = [sequence for _, sequence in good]
        else:
            assert by_table[table]["superseded"] > 0
            newest: dict[int, int] = {}
            for key, sequence in good:
                newest[key] = max(sequence, newest.get(key, 0))
            expected = list(newest.values())
        assert (row["n"], int(row["total"])) == (len(expected), sum(expected))
