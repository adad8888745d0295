"""What post-load hooks cost, and whether they keep their promises at full speed.

    python -m benchmarks.hooked w8 [--pairs N] [--seconds S] [--tables N] [--fail-every N]
    python -m benchmarks.hooked deliver [--loads N] [--tables N] [--hooks N] [--database NAME]

`w8` measures W8 without and with a hook on each load, alternating in one run. Machines differ from
minute to minute, so only such pairs can be compared.

`deliver` makes loads as fast as they come while hooks wait for each of them, and the receiver
refuses one request in three. At the end every load has to have come to every hook, with one id and
one body, in the order of loads of its table. The pauses between tries take no real time: the
server's clock is put forward when nothing is due.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from tests.faults.serve import CLOCK, MODULE, set_clock
from tests.servers.postgres import PostgresServer
from tests.servers.receiver import Handler, Receiver, answer_with, receiving
from tests.servers.treadle import Client, TreadleServer

from benchmarks.answers import w8
from benchmarks.contender import Place
from benchmarks.ours import with_client
from benchmarks.sender import request, send
from benchmarks.workloads import one_for_each
from treadle.config import Config
from treadle.courier.decisions import TRIES_MAX
from treadle.log.sqlite.log import SqliteReader
from treadle.server.factories import open_store
from treadle.store.deliveries import DELIVERED, FAILED, WAITING
from treadle.store.hook_body import is_worth_a_delivery
from treadle.store.model import HookDelivery, LoadReport
from treadle.store.store import Store

POSTGRES = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
}
"""As `python -m benchmarks` has it."""
HOOKS = "/notifications/public/v1/api/hooks"
ANY_URL = {"hook_urls": "any"}
SECRET = "the-secret-of-the-receiver"  # with one, a delivery says its id
WITHIN = 1.05
"""What W8 may take with hooks, as a part of what it takes without."""
STEP_SECONDS = 60.0
"""By how much the clock is put forward while nothing is due."""
PATIENCE_SECONDS = 3600.0


def add_hook(server: TreadleServer, url: str) -> int:
    """Create a hook of the first account, with a secret; its id."""
    client = Client(server, *server.account())
    body = {"type": "post_load", "config": {"url": url}}
    made = client.http.post(HOOKS, json=body, headers=client.account)
    assert made.status_code == 200, made.text
    hook = int(made.json()["id"])
    changed = client.http.put(f"/v1/hooks/{hook}", json={"secret": SECRET}, headers=client.account)
    assert changed.status_code == 200, changed.text
    client.http.close()
    return hook


# --- W8 -------------------------------------------------------------------------------------------


def receive(fail_every: int) -> None:
    """Receive deliveries until standard input ends; the process that W8 calls.

    It is a process of its own, because it would take time from the sender as a thread of it.
    """
    answered = itertools.count(1)

    def answer(handler: Handler) -> None:
        fails = fail_every and next(answered) % fail_every == 0
        answer_with(500 if fails else 200)(handler)

    with receiving() as receiver:
        receiver.usual = answer
        print(receiver.url, flush=True)
        sys.stdin.read()
        print(len(receiver.seen), flush=True)


@contextmanager
def receiver_process(fail_every: int) -> Iterator[tuple[str, list[int]]]:
    """The URL of a receiver, and at the end in the list how many requests it got."""
    command = [sys.executable, "-m", "benchmarks.hooked", "receive", "--fail-every"]
    got: list[int] = []
    with subprocess.Popen(
        [*command, str(fail_every)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip(), got
        process.stdin.close()
        got.append(int(process.stdout.readline()))


def measure_w8(place: Place, asked: argparse.Namespace, *, hooked: bool) -> dict[str, Any]:
    """W8 once."""
    if not hooked:
        return w8(place, asked.seconds, settings=ANY_URL, tables=asked.tables)
    with receiver_process(asked.fail_every) as (url, got):
        found = w8(
            place,
            asked.seconds,
            settings=ANY_URL,
            prepare=lambda server: add_hook(server, url),
            tables=asked.tables,
        )
    return found | {"requests to the hook": got[0]}


def compare_w8(asked: argparse.Namespace) -> int:
    """W8 without and with a hook, in turns; 1 when it is slower with one than it may be."""
    found: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    with PostgresServer(settings=POSTGRES) as server:
        for pair in range(asked.pairs):
            for hooked in (False, True) if pair % 2 == 0 else (True, False):
                with in_place(server) as place:
                    one = measure_w8(place, asked, hooked=hooked)
                os.sync()
                found[hooked].append(one)
                print(f"{'with' if hooked else 'without':7} {describe_w8(one)}", flush=True)
    ratios = {}
    for name in ("p50 s", "p99 s"):
        without, with_hook = (median(one[name] for one in found[key]) for key in (False, True))
        ratios[name] = with_hook / without
        print(f"{name}: {without:.3f} without, {with_hook:.3f} with, ratio {ratios[name]:.3f}")
    good = ratios["p50 s"] <= WITHIN
    print(f"{'within' if good else 'NOT within'} 5 % in the median of {asked.pairs} pairs")
    return 0 if good else 1


def describe_w8(one: dict[str, Any]) -> str:
    """The figures of one W8 that matter here, on a line."""
    names = ("p50 s", "p99 s", "most s", "sender at most late s", "loader cpu", "courier cpu")
    said = [f"{name} {one[name]:.3f}" for name in names if name in one]
    return ", ".join([*said, f"requests to the hook {one.get('requests to the hook', 0)}"])


@contextmanager
def in_place(server: PostgresServer) -> Iterator[Place]:
    """A folder and a database that are removed afterwards."""
    url = server.create_database()
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        yield Place(Path(folder), url, server.create_database)
    server.drop_database(url)


# --- every load to every hook ---------------------------------------------------------------------


@dataclass(slots=True)
class StrictReceiver:
    """Refuses one request in three, and notes what came to each hook.

    Attributes:
        came: path of a hook -> (id of the delivery, status that was answered), as they came.
        bodies: (path, id) -> the body; the first one.
        wrong: what must not be.
    """

    came: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    bodies: dict[tuple[str, str], bytes] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    refused: int = 0
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def listen(self, receiver: Receiver) -> None:
        """Take all requests of a receiver."""
        receiver.take = self.take  # type: ignore[method-assign]  # this one keeps less

    def take(self, handler: Handler) -> None:
        """Note a request, and answer it."""
        raw = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        path, key = urlsplit(handler.path).path, handler.headers["Idempotency-Key"]
        with self._lock:
            self._count += 1
            status = 500 if self._count % 3 == 0 else 200
            self.refused += status != 200
            self.came.setdefault(path, []).append((key, status))
            if self.bodies.setdefault((path, key), raw) != raw:
                self.wrong.append(f"delivery {key} came with two bodies")
        answer_with(status)(handler)


@dataclass(slots=True)
class LoadMaker:
    """Pushes without pause, a record for each table in each request, until there are enough loads.

    Attributes:
        server: takes them.
        tables: how many.
    """

    server: TreadleServer
    tables: int
    requests: int = 0

    def make(self, store: Store, loads: int) -> float:
        """Make so many loads at least; the seconds that it took."""
        client = Client(self.server, *self.server.account())
        _, token = client.create_source("bench")
        enough = threading.Event()
        port = self.server.port

        def push() -> None:
            while not enough.is_set():
                self.requests += 1
                body = one_for_each(self.tables, self.requests)
                [body] = with_client([body], client.client_id)
                send(port, [request("/v2/import/push", token, port, body)], 1)

        began = time.monotonic()
        pusher = threading.Thread(target=push)
        pusher.start()
        try:
            while count_loads(store) < loads:
                time.sleep(1)
                assert pusher.is_alive(), self.server.log.read_text()[-2000:]
        finally:
            enough.set()
            pusher.join()
        log = SqliteReader(self.server.data / "log.sqlite")
        while log.list_backlogs():
            time.sleep(0.05)
        log.close()
        return time.monotonic() - began


def list_told(store: Store) -> list[LoadReport]:
    """The loads that hooks are told of, in their order."""
    loads = store.loads.list_loads(limit=1_000_000)[::-1]
    return [load for load in loads if load.error is None and is_worth_a_delivery(load)]


def count_loads(store: Store) -> int:
    """How many loads there are."""
    return sum(table.loads for table in store.tables.list_totals())


@dataclass(slots=True)
class DeliveryClock:
    """The clock of a server, which is put forward.

    Attributes:
        file: what the server reads it from.
        ahead: microseconds by which it is put forward.
    """

    file: Path
    ahead: int = 0

    def now(self) -> int:
        """Microseconds since 1970, as the server has it."""
        return time.time_ns() // 1_000 + self.ahead

    def pass_by(self, seconds: float) -> None:
        """Let time pass at once."""
        self.ahead += int(seconds * 1_000_000)
        set_clock(self.file, self.ahead)


def settle(store: Store, hooks: Sequence[int], clock: DeliveryClock) -> None:
    """Let time pass until no delivery waits."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(store.deliveries.list_deliveries(hook, state=WAITING, limit=1) for hook in hooks):
        assert time.monotonic() < deadline, "deliveries wait for ever"
        if not store.deliveries.list_due(clock.now(), 1):
            clock.pass_by(STEP_SECONDS)
        time.sleep(0.2)


