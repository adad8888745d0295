"""A real MariaDB server in a temporary directory, for tests, acceptance runs and benchmarks.

The programs are those of the system (Debian: `apt-get install mariadb-server`).
"""

import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pymysql
from tests.servers.database_server import DatabaseServer, NoServerError

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


class MariaServer(DatabaseServer):
    """One server with its own directory, port and password.

    Args:
        settings: further server settings. `SPEED_OVER_SAFETY` by default: pass {} for a server
            as durable as a production one.
        data: the folder of its data, which is there and empty; one of its own by default.
    """

    title = "MariaDB"

    def __init__(
        self, settings: Mapping[str, str] = SPEED_OVER_SAFETY, data: Path | None = None
    ) -> None:
        self._data = data
        super().__init__(settings)

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

    def stop(self) -> None:
        """Stop the server; its data stays for another `start`."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server as a crash would; its data stays for another `start`."""
        self._end(signal.SIGKILL)

    # --- helpers ----------------------------------------------------------------------------------

    def _make_command(self) -> list[str]:
        settings = {
            "datadir": str(self._data),
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
        options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        return [str(self._program), "--no-defaults", *options]

    def _takes_connections(self) -> bool:
        try:
            self.connect().close()
        except pymysql.Error:
            return False
        return True

    def _set_up(self) -> None:
        self._program = find_program("mariadbd")
        program = find_program("mariadb-install-db")
        if self._data is None:
            self._data = self._root / "data"
            self._data.mkdir()
        users = self._root / "users.sql"
        users.write_text(
            f"CREATE USER IF NOT EXISTS '{self.user}'@'%' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO '{self.user}'@'%' WITH GRANT OPTION;\n"
        )
        for path in (self._root, self._data, users):
            self._give_to_account(path)
        done = self._run_program(
            [
                str(program),
                "--no-defaults",
                f"--datadir={self._data}",
                f"--tmpdir={self._root}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                f"--innodb-log-file-size={self._settings.get('innodb_log_file_size', '64M')}",
            ]
        )
        if done.returncode:
            raise NoServerError(f"mariadb-install-db failed: {(done.stdout + done.stderr)[-2000:]}")
