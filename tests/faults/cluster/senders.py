"""Senders that push to any of several gates, and tokens that are revoked meanwhile.

A request for a table with a key is sent until it is acknowledged, at another gate each time. One
for a table without a key is sent once, or, with an `Idempotency-Key`, again until it is answered.
"""

import base64
import contextlib
import http.client
import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec
from tests.faults.cluster.bounds import RevokedPush
from tests.faults.cluster.checks import AcknowledgedPlace
from tests.faults.witness import RECORDS, Request, Witness

from treadle.tracking.receipts import MAC_BYTES, RECEIPT_PREFIX

IDS: Final = 400
"""Different keys of a keyed table: few, so that records supersede each other."""

ANSWER_SECONDS_MAX: Final = 4.0
"""After so long a sender tries another gate, as a load balancer would."""

HOME_SHARE: Final = 0.7
"""How often a sender takes the gate that it began with, so that they do not all come to one."""

PAUSE_SECONDS: Final = (0.02, 0.08)
"""Between two requests of a sender: the machine is shared by all nodes."""

SILENT_SECONDS: Final = 10.0
"""For so long a gate that did not answer is left out by most."""

SLOW_SECONDS: Final = 2.0
"""A gate that somebody has waited for so long is left out by others, as a check of it would say."""

WANDER_SHARE: Final = 0.03
"""Of the requests after which a sender takes another gate without need."""

REPEAT_SHARE: Final = 0.1
"""Of the acknowledged requests with an idempotency key that are sent once more."""

UNSENT: Final = -1
"""In place of a status: the gate took no connection."""

Manner = Literal["keyed", "named", "once"]
"""Of a table with a key; of one without, with an `Idempotency-Key`; of one without, sent once."""


@dataclass(frozen=True, slots=True)
class GateAddress:
    """Where a gate listens."""

    name: str
    host: str
    port: int


