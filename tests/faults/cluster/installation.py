"""A cluster of treadle: databases, members, and the calls that set it up."""

import contextlib
import http.client
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from tests.faults.cluster.databases import DatabaseGroup, NetworkedCluster, NetworkedServer
from tests.faults.cluster.network import NamespaceNetwork
from tests.faults.cluster.nodes import ClusterMember, MemberPlace
from tests.faults.cluster.schedule import ClusterTopology
from tests.faults.cluster.senders import GateAddress, GateList
from tests.faults.serve import SYSTEM_CLOCK
from tests.servers.postgres import PostgresServer
from tests.servers.postgres_cluster import PostgresCluster

SETUP_SECONDS_MAX: Final = 120.0
"""A first call imports much, and the machine may be busy."""

PLACES: Final = ("Warehouse", "Lake")
"""Destinations by name: the first one, and where sources are moved."""


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
        destinations: databases of the warehouse that sources may be moved between.
        attacked: see `MemberPlace.attacked`.
    """

    gates: int = 3
    loaders: int = 3
    controls: int = 1
    standbys: int = 2
    networked: bool = True
    apart: bool = False
    logs: int = 2
    points: tuple[str, ...] = ()
    destinations: int = 1
    attacked: bool = True

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
            destinations=self.destinations,
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


class ClusterInstallation:
    """A cluster of treadle; a context manager that starts it and removes everything.

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
        self.places: dict[str, str] = {}
        self.gates = GateList()
        self.secret_key = secrets.token_hex(32)
        self.client_id = 0
        self.start_names: Sequence[str] = self.topology.members
        """Members that run from the beginning; the others are started by `start_members`."""
        self._stack = contextlib.ExitStack()
        self._account: dict[str, str] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._stack = stack
            self._start_databases()
            self._initialise()
            stack.callback(self._end_members)
            self.start_members(self.start_names)
            self._begin()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _begin(self) -> None:
        """What follows when the members run."""

    def _start_databases(self) -> None:
        stack, standbys = self._stack, self.plan.standbys
        warehouse: PostgresServer
        if self.plan.networked:
            self.network = stack.enter_context(NamespaceNetwork())
            warehouse = NetworkedServer(self.network.add("warehouse"))
        else:
            warehouse = PostgresServer()
        stack.enter_context(warehouse)
        self.places = {
            name: warehouse.create_database(name.lower())
            for name in PLACES[: self.plan.destinations]
        }
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
        return {"TREADLE_STORE": self.store_url, "TREADLE_SECRET_KEY": self.secret_key}

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
        for name, url in self.places.items():
            file = self.folder / f"{name}.url"
            file.write_text(url)
            file.chmod(0o600)
            words = ["destination", "create", "--url-file", str(file), "--name", name]
            # Sources load into the first one until they are moved.
            self.run_treadle(*words, *(["--ignore-unmapped-sources"] if name != PLACES[0] else []))

    def _make_member(self, name: str) -> ClusterMember:
        role = {"gate": "ingest", "loader": "loader", "control": "control"}[name.split("-")[0]]
        if not self.plan.loaders:
            role = ""  # a server that does everything knows no members
        folder = self.folder / name
        node = None
        if self.network is not None:
            names = [one.name for one in self.network.nodes]
            node = self.network.get(name) if name in names else self.network.add(name)
        environment = self.environment
        if self.plan.attacked:
            environment[SYSTEM_CLOCK] = os.fspath(folder / "clock")
        return ClusterMember(
            MemberPlace(name, role, folder, environment, node, attacked=self.plan.attacked)
        )

    def start_members(self, names: Sequence[str]) -> None:
        """Start members at once, and wait until all of them run."""
        for name in names:
            self.members[name] = self._make_member(name)
            self.members[name].begin_start()
        for name in names:
            self.members[name].wait_until_started()
        self._name_gates()

    def _name_gates(self) -> None:
        self.gates.replace(
            [
                GateAddress(member.name, member.host, member.port)
                for member in self.members.values()
                if member.name.startswith("gate-")
            ]
        )

    def _end_members(self) -> None:
        for member in list(self.members.values()):
            member.continue_all()
            if member.alive:
                member.process.terminate()
        for member in list(self.members.values()):
            member.end()

    def call_control(
        self, method: str, path: str, body: object = None, seconds: float = 15.0
    ) -> tuple[int, Any]:
        """Call the Connect API of the first control member that answers in so many seconds.

        Raises:
            OSError: none of them does.
        """
        failure: Exception = OSError("there is no control member")
        for name in self.topology.controls:
            member = self.members[name]
            connection = http.client.HTTPConnection(member.host, member.port, timeout=seconds)
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

    def create_source(self, name: str) -> tuple[int, str]:
        """Make a source; returns its id and its token."""
        body = {"type": "import_api", "display_name": name}
        status, source = self.call_control("POST", "/v4/sources", body, SETUP_SECONDS_MAX)
        if status not in (200, 201):
            raise RuntimeError(f"no source could be made: {status} {source}")
        return source["id"], next(iter(source["properties"]["token"].values()))
