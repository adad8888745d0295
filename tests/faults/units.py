"""`python -m tests.faults.units`: one of several loaders is killed, stopped or asked to end.

Three loaders of one server share the tables of a destination. In each cycle one of them
- is killed, and started again by the supervisor;
- is lost: killed while the supervisor is stopped, so that only the others can go on;
- is stopped in the middle of a load, where it has one, and goes on after the others took over;
- is asked to end, and started again.
Its tables have to go on within ten seconds. No fence may go back, no record be lost or doubled.
Half of the cycles have their store in a file, half on PostgreSQL; with `--destination duckdb` or
`postgres` all have it in the file, or on the server. The destination is PostgreSQL then; with
`--destination mysql` it is MariaDB, and the store is in a file.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pymysql
from tests.faults.command import Tally, command, folder
from tests.faults.traffic import Rig
from tests.servers.database_server import DatabaseServer
from tests.servers.mariadb import MariaServer
from tests.servers.postgres import PostgresServer
from tests.servers.processes import roles

from treadle.config import Config
from treadle.destinations.mysql.destination import name_member_locks
from treadle.loader.share import name_unit
from treadle.log.slots import compute_slot
from treadle.server.factories import open_store
from treadle.store.key_files import load_cipher
from treadle.store.membership import SeenMember
from treadle.store.store import Store

LOADERS = 3
TABLES = {f"table_{number}": number % 2 == 0 for number in range(9)}
EVENTS = ("lost", "stopped", "killed", "ended")
PAUSE_SECONDS = 0.4
"""Between two requests for a table, so that each is loaded several times a second."""

LOOK_SECONDS = 0.05
TAKEOVER_SECONDS_MAX = 10.0
PATIENCE_SECONDS = 60.0
CHECKED_CYCLES = 5
"""After so many cycles every row is compared."""

POSITIONS = "SELECT table_name, position, fence FROM _treadle.positions"
UNDER_WAY = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name LIKE '%% ' || %s AND xact_start IS NOT NULL AND datname = current_database()
"""
MYSQL_UNDER_WAY = """
SELECT count(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id IN ({sessions})
"""