@dataclass(slots=True)
class GateList:
    """The gates that senders may use; for several threads."""

    _gates: list[GateAddress] = field(default_factory=list)
    _silent: dict[str, float] = field(default_factory=dict)
    _waiting: dict[int, tuple[str, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def replace(self, gates: list[GateAddress]) -> None:
        """Have senders use these from now on."""
        with self._lock:
            self._gates = list(gates)

    def list_gates(self) -> list[GateAddress]:
        """Return all of them."""
        with self._lock:
            return list(self._gates)

    def note_silence(self, name: str, now: float) -> None:
        """Note that a gate did not answer."""
        with self._lock:
            self._silent[name] = now

    @contextlib.contextmanager
    def waiting(self, name: str) -> Iterator[None]:
        """Let others see how long this thread has waited for a gate."""
        me = threading.get_ident()
        with self._lock:
            self._waiting[me] = name, time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._waiting[me]

    def list_waits(self) -> list[tuple[str, float]]:
        """Return which gates are waited for, and since when."""
        with self._lock:
            return [*self._waiting.values()]

    def choose(
        self,
        dice: random.Random,
        now: float,
        other_than: str | None = None,
        home: int | None = None,
    ) -> GateAddress:
        """Draw one that answers, another one than before where there are several.

        Args:
            dice: decides.
            now: of the monotonic clock.
            other_than: name of the one that did not answer just now.
            home: number of the one that is taken more often than others.
        """
        with self._lock:
            gates = list(self._gates)
            silent = {name for name, at in self._silent.items() if now < at + SILENT_SECONDS}
            silent |= {name for name, at in self._waiting.values() if now > at + SLOW_SECONDS}
        others = [gate for gate in gates if gate.name != other_than] or gates
        answering = [gate for gate in others if gate.name not in silent] or others
        if home is not None and dice.random() < HOME_SHARE:
            preferred = gates[home % len(gates)]
            if preferred in answering:
                return preferred
        return dice.choice(answering)


@dataclass(slots=True)
class SentRecords:
    """What was sent, answered and when; for several threads.

    Attributes:
        client_id, token: of the source.
        gates: to push to.
        open: senders send while it is set.
        answered: moments at which a push was acknowledged, by the monotonic clock.
        receipts: of every acknowledged push -> its table.
        positions: table -> the highest position that was acknowledged.
        by_key: idempotency key -> the receipts of its answers.
        notes: what nobody expected.
        counts: of answers, by kind.
    """

    client_id: int
    token: str
    gates: GateList
    witness: Witness = field(default_factory=Witness)
    open: threading.Event = field(default_factory=threading.Event)
    answered: list[float] = field(default_factory=list)
    receipts: dict[str, str] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    by_key: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    begun_at: float = 0.0
    tables: Mapping[str, bool] = field(default_factory=dict)

    def begin(self, tables: Mapping[str, bool], now: float) -> None:
        """Expect nothing of what was sent so far, and push to these tables; senders are idle."""
        self.witness = self.witness.fresh()
        self.tables = dict(tables)
        self.answered.clear()
        self.receipts.clear()
        self.positions = {}
        self.by_key.clear()
        self.notes.clear()
        self.begun_at = now


class GateSender(threading.Thread):
    """Pushes to the tables of a kind while the gate is open.

    Args:
        records: what all senders share.
        manner: how it repeats.
        seed: of its dice.
        home: number of the gate that it takes more often than others.
    """

    def __init__(self, records: SentRecords, manner: Manner, seed: str, home: int) -> None:
        super().__init__(daemon=True, name=f"sender {seed}")
        self._records = records
        self._manner = manner
        self._home = home
        self._dice = random.Random(seed)
        self._connections: dict[str, http.client.HTTPConnection] = {}
        self._gate: GateAddress | None = None
        self.idle = threading.Event()
        self.end = False

    def run(self) -> None:
        while not self.end:
            self.idle.clear()  # before the gate is looked at: who closes it waits for this
            if not self._records.open.is_set():
                self.idle.set()
                self._records.open.wait(0.05)
                continue
            keyed = self._manner == "keyed"
            tables = [name for name, its in self._records.tables.items() if its == keyed]
            ids = self._dice.sample(range(IDS), RECORDS) if keyed else None
            self._push(self._records.witness.request(self._dice.choice(tables), ids))
            time.sleep(self._dice.uniform(*PAUSE_SECONDS))
        self.idle.set()

    def _push(self, request: Request) -> None:
        body = json.dumps(request.body(self._records.client_id)).encode()
        key = None
        if self._manner == "named":
            key = f"request {request.number} of {self._records.begun_at}"
        while not self.end:
            if self._gate is None or self._dice.random() < WANDER_SHARE:
                self._gate = self._choose()
            with self._records.gates.waiting(self._gate.name):
                status, receipt = self._send(self._gate, body, key)
            self._count(status)
            if status == 201:
                request.outcome = "acknowledged"
                self._acknowledge(request, key, receipt)
                if key is not None and self._dice.random() < REPEAT_SHARE:
                    self._repeat(body, key)
                return
            self._gate = self._choose(other_than=self._gate.name)
            if self._manner == "once":
                request.outcome = "refused" if status in (503, UNSENT) else "unknown"
                return
            time.sleep(0.1)

    def _acknowledge(self, request: Request, key: str | None, receipt: str | None) -> None:
        self._records.answered.append(time.monotonic())
        if receipt is None:
            self._records.notes.append(f"request {request.number}: 201 without a receipt")
            return
        request.receipt = receipt
        self._records.receipts[receipt] = request.table
        place = read_receipt(receipt)
        highest = self._records.positions.get(request.table, 0)
        self._records.positions[request.table] = max(highest, place.first + place.entries - 1)
        if key is not None:
            self._records.by_key[key].append(receipt)

    def _repeat(self, body: bytes, key: str) -> None:
        """Send what was acknowledged to another gate: it has to be the same place."""
        gate = self._choose(other_than=self._gate.name if self._gate else None)
        status, receipt = self._send(gate, body, key)
        self._records.counts["repetitions of acknowledged requests"] += 1
        if status == 201 and receipt is not None:
            self._records.by_key[key].append(receipt)

    def _send(self, gate: GateAddress, body: bytes, key: str | None) -> tuple[int, str | None]:
        """Return status and receipt; 0 without an answer, `UNSENT` where nothing was sent."""
        headers = {
            "Authorization": f"Bearer {self._records.token}",
            "Content-Type": "application/json",
        }
        if key is not None:
            headers["Idempotency-Key"] = key
        connection = self._connections.pop(gate.name, None)
        if connection is None:
            connection = http.client.HTTPConnection(
                gate.host, gate.port, timeout=ANSWER_SECONDS_MAX
            )
            try:
                connection.connect()
            except OSError:
                self._records.gates.note_silence(gate.name, time.monotonic())
                return UNSENT, None
        try:
            connection.request("POST", "/v2/import/push", body, headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self._records.gates.note_silence(gate.name, time.monotonic())
            return 0, None
        self._connections[gate.name] = connection
        if answer.status not in (201, 503, 504) or (
            answer.status == 503 and answer.headers.get("Retry-After") is None
        ):
            self._records.notes.append(f"{gate.name} answered {answer.status}: {said[:200]!r}")
        return answer.status, answer.headers.get("Treadle-Receipt")

    def _choose(self, other_than: str | None = None) -> GateAddress:
        return self._records.gates.choose(self._dice, time.monotonic(), other_than, self._home)

    def _count(self, status: int) -> None:
        names = {0: "pushes without an answer", UNSENT: "pushes to a gate that was not there"}
        self._records.counts[names.get(status, f"pushes answered {status}")] += 1


def read_receipt(text: str) -> AcknowledgedPlace:
    """Read the place that a receipt names, without its signature; it does not name the log."""
    encoded = text.removeprefix(RECEIPT_PREFIX)
    signed = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    body = signed[:-MAC_BYTES]
    _, first, entries = msgspec.msgpack.decode(body, type=tuple[int, int, int])
    return AcknowledgedPlace(0, first, entries)


@dataclass
class RevocationWatch(threading.Thread):
    """Makes tokens, revokes them, and pushes with each to every gate a second later.

    Attributes:
        records: has the gates.
        call: asks the Connect API for a method and a path; returns status and JSON, or raises
            OSError where nobody answers.
        source_id: whose tokens they are.
        pushes: what the gates answered.
    """

    records: SentRecords
    call: Callable[[str, str], tuple[int, dict[str, object]]]
    source_id: int
    pushes: list[RevokedPush] = field(default_factory=list)
    revoked: int = 0
    end: bool = False

    def __post_init__(self) -> None:
        """Become a thread."""
        threading.Thread.__init__(self, daemon=True, name="revocations")
        self._asking = ThreadPoolExecutor(8, "revoked")

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        while not self.end:
            if not self.records.open.wait(0.05):
                continue
            try:
                self._revoke_one()
            except (OSError, http.client.HTTPException):
                time.sleep(0.2)
            time.sleep(0.3)
        self._asking.shutdown()

    def _revoke_one(self) -> None:
        path = f"/v4/sources/{self.source_id}/tokens"
        status, made = self.call("POST", path)
        if status not in (200, 201):
            return
        token = str(made["access_token"])
        # Every gate knows it: what it knows it has to forget.
        for gate in self.records.gates.list_gates():
            self._asking.submit(self._push, gate, token, None)
        while not self.end:
            status, _ = self.call("DELETE", f"{path}/{made['id']}")
            if status in (200, 400):  # 400: an earlier try was carried out, and not answered
                break
            time.sleep(0.1)
        revoked_at = time.monotonic()
        self.revoked += 1
        time.sleep(1.0)
        for gate in self.records.gates.list_gates():
            self._asking.submit(self._push, gate, token, revoked_at)

    def _push(self, gate: GateAddress, token: str, revoked_at: float | None) -> None:
        record = {
            "client_id": self.records.client_id,
            "table_name": "revoked",
            "sequence": 1,
            "action": "upsert",
            "key_names": ["id"],
            "data": {"id": 1},
        }
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(gate.host, gate.port, timeout=ANSWER_SECONDS_MAX)
        status = 0
        begun_at = time.monotonic()
        try:
            connection.request("POST", "/v2/import/push", json.dumps([record]).encode(), headers)
            begun_at = time.monotonic()
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        if revoked_at is not None:
            self.pushes.append(RevokedPush(gate.name, revoked_at, begun_at, status))
