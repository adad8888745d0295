"""The life of a real database server in a temporary directory, whatever its kind.

It listens on a free port of 127.0.0.1 and asks for a password. Such servers refuse to run as root,
so root starts them as `postgres` or `nobody`; an ordinary user starts them as itself.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0


class NoServerError(RuntimeError):
    """A server cannot be had here; the text says why."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class DatabaseServer(ABC):
    """One server with its own directory, port and password.

    Args:
        settings: of the server.
    """

    title: ClassVar[str]
    """The name of its kind."""
    user = "treadle_test"
    host = "127.0.0.1"
    """The address that it listens at."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.port = free_port()
        self.password = secrets.token_urlsafe(12)
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._root = Path(tempfile.mkdtemp(prefix=f"treadle-{self.title.lower()}-"))
        self._account = unprivileged_account()
        try:
            self._set_up()
        except (OSError, subprocess.SubprocessError, NoServerError) as error:
            shutil.rmtree(self._root, ignore_errors=True)
            raise NoServerError(f"{self.title} cannot be started here: {error}") from error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

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
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            with (self._root / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    self._place(self._make_command()),
                    stdout=log,
                    stderr=log,
                    cwd=self._root,
                    **self._as_account(),
                )
            if self._await_ready(self._process, deadline):
                return
            # After a kill the old children may hold the shared memory for a moment.
            if time.monotonic() > deadline:
                raise NoServerError(f"{self.title} did not start: {self.log[-2000:]}")
            time.sleep(0.2)

    @abstractmethod
    def stop(self) -> None:
        """Stop the server; its data stays for another `start`."""

    @abstractmethod
    def kill(self) -> None:
        """Kill the server as a crash would; its data stays for another `start`."""

    def close(self) -> None:
        """Stop the server and remove its directory."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self._root, ignore_errors=True)

    # --- what the kinds differ in -----------------------------------------------------------------

    @abstractmethod
    def _set_up(self) -> None:
        """Find the programs and make the files of a new server.

        Raises:
            OSError, subprocess.SubprocessError, NoServerError: they cannot be had here.
        """

    @abstractmethod
    def _make_command(self) -> list[str]:
        """The command of the server."""

    @abstractmethod
    def _takes_connections(self) -> bool:
        """Whether a client can connect now."""

    # --- helpers ----------------------------------------------------------------------------------

    def _await_ready(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        while process.poll() is None and time.monotonic() < deadline:
            if self._takes_connections():
                return True
            time.sleep(0.05)
        return False

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

    def _run_program(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        """Run a program as the server's account."""
        return subprocess.run(
            self._place(command),
            capture_output=True,
            text=True,
            check=False,
            cwd=self._root,
            **self._as_account(),
        )

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