def send_failed_again(server: TreadleServer, store: Store, hooks: Sequence[int]) -> int:
    """Send again by hand what was given up; how many."""
    given_up = [
        hook
        for hook in hooks
        for _ in store.deliveries.list_deliveries(hook, state=FAILED, limit=1_000_000)
    ]
    for hook in set(given_up):
        server.treadle("hook", "send-again", str(hook))
    return len(given_up)


def find_faults(store: Store, hook: int, came: list[tuple[str, int]]) -> list[str]:
    """What is wrong with the deliveries of a hook, all of which have ended.

    Args:
        store: has the loads and the deliveries.
        hook: its id.
        came: what came to it: id and answered status.
    """
    made = store.deliveries.list_deliveries(hook, limit=1_000_000)[::-1]
    loads = list_told(store)
    found = [f"{one.id} is {one.state}" for one in made if one.state != DELIVERED]
    if sorted(one.load_id for one in made) != sorted(load.id for load in loads):
        found.append(f"{len(loads)} loads have {len(made)} deliveries, or others than theirs")
    accepted = Counter(key for key, status in came if status == 200)
    found += [
        f"{one.id} was accepted {accepted[one.id]} times" for one in made if accepted[one.id] != 1
    ]
    found += [f"{key} is of no load" for key in {key for key, _ in came} - {one.id for one in made}]
    for table in {one.table_name for one in made}:
        mine = [one for one in made if one.table_name == table]
        if [one.load_id for one in mine] != [load.id for load in loads if load.table_name == table]:
            found.append(f"the deliveries of {table} have another order than its loads")
        found += find_disorder(mine, came)
    return found