class Warehouse(ABC):
    """A connection to the destination that is not treadle's."""

    missing: ClassVar[tuple[type[Exception], ...]]
    """Errors of a table that is not there yet."""

    @abstractmethod
    def query(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        """Run a statement; its rows."""

    @abstractmethod
    def count_loads(self, member_id: str) -> int:
        """Transactions of a member that are under way."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class PostgresWarehouse(Warehouse):
    """A database of PostgreSQL."""

    missing = (psycopg.errors.UndefinedTable,)

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def query(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        cursor = self._connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []

    def count_loads(self, member_id: str) -> int:
        return int(self.query(UNDER_WAY, member_id)[0][0])

    def close(self) -> None:
        self._connection.close()


class MariaWarehouse(Warehouse):
    """A server of MariaDB."""

    missing = (pymysql.err.ProgrammingError,)

    def __init__(self, server: MariaServer) -> None:
        self._connection = server.connect()

    def query(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def count_loads(self, member_id: str) -> int:
        locks = name_member_locks(member_id)
        sessions = ", ".join("IS_USED_LOCK(%s)" for _ in locks)
        return int(self.query(MYSQL_UNDER_WAY.format(sessions=sessions), *locks)[0][0])

    def close(self) -> None:
        self._connection.close()


@dataclass
class OffsetWatch(threading.Thread):
    """Watches how far tables are loaded, and by whom, from the destination alone.

    Attributes:
        connect: to the destination.
        seen: table -> position, fence, and when the fence was seen first.
        found: what may not be.
        silence: the longest time between two loads of a table.
    """

    connect: Callable[[], Warehouse]
    seen: dict[str, tuple[int, int, float]] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    end: bool = False

    def __post_init__(self) -> None:
        """Become a thread."""
        threading.Thread.__init__(self, daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        with closing(self.connect()) as warehouse:
            while not self.end:
                with contextlib.suppress(*warehouse.missing):
                    for name, position, fence in warehouse.query(POSITIONS):
                        self._note(name, position, fence)
                time.sleep(LOOK_SECONDS)

    def _note(self, name: str, position: int, fence: int) -> None:
        before = self.seen.get(name)
        if before is None:
            self.seen[name] = position, fence, time.monotonic()
            return
        if fence < before[1] or position < before[0]:
            self.found.append(f"{name}: {before[:2]} was followed by {(position, fence)}")
        at = before[2] if fence == before[1] else time.monotonic()
        self.seen[name] = position, fence, at


@dataclass
class UnitScene:
    """A server with several loaders, and what is seen of them."""

    rig: Rig
    store: Store
    connect: Callable[[], Warehouse]
    source_id: int
    watch: OffsetWatch
    dice: random.Random
    loaders: int

    def list_loaders(self) -> list[SeenMember]:
        seen = self.store.members.list_members()
        return [one for one in seen if one.is_live and one.member.role == "loader"]

    def list_tables(self, member_id: str) -> list[str]:
        """The tables that a loader has."""
        held = {one.unit for one in self.store.units.list_units() if one.holder == member_id}
        return [name for name in TABLES if name_unit(0, compute_slot(self.source_id, name)) in held]

    def await_share(self) -> list[str]:
        """Wait until all loaders run and have a part; says what is not so when it takes long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):
                holders = {one.holder for one in self.store.units.list_units()}
                live = {one.member.id for one in self.list_loaders()}
                if len(live) == self.loaders and live == holders:
                    return []
            time.sleep(LOOK_SECONDS)
        return [f"{self.loaders} loaders do not share: {self.store.units.list_units()[:3]}"]

    def await_fences(self, tables: Sequence[str], before: Mapping[str, int], began: float) -> float:
        """Wait until tables are loaded by another holder; returns the longest time that took."""
        deadline = began + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            seen = {name: self.watch.seen[name] for name in tables}
            if all(fence > before[name] for name, (_, fence, _) in seen.items()):
                return max(at for _, _, at in seen.values()) - began
            time.sleep(LOOK_SECONDS)
        return PATIENCE_SECONDS

    def stop_amid_load(self, pid: int, member_id: str) -> bool:
        """Stop a process, in the middle of a load if one is met; returns whether one was."""
        deadline = time.monotonic() + 3.0
        with closing(self.connect()) as warehouse:
            while True:
                os.kill(pid, signal.SIGSTOP)
                if warehouse.count_loads(member_id):
                    return True
                if time.monotonic() > deadline:
                    return False
                os.kill(pid, signal.SIGCONT)
                time.sleep(self.dice.uniform(0.0, 0.03))

    def break_loader(self, event: str, tally: Tally) -> list[str]:
        """Let something happen to a loader, and see how its tables go on."""
        found = self.await_share()
        if found:
            return found
        supervisor = self.rig.server.process.pid
        able = [one.member for one in self.list_loaders() if self.list_tables(one.member.id)]
        victim = self.dice.choice(able)
        pid = find_processes(supervisor)[victim.name]
        tables = self.list_tables(victim.id)
        before = {name: self.watch.seen[name][1] for name in tables if name in self.watch.seen}
        tables = list(before)
        began = time.monotonic()
        if event == "killed":
            os.kill(pid, signal.SIGKILL)
        elif event == "ended":
            os.kill(pid, signal.SIGTERM)
        elif event == "lost":
            os.kill(supervisor, signal.SIGSTOP)
            os.kill(pid, signal.SIGKILL)
        else:
            if self.stop_amid_load(pid, victim.id):
                tally.add(**{"stops amid a load": 1})
            began = time.monotonic()
            before = {name: self.watch.seen[name][1] for name in tables}
        try:
            took = self.await_fences(tables, before, began)
        finally:
            if event == "lost":
                os.kill(supervisor, signal.SIGCONT)
            elif event == "stopped":
                # The supervisor has killed it where it kept the store's file locked.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        title = f"ms, longest takeover, {event}"
        tally.counts[title] = max(tally.counts.get(title, 0), round(took * 1000))
        tally.add(**{f"loaders {event}": 1, "tables taken over": len(tables)})
        if took > TAKEOVER_SECONDS_MAX:
            found.append(f"{victim.name} was {event}, and its tables went on after {took:.1f} s")
        return found


