"""`python -m tests.faults.store_failover`: the store's primary is killed, and a standby takes over.

The log is in the data folder, the store on a PostgreSQL primary with two standbys, of which a
commit waits for one. In each cycle the primary is killed at a random time under load, a standby is
promoted after a while, and the killed one comes back as a standby. Records must not be lost or
doubled, requests are answered 201 or 503, and a token whose revocation was answered stays revoked.
"""

import argparse
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from tests.faults.command import Tally, command, folder
from tests.faults.traffic import Rig
from tests.servers.postgres_cluster import PostgresCluster

from treadle.config import Config
from treadle.log.sqlite.log import SqliteReader
from treadle.server.factories import open_store
from treadle.store.key_files import load_cipher
from treadle.store.store import Store
from treadle.tracking.ledger import LedgerLine, compute_ledger

TABLES = {"orders": True, "events": False}
SETTLE_SECONDS_MAX = 120.0
REVOKED_SECONDS_MAX = 1.0
"""After the answer to a revocation no worker takes the token for longer."""

ANSWER_SECONDS_MAX = 60.0


@dataclass
class Revocations(threading.Thread):
    """Makes tokens of a source and revokes them, again and again, while the gate is open."""

    rig: Rig
    source: int
    account: dict[str, str]
    gone: list[tuple[str, float]] = field(default_factory=list)
    """Tokens whose revocation was answered, and when."""
    made: int = 0
    unanswered: int = 0
    found: list[str] = field(default_factory=list)
    end: bool = False

    def __post_init__(self) -> None:
        """Become a thread."""
        threading.Thread.__init__(self, daemon=True)
        # One client for each thread: to make one takes longer than a request.
        self._asking = httpx.Client(base_url=self.rig.server.url, timeout=ANSWER_SECONDS_MAX)
        self._http = httpx.Client(base_url=self.rig.server.url, timeout=ANSWER_SECONDS_MAX)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        while not self.end:
            if not self.rig.gate.wait(0.05):
                continue
            try:
                self._revoke_one()
            except httpx.HTTPError as error:
                self.found.append(f"a call of the Connect API was not answered: {error!r}")
            time.sleep(0.02)
        self._http.close()

    def _revoke_one(self) -> None:
        path = f"/v4/sources/{self.source}/tokens"
        made = self._http.post(path, headers=self.account)
        if not self._judge(made):
            return
        self.made += 1
        token_id, token = made.json()["id"], made.json()["access_token"]
        while not self.end:
            ended = self._http.delete(f"{path}/{token_id}", headers=self.account)
            if self._judge(ended):
                self.gone.append((token, time.monotonic()))
                return
            if ended.status_code == 400:  # an earlier try was carried out, and not answered
                return
            self.unanswered += 1
            time.sleep(0.05)

    def _judge(self, answer: httpx.Response) -> bool:
        """Return whether a call was carried out; note an answer that nobody expects."""
        if answer.status_code not in (200, 201, 400, 503):
            self.found.append(f"the Connect API answered {answer.status_code}: {answer.text[:200]}")
        return answer.status_code in (200, 201)

    def _make_record(self) -> dict[str, object]:
        """A record with nothing wrong, so that only its token can be."""
        return {
            "client_id": self.rig.client_id,
            "table_name": "returned",
            "sequence": 1,
            "action": "upsert",
            "key_names": ["id"],
            "data": {"id": 1},
        }

    def find_returned(self) -> list[str]:
        """Push with every token that was revoked; says which of them are taken."""
        found, self.found = self.found, []
        for token, at in self.gone:
            time.sleep(max(0.0, at + REVOKED_SECONDS_MAX - time.monotonic()))
            answer = self._asking.post(
                "/v2/import/push",
                json=[self._make_record()],
                headers={"Authorization": f"Bearer {token}"},
            )
            if answer.status_code != 401:
                found.append(f"a token that was revoked is answered {answer.status_code}")
        return found


