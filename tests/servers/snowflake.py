"""Snowflake for tests: the emulator fakesnow in a process of its own environment, by HTTP.

There is no server of Snowflake outside of the service. fakesnow runs its statements in DuckDB; what
it lacks is added in `snowflake_door`, and what neither shows is told in docs/how-to/snowflake.md.
Its packages do not fit those of treadle, so they are in an environment of their own: `make
snowflake-needs`. Everything is in memory: a server that was killed is empty.
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from tests.servers.database_server import (
    START_SECONDS_MAX,
    STOP_SECONDS_MAX,
    NoServerError,
    free_port,
)

PYTHON = Path(os.environ.get("FAKESNOW_PYTHON", Path(sys.prefix) / "fakesnow/bin/python"))
"""The program of the environment of fakesnow."""


class SnowflakeServer:
    """One emulator with its own port and password."""

    user = "treadle_test"
    host = "127.0.0.1"

    def __init__(self) -> None:
        if not PYTHON.exists() or find_spec("snowflake") is None:
            raise NoServerError("fakesnow is not installed; make snowflake-needs installs it")
        self.port = free_port()
        self.password = secrets.token_urlsafe(12)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def lend_database(self) -> str:
        """The URL of an empty database."""
        return self.url(f"test_{uuid.uuid4().hex}")

    def url(self, database: str = "test", *, password: str | None = None) -> str:
        """The URL of a database, which a login makes."""
        secret = self.password if password is None else password
        place = f"{self.user}:{secret}@{self.host}:{self.port}/{database}"
        return f"snowflake://{place}?protocol=http&warehouse=TREADLE&role=LOADER"

    @contextlib.contextmanager
    def connect(self, database: str) -> Iterator[Any]:
        """A connection of the driver, with nothing set."""
        from snowflake.connector import connect

        connection = connect(
            account="treadle",
            host=self.host,
            port=self.port,
            protocol="http",
            user=self.user,
            password=self.password,
            database=database,
            login_timeout=5,
        )
        try:
            yield connection
        finally:
            connection.close()

    # --- life -------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        """What the server wrote."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def start(self) -> None:
        """Start the server and wait until it answers; no effect when it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        # Isolated: in this folder the name of a module is that of the driver.
        door = Path(__file__).with_name("snowflake_door.py")
        self._process = subprocess.Popen(
            [str(PYTHON), "-I", str(door), str(self.port), self.user, self.password],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "TZ": "UTC"},
        )
        deadline = time.monotonic() + START_SECONDS_MAX
        while self._process.poll() is None and time.monotonic() < deadline:
            # The driver would try for long.
            with contextlib.suppress(OSError):
                socket.create_connection((self.host, self.port), 5).close()
                return
            time.sleep(0.05)
        raise NoServerError(f"fakesnow did not start: {self.log[-2000:]}")

    def kill(self) -> None:
        """Kill the server; what it held is lost."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait(STOP_SECONDS_MAX)

    def close(self) -> None:
        """Stop the server."""
        self.kill()
        self._log.close()
