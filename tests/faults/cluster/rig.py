"""A cluster under faults: databases, members, senders, and what is compared at the end."""

import contextlib
import http.client
import json
import os
import random
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
from tests.faults.cluster import bounds, checks
from tests.faults.cluster.bounds import ImpairedTimes
from tests.faults.cluster.databases import DatabaseGroup, NetworkedCluster, NetworkedServer
from tests.faults.cluster.nemesis import ClusterNemesis
from tests.faults.cluster.network import NamespaceNetwork
from tests.faults.cluster.nodes import ClusterMember, MemberPlace, count_lines
from tests.faults.cluster.schedule import ClusterTopology, FaultSchedule
from tests.faults.cluster.senders import (
    GateAddress,
    GateList,
    GateSender,
    Manner,
    RevocationWatch,
    SentRecords,
    read_receipt,
)
from tests.faults.cluster.watch import ClusterWatch, connect
from tests.faults.cluster.windows import TimeWindow
from tests.faults.serve import SYSTEM_CLOCK
from tests.faults.witness import Row
from tests.servers.postgres import PostgresServer
from tests.servers.postgres_cluster import PostgresCluster

from treadle.config import Config
from treadle.log.registry import open_reader
from treadle.server.factories import open_store
from treadle.store.store import Store
from treadle.tracking.ledger import compute_ledger

SETTLE_SECONDS_MAX: Final = 60.0
"""With everything healed, nothing waits after so long (cluster.md 15.4, 2)."""

IDLE_SECONDS_MAX: Final = 90.0
"""A sender has its answer after so long: a gate holds a request for a minute at most."""

TABLES: Final = 3
"""Of each kind, so that loaders share them."""

SENDERS: Final[Mapping[Manner, int]] = {"keyed": 4, "named": 2, "once": 2}
RECEIPTS_MAX: Final = 150
"""Receipts that are asked for over HTTP; the positions of all are compared."""

SCHEMA: Final = "web"
MET: Final = {
    "fenced loads": "another loader has loaded",
    "evictions": "evict",
    "groups found stored": "found stored",
    "groups found not stored": "found not stored",
}
"""What a line of the members' logs has in it when something was met (15.4, 9)."""


@dataclass(frozen=True, slots=True)
class RigPlan:
    """How large a cluster is, and where it runs.

    Attributes:
        gates, loaders, controls: how many; 0 loaders and controls where a gate does everything.
        standbys: of each database.
        networked: in namespaces.
        apart: the store has servers of its own.
        logs: how many logs share the database.
        points: failpoints at which members may be killed.
    """

    gates: int = 3
    loaders: int = 3
    controls: int = 1
    standbys: int = 2
    networked: bool = True
    apart: bool = False
    logs: int = 2
    points: tuple[str, ...] = ()

    def make_topology(self) -> ClusterTopology:
        """Name the members."""
        gates = tuple(f"gate-{number}" for number in range(1, self.gates + 1))
        loaders = tuple(f"loader-{number}" for number in range(1, self.loaders + 1))
        controls = tuple(f"control-{number}" for number in range(1, self.controls + 1))
        logs = tuple(f"log-{number}" for number in range(1, self.standbys + 2))
        stores = tuple(f"store-{number}" for number in range(1, self.standbys + 2))
        return ClusterTopology(
            gates=gates,
            loaders=loaders or gates,
            controls=controls or gates,
            logs=logs,
            stores=stores if self.apart else logs,
            points=name_points(gates, loaders, self.points),
        )


