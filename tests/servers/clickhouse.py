"""ClickHouse for tests and benchmarks: the real engine of chDB in a process, behind a door of HTTP.

There is no package of a present server in the registries of Python or Debian. chDB is the engine
itself, of 559 MB, and so in a requirements file of its own: `make clickhouse-needs`. The state of
a server is on disk, so that it can be killed and started again.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import urllib3
from clickhouse_connect import get_client
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error
from tests.servers.database_server import (
    START_SECONDS_MAX,
    STOP_SECONDS_MAX,
    NoServerError,
    free_port,
)

SYSTEM = ("INFORMATION_SCHEMA", "default", "information_schema", "system")

ROOT = Path(__file__).parents[2]


UPDATE = re.compile(r"UPDATE (?P<table>\S+) SET (?P<column>\w+) = (?P<value>.+) WHERE (?P<rows>.+)")
TABLE = re.compile(r"(?P<made>CREATE TABLE \S+(?: \([^()]*(?:\(\d+\)[^()]*)?\))?)(?P<rows> AS .+)?")


def spell_by_hand(statement: str) -> list[str]:
    """Return what is done here where the others are told this statement.

    The columns by which ClickHouse replaces rows cannot be updated, so the rows are written anew.
    """
    statement = " ".join(statement.split())
    if found := UPDATE.fullmatch(statement):
        table, column, value, rows = found.groups()
        # By way of a SELECT: in WHERE the column would be the value that replaces it.
        copied = f"SELECT * FROM {table} WHERE {rows}"
        return [
            f"INSERT INTO {table} SELECT * REPLACE ({value} AS {column}) FROM ({copied})",
            f"DELETE FROM {table} WHERE ({rows}) AND {column} != {value}",
        ]
    if statement.startswith("DELETE FROM ") and " WHERE " not in statement:
        return [f"{statement} WHERE true"]
    if found := TABLE.fullmatch(statement):
        key = "" if "PRIMARY KEY" in statement else " ORDER BY tuple()"
        return [f"{found['made']} ENGINE = MergeTree{key}{found['rows'] or ''}"]
    return [statement.replace(" SCHEMA ", " DATABASE ", 1).removesuffix(" CASCADE")]


class ClickhouseServer:
    """One server with its own directory, port and password."""

    user = "treadle_test"
    host = "127.0.0.1"

    def __init__(self) -> None:
        if find_spec("chdb") is None:
            raise NoServerError("chDB is not installed; make clickhouse-needs installs it")
        self.port = free_port()
        self.password = secrets.token_urlsafe(12)
        self._process: subprocess.Popen[bytes] | None = None
        self._root = Path(tempfile.mkdtemp(prefix="treadle-clickhouse-"))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def url(self, *, user: str | None = None, password: str | None = None) -> str:
        """The URL of this server as a destination."""
        login = quote(user or self.user, safe="")
        secret = quote(self.password if password is None else password, safe="")
        return f"clickhouse://{login}:{secret}@{self.host}:{self.port}/"

    def connect(self) -> Client:
        """A client of the driver, with nothing set."""
        return get_client(
            host=self.host,
            port=self.port,
            username=self.user,
            password=self.password,
            compress=False,
            connect_timeout=5,
            pool_mgr=urllib3.PoolManager(),
            autogenerate_session_id=False,
        )

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements; returns the rows of the last one."""
        client = self.connect()
        try:
            for statement in statements[:-1]:
                client.command(statement)
            return list(map(tuple, client.query(statements[-1]).result_rows))
        finally:
            client.close_connections()

    def empty(self) -> None:
        """Leave the server as a new one is."""
        client = self.connect()
        try:
            for (name,) in client.query("SELECT name FROM system.databases").result_rows:
                if name not in SYSTEM:
                    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
                    client.command(f"DROP DATABASE `{escaped}`")
        finally:
            client.close_connections()

    # --- life -------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        """What the server wrote."""
        path = self._root / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers; no effect when it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        command = [sys.executable, "-m", "tests.servers.clickhouse_door", str(self._root / "data")]
        command += [str(self.port), self.user, self.password]
        environment = {**os.environ, "TZ": "UTC"}
        path = os.environ.get("PYTHONPATH", "")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (path, str(ROOT))))
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # it ends when we do
                stdout=log,
                stderr=log,
                cwd=self._root,
                env=environment,
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while self._process.poll() is None and time.monotonic() < deadline:
            # The driver would log each refusal.
            with contextlib.suppress(OSError, Error, urllib3.exceptions.HTTPError):
                socket.create_connection((self.host, self.port), 5).close()
                self.connect().close_connections()
                return
            time.sleep(0.05)
        raise NoServerError(f"ClickHouse did not start: {self.log[-2000:]}")

    def stop(self) -> None:
        """Stop the server; its data stays for another `start`."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server as a crash would; its data stays for another `start`."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop the server and remove its directory."""
        self.kill()
        shutil.rmtree(self._root, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS_MAX)
        if process.stdin is not None:
            process.stdin.close()
