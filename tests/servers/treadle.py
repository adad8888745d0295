"""A real treadle server in processes of its own, for acceptance tests and benchmarks."""

import contextlib
import errno
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar, Self

import httpx
from tests.servers.fork_server import ForkedProcess, ForkServer

from treadle.cli.main import main

START_SECONDS_MAX = 180.0
STOP_SECONDS_MAX = 180.0
PATIENCE_SECONDS = 300.0
"""How long to wait for what must happen: a test that passes does not wait, and a busy machine is
slow. It is above the longest pause between two tries of anything in the server."""
LOOKING = {("query",), ("loads",), ("ledger",), ("rejects", "list"), ("rejects", "show")}
"""Commands that change nothing."""


class TreadleServer:
    """`treadle serve` on a free port.

    Args:
        data: the data folder.
        destination: URL; the embedded default when None.
        settings: further settings by name, for example {"load_age_seconds": "0.2"}.
        environment: further environment variables.
        program: the module to serve with.
        forked: may be forked from a process that has imported treadle; otherwise the server is
            started as an operator does it.

    Attributes:
        fork_server: forks servers and commands; None where none is.
        make_store: makes a store for a data folder before its first use; None for the file in it.
    """

    fork_server: ClassVar[ForkServer | None] = None
    make_store: ClassVar[Callable[[Path], None] | None] = None
    host = "127.0.0.1"
    """The address that it listens at."""

    def __init__(
        self,
        data: Path,
        destination: str | None = None,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        port: int = 0,
        program: str = "treadle",
        *,
        forked: bool = True,
    ) -> None:
        self.data = data
        self.program = program
        self.destination = destination
        self.settings = dict(settings or {})
        self.environment = dict(environment or {})
        self.port = port
        self.forked = forked
        self.said = ""
        self.log = data.parent / f"{data.name}.log"
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes] | ForkedProcess:
        assert self._process is not None, "the server was not started"
        return self._process

    def start(self) -> Self:
        """Start and wait until it listens; a port once chosen is kept over restarts."""
        self._launch()
        return self._listen()

    def _launch(self) -> None:
        """Start the process."""
        self._make_store()
        words = ["serve", "--data", str(self.data), "--port", str(self.port)]
        for name, value in self.settings.items():
            words += ["--" + name.replace("_", "-"), value]
        environment = {**os.environ, **self.environment, **self._name_destination()}
        with self.log.open("a") as log:
            self._process = self._start(words, environment, log)

    def _listen(self) -> Self:
        """Wait until it listens."""
        self.said = self._read_announcement()
        found = re.search(r"treadle listens at (https?://[^:]+:(\d+)|unix:/)", self.said)
        assert found, self.said
        self.port = int(found[2] or 0)
        return self

    def _place(self, command: list[str]) -> list[str]:
        """The command as it is run: here as it is."""
        return command

    def _start(
        self, words: list[str], environment: dict[str, str], log: IO[str]
    ) -> subprocess.Popen[bytes] | ForkedProcess:
        fork_server = self._find_fork_server()
        if fork_server is None:
            return subprocess.Popen(
                self._place([sys.executable, "-m", self.program, *words]),
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        read_end, write_end = os.pipe()
        try:
            return fork_server.start(
                words,
                stdout=write_end,
                stderr=log.fileno(),
                environment=environment,
                pipe=os.fdopen(read_end, "rb"),
            )
        finally:
            os.close(write_end)

    def _find_fork_server(self) -> ForkServer | None:
        """What forks this server; None where it is not the one that was imported."""
        is_another = (
            self.program != "treadle"
            or type(self)._place is not TreadleServer._place
            or any(not name.startswith("TREADLE_") for name in self.environment)
        )
        return None if is_another or not self.forked else type(self).fork_server

    def _make_store(self) -> None:
        make = type(self).make_store
        if make is not None:
            make(self.data)

    def _name_destination(self) -> dict[str, str]:
        """The destination as a variable: other users can read a password in a flag."""
        return {} if self.destination is None else {"TREADLE_DESTINATION": self.destination}

    def _read_announcement(self) -> str:
        """What the server prints once it listens, up to the end of the guide if there is one."""
        assert self.process.stdout is not None
        out = self.process.stdout.fileno()
        os.set_blocking(out, False)
        said = ""
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            said += _available(out)
            if "treadle listens at" in said and said.endswith("\n"):
                return said  # it is written in one piece, and shorter than a pipe's buffer
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended: {self.log.read_text()}")
            time.sleep(0.02)
        raise AssertionError(f"the server did not listen in time: {self.log.read_text()}")

    def processes(self) -> dict[str, int]:
        """Process ids by name ("worker 1", "loader", "courier"), newest of each."""
        found = re.findall(r"server: (\S.*?) started, process (\d+)", self.log.read_text())
        return {name: int(pid) for name, pid in found}

    def stop(self) -> int:
        """Stop as an operator does; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS_MAX)

    def kill(self) -> None:
        """kill -9 of the whole process group. A child may keep the port a moment longer."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        eventually(self._is_port_free)

    def _is_port_free(self) -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                return error.errno != errno.EADDRINUSE
        return True

    def kill_part(self, name: str) -> None:
        """kill -9 of one process by its name, once it is there; the supervisor replaces it."""
        eventually(lambda: _lives(self.processes()[name]), 120)
        os.kill(self.processes()[name], signal.SIGKILL)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:  # a run that is ended meanwhile leaves no server behind
            if self._process is not None and self._process.poll() is None:
                self.kill()
            raise

    def __exit__(self, *exc: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()

    def treadle(self, *arguments: str, check: bool = True, **further: Any) -> str:
        """Run a treadle command on this server's data folder; returns its standard output.

        One that only looks runs in this process: to start another takes ten times as long as to
        look, and tests that wait look often.
        """
        self._make_store()
        if arguments[:1] in LOOKING or arguments[:2] in LOOKING:
            code, out, err = self._look(*arguments)
            assert code == 0 or not check, err
            return out
        words = [*arguments, "--data", str(self.data)]
        environment = {**os.environ, **self.environment, **self._as_environment()}
        fork_server = self._find_fork_server()
        if fork_server is not None and not further:
            done = fork_server.run(words, environment)
        else:
            done = subprocess.run(
                [sys.executable, "-m", "treadle", *words],
                capture_output=True,
                text=True,
                check=False,
                env=environment,
                **further,
            )
        if check:
            assert done.returncode == 0, done.stderr
        return str(done.stdout)

    def _as_environment(self) -> dict[str, str]:
        return {"TREADLE_PORT": str(self.port), **self._name_destination()}

    def query(self, statement: str) -> list[dict[str, Any]]:
        """Rows of a query through the command line."""
        rows: list[dict[str, Any]] = json.loads(self.treadle("query", statement, "--json"))
        return rows

    def _look(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a command, run in this process."""
        words = [*arguments, "--data", str(self.data)]
        if arguments[0] == "query" and self.destination is not None:
            words += ["--destination", self.destination]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words)
        return code, out.getvalue(), err.getvalue()

    def account(self) -> tuple[int, str]:
        """Client id and token of the first account: the token is in the file that was announced."""
        client = re.search(r"client id +(\d+)", self.said)
        file = re.search(r"account token +in the file (.+)", self.said)
        assert client, self.said
        assert file, self.said
        return int(client[1]), Path(file[1]).read_text().strip()


def _lives(pid: int) -> bool:
    """Whether there is such a process; a dead one is there until its parent was told."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _available(descriptor: int) -> str:
    """What can be read now from a descriptor that does not block."""
    try:
        return os.read(descriptor, 1 << 20).decode()
    except BlockingIOError:
        return ""


class Client:
    """One account of a server: its Connect and Import calls."""

    def __init__(self, server: TreadleServer, client_id: int, token: str) -> None:
        self.server = server
        self.client_id = client_id
        self.http = httpx.Client(base_url=server.url, timeout=PATIENCE_SECONDS)
        self.account = {"Authorization": f"Bearer {token}"}

    def create_source(self, display_name: str = "Import API") -> tuple[int, str]:
        """A source's id and its token."""
        body = {"type": "import_api", "display_name": display_name}
        source = self.http.post("/v4/sources", json=body, headers=self.account).json()
        return source["id"], next(iter(source["properties"]["token"].values()))

    def push(
        self,
        token: str,
        records: list[dict[str, Any]],
        *,
        table: str,
        keys: list[str] | None = None,
    ) -> httpx.Response:
        """Push bare records with sequences 1, 2, ... unless a record is (sequence, data)."""
        body = [
            {
                "client_id": self.client_id,
                "table_name": table,
                "sequence": number,
                "action": "upsert",
                "key_names": ["id"] if keys is None else keys,
                "data": record,
            }
            for number, record in enumerate(records, 1)
        ]
        return self.http.post(
            "/v2/import/push", json=body, headers={"Authorization": f"Bearer {token}"}
        )


def eventually(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a condition holds; a failed assertion inside it counts as not yet.

    A look at it takes the processor that what is waited for needs. So the pause between two looks
    is at least twice as long as a look.
    """
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        try:
            if condition():
                return
            why = "it did not happen in time"
        except AssertionError as error:
            why = str(error)
        now = time.monotonic()
        assert now < deadline, why
        time.sleep(max(0.05, 2 * (now - began)))