@dataclass
class StoreScene:
    """A server, its store's cluster, and what is seen of both."""

    rig: Rig
    cluster: PostgresCluster
    url: str
    dice: random.Random
    tokens: Revocations | None = None

    def read_ledger(self) -> list[LedgerLine]:
        """What became of everything, as the store tells."""
        config = Config(data=self.rig.server.data, store=self.url)
        with (
            closing(open_store(config)) as store,
            closing(SqliteReader(config.log_path)) as reader,
        ):
            return compute_ledger(store, reader)

    def balance(self) -> list[str]:
        """What is wrong in the ledger with everything loaded."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while True:
            wrong = [
                f"the ledger is not balanced: {line}"
                for line in self.read_ledger()
                if line.waiting or line.accepted != line.loaded + line.superseded + line.rejected
            ]
            if not wrong or time.monotonic() > deadline:
                return wrong
            time.sleep(0.1)  # a row is seen before its load is noted

    def fail_over(self) -> float:
        """Kill the primary and promote a standby; returns the seconds in between."""
        self.cluster.kill_primary()
        began = time.monotonic()
        time.sleep(self.dice.uniform(0.0, 2.0))
        self.cluster.fail_over()
        return time.monotonic() - began

    def await_answers(self) -> list[str]:
        """Wait until the server can use the store again."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while time.monotonic() < deadline:
            answer = httpx.get(
                f"{self.rig.server.url}/v4/sources",
                headers=self.tokens.account if self.tokens else {},
                timeout=ANSWER_SECONDS_MAX,
            )
            if answer.status_code == 200:
                return []
            if answer.status_code != 503:
                return [f"the Connect API answered {answer.status_code}: {answer.text[:200]}"]
            time.sleep(0.05)
        return ["the Connect API is not answered again after the failover"]


def make_rig(path: Path, url: str, seed: int) -> Rig:
    """A server whose store was made, without an account: its first start makes one."""
    rig = Rig(path, None, TABLES, seed=seed, settings={"store_durability": "replicated"})
    rig.server.environment["TREADLE_STORE"] = url
    config = Config(data=rig.server.data, store=url)
    config.make_data_folder()
    Store.open(url, load_cipher(config.key_path)).close()
    return rig


@contextmanager
def revoking(scene: StoreScene) -> Iterator[Revocations]:
    """Tokens are revoked while the gate is open."""
    _, token = scene.rig.server.account()
    account = {"Authorization": f"Bearer {token}"}
    body = {"type": "import_api", "display_name": "side"}
    made = httpx.post(
        f"{scene.rig.server.url}/v4/sources", json=body, headers=account, timeout=60
    ).json()
    scene.tokens = Revocations(scene.rig, made["id"], account)
    scene.tokens.start()
    try:
        yield scene.tokens
    finally:
        scene.rig.gate.clear()
        scene.tokens.end = True
        scene.tokens.join()


def cycles(scene: StoreScene, count: int, tally: Tally) -> None:
    """Some failovers of one store."""
    rig = scene.rig
    with rig.running(), revoking(scene) as tokens:
        running = rig.server.processes()
        for cycle in range(count):
            before = rig.witness.acknowledged
            rig.gate.set()
            time.sleep(scene.dice.uniform(0.3, 1.0))
            scene.fail_over()
            meanwhile = rig.witness.acknowledged - before
            time.sleep(scene.dice.uniform(0.0, 0.5))
            scene.cluster.rebuild()
            scene.cluster.wait_until_replicated()
            found = scene.await_answers()
            rig.pause()
            found += rig.violations() + scene.balance() + tokens.find_returned()
            tally.note(f"cycle {cycle}", found)
            tally.add(failovers=1, **{"acknowledged until the failover": meanwhile})
            tally.add(**{"requests acknowledged": rig.witness.acknowledged - before})
        if rig.server.processes() != running:
            tally.note("the end", ["a process died and was started again"])
        tally.add(**{"requests without an answer": rig.witness.unanswered})
        tally.add(**{"tokens revoked": len(tokens.gone), "calls answered 503": tokens.unanswered})


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """All cycles with one cluster."""
    with PostgresCluster(standbys=2) as cluster, folder() as path:
        url = cluster.create_database("store")
        rig = make_rig(path, url, arguments.seed)
        scene = StoreScene(rig, cluster, url, random.Random(arguments.seed))
        try:
            cycles(scene, arguments.cycles, tally)
        finally:
            log = rig.server.log
            if log.exists():
                lines = [line for line in log.read_text().splitlines() if "Traceback" in line]
                tally.add(**{"tracebacks in the log": len(lines)})


if __name__ == "__main__":
    sys.exit(command("store_failover", str(__doc__), run, cycles=20))