def find_processes(supervisor: int) -> dict[str, int]:
    """Name of each child of a server, and its process id."""
    found = {}
    for _, pid in roles(supervisor):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            found[words[4].decode()] = pid
    return found


@contextlib.contextmanager
def unit_scene(
    path: Path,
    server: DatabaseServer,
    seed: int,
    *,
    store_there: bool = False,
    loaders: int = LOADERS,
) -> Iterator[UnitScene]:
    """A server with its loaders under load."""
    connect: Callable[[], Warehouse]
    if isinstance(server, MariaServer):
        url, connect = server.url(), partial(MariaWarehouse, server)
    else:
        assert isinstance(server, PostgresServer)
        url = server.create_database()
        connect = partial(PostgresWarehouse, url)
    settings = {"loaders": str(loaders), "load_age_seconds": "0.2"}
    rig = Rig(path, url, TABLES, seed=seed, senders=1, settings=settings, pause=PAUSE_SECONDS)
    config = Config(data=rig.server.data)
    if store_there:
        assert isinstance(server, PostgresServer)
        store_url = server.create_database()
        rig.server.environment["TREADLE_STORE"] = store_url
        rig.server.settings["store_durability"] = "none"
        config = Config(data=rig.server.data, store=store_url, store_durability="none")
        config.make_data_folder()
        Store.open(store_url, load_cipher(config.key_path)).close()
    with rig.running(), closing(open_store(config)) as store:
        [source] = store.sources.list_sources()
        watch = OffsetWatch(connect)
        watch.start()
        scene = UnitScene(rig, store, connect, source.id, watch, random.Random(seed), loaders)
        rig.gate.set()
        try:
            yield scene
        finally:
            watch.end = True
            watch.join()


def cycles(scene: UnitScene, events: Sequence[str], count: int, tally: Tally) -> None:
    """Some events, one after the other; rows are compared after each few."""
    rig = scene.rig
    until = time.monotonic() + PATIENCE_SECONDS
    while len(scene.watch.seen) < len(TABLES) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    for cycle in range(count):
        event = events[cycle % len(events)]
        found = scene.break_loader(event, tally)
        found += scene.watch.found
        scene.watch.found = []
        if (cycle + 1) % CHECKED_CYCLES == 0 or cycle + 1 == count:
            rig.pause()
            tally.add(**{"requests acknowledged": rig.witness.acknowledged})
            found += rig.violations()
            forget_rows(scene)
            rig.gate.set()
        tally.note(f"cycle {cycle}, a loader was {event}", found)


def forget_rows(scene: UnitScene) -> None:
    """Empty the tables, whose rows were compared, so that the next look is short."""
    with closing(scene.connect()) as warehouse:
        for name in TABLES:
            warehouse.query(f"TRUNCATE TABLE web.{name}")
    scene.rig.forget()


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """Cycles with one server for each kind of store."""
    kinds = arguments.destination
    for number, kind in enumerate(kinds):
        share = arguments.cycles // len(kinds) + (number < arguments.cycles % len(kinds))
        with (
            MariaServer() if kind == "mysql" else PostgresServer() as server,
            folder() as path,
            unit_scene(path, server, arguments.seed, store_there=kind == "postgres") as scene,
        ):
            try:
                cycles(scene, EVENTS, share, tally)
            finally:
                log = scene.rig.server.log.read_text()
                tally.add(**{"tracebacks in the log": log.count("Traceback")})
                tally.add(**{"sessions ended": log.count("session of a lost loader")})


if __name__ == "__main__":
    sys.exit(command("units", str(__doc__), run, cycles=40))
