"""A real MariaDB server in a temporary directory, for tests, acceptance runs and benchmarks.

The programs are those of the system (Debian: `apt-get install mariadb-server`). The server listens
on a free port of 127.0.0.1 and asks for a password. Root starts it as an ordinary account.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import pymysql
from tests.servers.postgres import (
    START_SECONDS_MAX,
    STOP_SECONDS_MAX,
    NoServerError,
    free_port,
    unprivileged_account,
)

SPEED_OVER_SAFETY: Mapping[str, str] = {"innodb_flush_log_at_trx_commit": "2"}
"""Committed rows survive a killed server with it, though not a power cut."""

SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")


def find_program(name: str) -> Path:
    """The place of a program of MariaDB.

    Raises:
        NoServerError: it is not installed.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NoServerError(f"{name} is not installed; on Debian: apt-get install mariadb-server")
    return Path(found)


class MariaServer:
    """One server with its own directory, port and password.

    Args:
        settings: further server settings. `SPEED_OVER_SAFETY` by default: pass {} for a server
            as durable as a production one.
    """

    user = "treadle_test"
    host = "127.0.0.1"

    def __init__(self, settings: Mapping[str, str] = SPEED_OVER_SAFETY) -> None:
        self.port = free_port()
        self.password = secrets.token_urlsafe(12)
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._account = unprivileged_account()
        self._root = Path(tempfile.mkdtemp(prefix="treadle-mariadb-"))
        try:
            self._program = find_program("mariadbd")
            self._initialise(find_program("mariadb-install-db"))
        except (OSError, subprocess.SubprocessError, NoServerError) as error:
            shutil.rmtree(self._root, ignore_errors=True)
            raise NoServerError(f"MariaDB cannot be started here: {error}") from error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def url(self, *, user: str | None = None, password: str | None = None) -> str:
        """The URL of this server as a destination."""
        login = quote(user or self.user, safe="")
        secret = quote(self.password if password is None else password, safe="")
        return f"mysql://{login}:{secret}@{self.host}:{self.port}/"

    def connect(self, **further: Any) -> Any:
        """A connection as the superuser, in autocommit mode."""
        given = {"user": self.user, "password": self.password, "connect_timeout": 5, **further}
        return pymysql.connect(host=self.host, port=self.port, autocommit=True, **given)

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as the superuser; returns the rows of the last one."""
        rows: list[tuple[Any, ...]] = []
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                rows = list(cursor.fetchall())
        return rows

    def empty(self) -> None:
        """Leave the server as a new one is: nothing in it, and nobody connected."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE id <> connection_id()"
            )
            for (one,) in cursor.fetchall():
                with contextlib.suppress(pymysql.Error):
                    cursor.execute(f"KILL {one}")
            cursor.execute("SHOW DATABASES")
            for (name,) in cursor.fetchall():
                if name not in SYSTEM:
                    cursor.execute(f"DROP DATABASE `{name.replace('`', '``')}`")

    @contextlib.contextmanager
    def lend_user(self, *grants: str) -> Iterator[str]:
        """The URL of a new user with some rights, such as `ALL ON *.*`, until the block ends."""
        name, password = f"loader_{secrets.token_hex(4)}", secrets.token_hex(8)
        self.execute(
            f"CREATE USER {name} IDENTIFIED BY '{password}'",
            *(f"GRANT {grant} TO {name}" for grant in grants),
        )
        try:
            yield self.url(user=name, password=password)
        finally:
            self.execute(f"DROP USER {name}")

    # --- life -------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        """What the server wrote to its log."""
        path = self._root / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it takes connections; no effect when it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        settings = {
            "datadir": str(self._root / "data"),
            "port": str(self.port),
            "bind_address": self.host,
            "socket": str(self._root / "socket"),
            "pid_file": str(self._root / "pid"),
            "tmpdir": str(self._root),
            "init_file": str(self._root / "users.sql"),
            "character_set_server": "utf8mb4",
            "innodb_buffer_pool_size": "64M",
            "innodb_log_file_size": "64M",
            "max_connections": "100",
            "skip_name_resolve": "1",
            **self._settings,
        }
        command = [str(self._program), "--no-defaults"]
        command += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._root, **self._as_account()
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                self.connect().close()
            except pymysql.Error:
                time.sleep(0.05)
            else:
                return
        raise NoServerError(f"MariaDB did not start: {self.log[-2000:]}")

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

    # --- helpers ----------------------------------------------------------------------------------

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS_MAX)

    def _initialise(self, program: Path) -> None:
        users = self._root / "users.sql"
        users.write_text(
            f"CREATE USER IF NOT EXISTS '{self.user}'@'%' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO '{self.user}'@'%' WITH GRANT OPTION;\n"
        )
        for path in (self._root, users):
            self._give_to_account(path)
        done = subprocess.run(
            [
                str(program),
                "--no-defaults",
                f"--datadir={self._root / 'data'}",
                f"--tmpdir={self._root}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--innodb-log-file-size=64M",
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._root,
            **self._as_account(),
        )
        if done.returncode:
            raise NoServerError(f"mariadb-install-db failed: {(done.stdout + done.stderr)[-2000:]}")

    def _as_account(self) -> dict[str, Any]:
        environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC", "HOME": str(self._root)}
        if self._account is None:
            return {"env": environment}
        return {
            "env": environment,
            "user": self._account.pw_uid,
            "group": self._account.pw_gid,
            "extra_groups": [],
        }

    def _give_to_account(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)