def find_disorder(made: Sequence[HookDelivery], came: list[tuple[str, int]]) -> list[str]:
    """What came to a hook before all that were made before it for its table were done with.

    Args:
        made: the deliveries of the table, in the order of its loads.
        came: what came to the hook.
    """
    places = {one.id: place for place, one in enumerate(made)}
    tries = Counter[str]()
    done = [False] * len(made)
    first_open = 0
    found = []
    for key, status in came:
        place = places.get(key)
        if place is None:
            continue
        if place > first_open:
            found.append(f"{key} came before {made[first_open].id}, which was not done with")
        tries[key] += 1
        done[place] = done[place] or status == 200 or tries[key] >= TRIES_MAX
        while first_open < len(made) and done[first_open]:
            first_open += 1
    return found


def deliver(asked: argparse.Namespace) -> int:
    """Make loads at full speed, and see that every hook is told of each; 1 when one is not."""
    strict = StrictReceiver()
    here = Path(__file__).parents[1]
    with (
        PostgresServer(settings=POSTGRES) as running,
        in_place(running) as place,
        receiving() as receiver,
    ):
        strict.listen(receiver)
        clock = DeliveryClock(place.folder / "clock")
        server = TreadleServer(
            place.folder / "treadle",
            place.postgres if asked.database == "postgres" else f"duckdb://{place.duckdb}",
            {**ANY_URL, "load_age_seconds": "0.1"},
            {CLOCK: str(clock.file), "PYTHONPATH": f"{here}{os.pathsep}{here / 'src'}"},
            program=MODULE,
        )
        with server:
            base = f"http://127.0.0.1:{receiver.port}/hook"
            hooks = {
                add_hook(server, f"{base}/{number}"): f"/hook/{number}"
                for number in range(asked.hooks)
            }
            store = open_store(Config(data=server.data))
            maker = LoadMaker(server, asked.tables)
            seconds = maker.make(store, asked.loads)
            print(
                f"{count_loads(store)} loads of {asked.tables} tables in {seconds:.0f} s",
                flush=True,
            )
            settle(store, list(hooks), clock)
            given_up = 0
            while again := send_failed_again(server, store, list(hooks)):
                given_up += again
                settle(store, list(hooks), clock)
            found = list(strict.wrong)
            for hook, path in hooks.items():
                found += find_faults(store, hook, strict.came.get(path, []))
            loads = len(list_told(store))
            store.close()
    tries = sum(map(len, strict.came.values()))
    print(f"{loads} loads, {len(hooks)} hooks, {loads * len(hooks)} deliveries")
    print(
        f"{tries} requests, {strict.refused} of them refused, {clock.ahead / 3.6e9:.1f} h passed by"
    )
    print(f"{given_up} deliveries were given up, and sent again by hand")
    for one in found[:20]:
        print(f"  {one}")
    print(f"{len(found)} violations")
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hooked",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    compared = commands.add_parser("w8", help="W8 without and with a hook")
    compared.add_argument("--pairs", type=int, default=5)
    compared.add_argument("--seconds", type=float, default=15.0)
    compared.add_argument("--tables", type=int, default=0, help="beside, a load of each a second")
    compared.add_argument("--fail-every", type=int, default=0, help="refuse each third, with 3")
    delivered = commands.add_parser("deliver", help="loads at full speed, and their deliveries")
    delivered.add_argument("--loads", type=int, default=10_000)
    delivered.add_argument("--tables", type=int, default=200)
    delivered.add_argument("--hooks", type=int, default=2)
    delivered.add_argument("--database", choices=("postgres", "duckdb"), default="postgres")
    received = commands.add_parser("receive", help="what w8 starts")
    received.add_argument("--fail-every", type=int, default=0)
    asked = parser.parse_args()
    if asked.command == "receive":
        receive(asked.fail_every)
        return 0
    return compare_w8(asked) if asked.command == "w8" else deliver(asked)


if __name__ == "__main__":
    sys.exit(main())