def name_points(
    gates: Sequence[str], loaders: Sequence[str], points: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Say which member passes which failpoints: gates append, loaders do the rest."""
    appending = tuple(one for one in points if one.startswith("log.") and "marks" not in one)
    loading = tuple(one for one in points if one not in appending)
    if not loaders:
        return {gates[0]: tuple(points)} if points else {}
    found = {gates[0]: appending, loaders[0]: loading}
    return {member: its for member, its in found.items() if its}


@dataclass(slots=True)
class ScheduleResult:
    """What one schedule found.

    Attributes:
        violations: in words.
        counts: figures for the report.
        silence: longest time without an acceptance that should have been, in seconds.
        stall: of a table.
        resumed: seconds from each promotion of the log's database to the next acceptance.
    """

    violations: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    silence: float = 0.0
    stall: float = 0.0
    resumed: list[float] = field(default_factory=list)


class ClusterRig:
    """A cluster that runs schedules one after the other; a context manager.

    Args:
        folder: for the members' data.
        plan: how it is made.
        said: called with lines for people.
    """

    def __init__(
        self, folder: Path, plan: RigPlan, said: Callable[[str], None] = lambda text: None
    ) -> None:
        self.plan = plan
        self.topology = plan.make_topology()
        self.folder = folder
        self.said = said
        self.network: NamespaceNetwork | None = None
        self.groups: dict[str, DatabaseGroup] = {}
        self.members: dict[str, ClusterMember] = {}
        self.gates = GateList()
        self._stack = contextlib.ExitStack()
        self._secret = secrets.token_hex(32)
        self._account: dict[str, str] = {}
        self._senders: list[GateSender] = []
        self._number = 0

    def __enter__(self) -> "ClusterRig":
        with contextlib.ExitStack() as stack:
            self._stack = stack
            self._start_databases()
            self._initialise()
            stack.callback(self._end_members)
            self._start_members()
            self._start_traffic()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    # --- start ------------------------------------------------------------------------------------

    def _start_databases(self) -> None:
        stack, standbys = self._stack, self.plan.standbys
        warehouse: PostgresServer
        if self.plan.networked:
            self.network = stack.enter_context(NamespaceNetwork())
            warehouse = NetworkedServer(self.network.add("warehouse"))
        else:
            warehouse = PostgresServer()
        stack.enter_context(warehouse)
        self.warehouse = warehouse.create_database("warehouse")
        for name in self.topology.databases:
            cluster = (
                PostgresCluster(standbys)
                if self.network is None
                else NetworkedCluster(self.network, name, standbys)
            )
            self.groups[name] = DatabaseGroup(name, stack.enter_context(cluster))
        self.log_url = self.groups["log"].cluster.create_database("log")
        store = self.groups.get("store", self.groups["log"])
        self.store_url = store.cluster.create_database("store")

    @property
    def environment(self) -> dict[str, str]:
        """Settings that all members share."""
        return {"TREADLE_STORE": self.store_url, "TREADLE_SECRET_KEY": self._secret}

    def run_treadle(self, *words: str, **further: str) -> str:
        """Run a command beside the cluster; returns its standard output."""
        here = Path(__file__).parents[3]
        done = subprocess.run(
            [sys.executable, "-m", "treadle", *words, "--data", str(self.folder / "command")],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(here / "src"), **self.environment, **further},
        )
        if done.returncode:
            raise RuntimeError(f"treadle {words[0]} failed: {done.stderr}")
        return done.stdout

    def _initialise(self) -> None:
        said = self.run_treadle(
            "init", "--json", "--logs", str(self.plan.logs), TREADLE_LOG=self.log_url
        )
        made = json.loads(said)
        self.client_id = int(made["stitch_client_id"])
        self._account = {"Authorization": f"Bearer {made['access_token']}"}
        url = self.folder / "warehouse.url"
        url.write_text(self.warehouse)
        url.chmod(0o600)
        self.run_treadle("destination", "create", "--url-file", str(url), "--name", "Warehouse")

    def _make_member(self, name: str) -> ClusterMember:
        role = {"gate": "ingest", "loader": "loader", "control": "control"}[name.split("-")[0]]
        if not self.plan.loaders:
            role = "all"
        folder = self.folder / name
        node = None
        if self.network is not None:
            names = [one.name for one in self.network.nodes]
            node = self.network.get(name) if name in names else self.network.add(name)
        clock = {SYSTEM_CLOCK: os.fspath(folder / "clock")}
        return ClusterMember(MemberPlace(name, role, folder, {**self.environment, **clock}, node))

    def _start_members(self) -> None:
        for name in self.topology.members:
            self.members[name] = self._make_member(name)
            self.members[name].begin_start()
        for member in self.members.values():
            member.wait_until_started()
        self._name_gates()

    def _join(self, name: str) -> ClusterMember:
        member = self._make_member(name)
        member.begin_start()
        return member.wait_until_started()

    def _name_gates(self) -> None:
        gates = {*self.topology.gates, "gate-new"}
        self.gates.replace(
            [
                GateAddress(member.name, member.host, member.port)
                for member in self.members.values()
                if member.name in gates
            ]
        )

    def _end_members(self) -> None:
        for member in list(self.members.values()):
            member.continue_all()
            if member.alive:
                member.process.terminate()
        for member in list(self.members.values()):
            member.end()

    def _start_traffic(self) -> None:
        source, token = self._create_source(SCHEMA)
        side, _ = self._create_source("side")
        self.source_id = source
        self.records = SentRecords(self.client_id, token, self.gates)
        self.revocations = RevocationWatch(self.records, self.call_control, side)
        self.watch = ClusterWatch(
            self.warehouse,
            self.store_url,
            lambda: dict(self.records.positions),
            has_units=True,
        )
        for manner, count in SENDERS.items():
            for number in range(count):
                self._senders.append(GateSender(self.records, manner, f"{manner} {number}"))
        threads: list[Any] = [*self._senders, self.revocations, self.watch]
        for thread in threads:
            thread.start()
        self._stack.callback(self._end_threads, threads)

    def _end_threads(self, threads: Sequence[Any]) -> None:
        self.records.open.clear()
        for thread in threads:
            thread.end = True
        for thread in threads:
            thread.join(IDLE_SECONDS_MAX)

    def call_control(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Call the Connect API of the first control member that answers.

        Raises:
            OSError: none of them does.
        """
        failure: Exception = OSError("there is no control member")
        for name in self.topology.controls:
            member = self.members[name]
            connection = http.client.HTTPConnection(member.host, member.port, timeout=15)
            try:
                text = None if body is None else json.dumps(body)
                headers = {**self._account, "Content-Type": "application/json"}
                connection.request(method, path, text, headers)
                answer = connection.getresponse()
                said = answer.read()
                return answer.status, json.loads(said) if said else {}
            except (OSError, http.client.HTTPException, ValueError) as error:
                failure = error
            finally:
                connection.close()
        raise OSError(str(failure)) from failure

    def _create_source(self, name: str) -> tuple[int, str]:
        body = {"type": "import_api", "display_name": name}
        status, source = self.call_control("POST", "/v4/sources", body)
        if status not in (200, 201):
            raise RuntimeError(f"no source could be made: {status} {source}")
        return source["id"], next(iter(source["properties"]["token"].values()))

    # --- a schedule -------------------------------------------------------------------------------

    def run_schedule(self, schedule: FaultSchedule) -> ScheduleResult:
        """Push while the faults of a schedule come and go, then compare everything."""
        self._number += 1
        keyed = {f"orders_{self._number}_{number}": True for number in range(TABLES)}
        plain = {f"events_{self._number}_{number}": False for number in range(TABLES)}
        impaired = ImpairedTimes(self.topology)
        nemesis = ClusterNemesis(
            self.topology,
            self.members,
            self.groups,
            self.network,
            impaired,
            self._join,
            self._name_gates,
            said=self.said,
        )
        began = time.monotonic()
        self.records.begin({**keyed, **plain}, began)
        self.revocations.pushes.clear()
        self.watch.begin()
        self.records.open.set()
        threads = [
            threading.Thread(target=nemesis.carry_out, args=(step, began), daemon=True)
            for step in schedule.steps
        ]
        for thread in threads:
            thread.start()
        time.sleep(max(0.0, began + schedule.seconds - time.monotonic()))
        for thread in threads:
            thread.join()
        result = ScheduleResult(list(nemesis.problems))
        time.sleep(1.0)  # what was healed last is used once more
        span = TimeWindow(began, time.monotonic())
        self._revive_members(result)
        result.violations += self._pause()
        result.violations += self._compare(impaired, span)
        self._measure(result, impaired, nemesis, span)
        return result

    def _revive_members(self, result: ScheduleResult) -> None:
        """Every member runs at the end; one that gave up by itself is said, and started."""
        for member in self.members.values():
            if not member.alive:
                result.violations.append(f"{member.name} ended by itself")
                member.begin_start()
                member.wait_until_started()

    def _pause(self) -> list[str]:
        self.records.open.clear()
        deadline = time.monotonic() + IDLE_SECONDS_MAX
        waiting = [
            sender
            for sender in self._senders
            if not sender.idle.wait(max(0.0, deadline - time.monotonic()))
        ]
        return [f"no answer: {sender.name} has none after all is healed" for sender in waiting]

    def _measure(
        self,
        result: ScheduleResult,
        impaired: ImpairedTimes,
        nemesis: ClusterNemesis,
        span: TimeWindow,
    ) -> None:
        silences = bounds.measure_silences(
            self.records.answered, span, impaired.when_nothing_is_accepted()
        )
        result.silence = max((one.end - one.begin for one in silences), default=0.0)
        excused, moments = impaired.when_nothing_is_loaded(), impaired.list_disturbances()
        stalls = [
            one
            for samples in self.watch.tables.values()
            for one in bounds.measure_stalls(samples, excused, moments)[:1]
        ]
        result.stall = max((one.end - one.begin for one in stalls), default=0.0)
        for group, window in nemesis.promotions:
            if group == "log":
                later = [moment for moment in self.records.answered if moment > window.end]
                result.resumed += [min(later) - window.end] if later else []
        result.counts = {
            **nemesis.counts,
            "requests acknowledged": self.records.witness.acknowledged,
            "requests without an answer": self.records.witness.unanswered,
            "tokens revoked": self.revocations.revoked,
            **{f"{kind} could not be had here": 1 for kind in nemesis.skipped},
        }
        self.revocations.revoked = 0
        for name, count in self.records.counts.items():
            result.counts[name] = count
        self.records.counts.clear()

    # --- comparing --------------------------------------------------------------------------------

    def _compare(self, impaired: ImpairedTimes, span: TimeWindow) -> list[str]:
        found = list(self.records.notes)
        with self._opened_store() as store:
            found += self._settle(store)
            for table in self.records.tables:
                found += self.records.witness.violations(table, self._read_rows(table))
            found += checks.find_unbalanced(self._read_accounts(store))
        found += checks.find_unloaded(self._read_receipts())
        found += checks.find_double_keys(self.records.by_key)
        found += self._find_missing_entries()
        found += self.watch.take_found()
        found += checks.find_crossed_loads(self._read_loads())
        found += bounds.find_silences(
            self.records.answered, span, impaired.when_nothing_is_accepted()
        )
        found += bounds.find_stalls(
            self.watch.tables, impaired.when_nothing_is_loaded(), impaired.list_disturbances()
        )
        return found + bounds.find_late_revocations(self.revocations.pushes, impaired)

    @contextlib.contextmanager
    def _opened_store(self) -> Iterator[Store]:
        with closing(open_store(self._config())) as store:
            yield store

    def _config(self) -> Config:
        return Config(data=self.folder / "command", store=self.store_url, secret_key=self._secret)

    def _settle(self, store: Store) -> list[str]:
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        with closing(open_reader(self._config(), store.logs)) as reader:
            while True:
                waiting = [
                    f"stuck: {one.entries} entries of {one.table_name} wait"
                    for one in reader.list_backlogs()
                ]
                if not waiting or time.monotonic() > deadline:
                    return waiting
                time.sleep(0.2)

    def _read_rows(self, table: str) -> list[Row]:
        statement = f'SELECT id, _sdc_sequence, request, note FROM "{SCHEMA}"."{table}"'
        with closing(connect(self.warehouse)) as connection:
            try:
                rows = connection.execute(statement.encode()).fetchall()
            except psycopg.errors.UndefinedTable:
                return []
        return [Row(*row) for row in rows]

    def _read_accounts(self, store: Store) -> list[checks.TableAccount]:
        """What the ledger and the reports say of the tables, once both are written."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while True:
            with closing(open_reader(self._config(), store.logs)) as reader:
                lines = compute_ledger(store, reader, [self.source_id])
            reported = self._read_reported()
            accounts: list[checks.TableAccount] = []
            for table in self.records.tables:
                its = [line for line in lines if line.table_name == table]
                accounts.append(
                    checks.TableAccount(
                        table,
                        sum(line.accepted for line in its),
                        sum(line.loaded for line in its),
                        sum(line.superseded for line in its),
                        sum(line.rejected for line in its),
                        sum(line.waiting for line in its),
                        reported.get(table, 0),
                    )
                )
            late = any(one.waiting for one in accounts) or checks.find_unbalanced(accounts)
            if not late or time.monotonic() > deadline:
                return accounts
            time.sleep(0.2)  # a row is seen before its load is noted

    def _read_reported(self) -> dict[str, int]:
        statement = """
            SELECT t.name, sum(l.rows_received)::bigint
            FROM loads l JOIN tables t ON t.id = l.table_id
            WHERE l.error IS NULL AND t.source_id = %s GROUP BY t.name
            """
        with closing(connect(self.store_url)) as connection:
            return dict(connection.execute(statement, [self.source_id]).fetchall())

    def _read_loads(self) -> list[checks.CommittedLoad]:
        statement = """
            SELECT t.name, l.first, l.last, l.id FROM loads l JOIN tables t ON t.id = l.table_id
            WHERE l.error IS NULL AND t.source_id = %s
            """
        with closing(connect(self.store_url)) as connection:
            rows = connection.execute(statement, [self.source_id]).fetchall()
        return [checks.CommittedLoad(*row) for row in rows if row[0] in self.records.tables]

    def _read_receipts(self) -> dict[str, list[str]]:
        """The states of some receipts, as gates tell them."""
        receipts = list(self.records.receipts)
        chosen = random.Random(self._number).sample(receipts, min(len(receipts), RECEIPTS_MAX))
        gate = self.gates.list()[self._number % len(self.gates.list())]
        headers = {"Authorization": f"Bearer {self.records.token}"}
        states: dict[str, list[str]] = {}
        connection = http.client.HTTPConnection(gate.host, gate.port, timeout=70)
        for receipt in chosen:
            try:
                connection.request("GET", f"/v1/receipts/{receipt}", headers=headers)
                answer = connection.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException) as error:
                states[receipt] = [f"not answered by {gate.name}: {error!r}"]
                connection.close()
                continue
            if answer.status != 200:
                states[receipt] = [f"answered {answer.status} by {gate.name}: {said[:100]!r}"]
            else:
                states[receipt] = [str(json.loads(said)["status"])]
        connection.close()
        return states

    def _find_missing_entries(self) -> list[str]:
        """Compare the acknowledged places with the entries of the log."""
        places = [read_receipt(receipt) for receipt in self.records.receipts]
        if not places:
            return ["nothing was acknowledged"]
        with closing(connect(self.log_url)) as connection:
            number = self._read_log_number()
            lowest = min(place.first for place in places)
            names = connection.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'treadle_log'::regnamespace"
                " AND relkind = 'r' AND relname LIKE %s",
                [f"e\\_{number}\\_%"],
            ).fetchall()
            entries = [
                (position, str(uid))
                for (name,) in names
                for position, uid in connection.execute(
                    f"SELECT position, uid FROM treadle_log.{name} WHERE position >= %s".encode(),
                    [lowest],
                )
            ]
        return checks.find_missing_positions(
            [checks.AcknowledgedPlace(number, one.first, one.entries) for one in places],
            {number: entries},
        )

    def _read_log_number(self) -> int:
        with closing(connect(self.store_url)) as connection:
            row = connection.execute(
                "SELECT log FROM sources WHERE id = %s", [self.source_id]
            ).fetchone()
        assert row is not None
        return int(row[0])

    def count_met(self) -> dict[str, int]:
        """Count what the members' log lines tell of, since the rig began."""
        return count_lines(list(self.members.values()), MET)
