"""Starts servers and commands in processes that are forked from one that has imported treadle.

An interpreter of its own for each process of a server takes two seconds of processor time, most of
it for imports, and tests start some hundred servers. A forked process does the same work from
`main` on, with the environment, the folder and the pipes that it is given. What a start itself does
in an interpreter of its own, and how much memory a process takes, is tested with
`TreadleServer(..., forked=False)`, as are all servers of a release (`make release-test`).

`python -m tests.servers.fork_server DESCRIPTOR` is the process that is forked, a server on a socket
that `ForkServer` makes.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import logging
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

ROOT: Final = Path(__file__).parents[2]
MODULE: Final = "tests.servers.fork_server"
REQUEST_BYTES_MAX: Final = 1 << 17
FORKED_MODULE: Final = "treadle.server"
HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_SET_NAME: Final = 15
"""PR_SET_NAME of Linux: what /proc/PID/comm says."""


class ForkedProcess:
    """A process that was forked for this one; what tests use of `subprocess.Popen`."""

    def __init__(self, status: int, stdout: IO[bytes] | None) -> None:
        self._status = os.fdopen(status, "rb", buffering=0)
        self.stdout = stdout
        self.returncode: int | None = None
        found = self._read(60)
        assert found is not None, "no process was forked"
        self.pid = found

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        found = self._look(timeout)
        if found is None:
            raise subprocess.TimeoutExpired(MODULE, timeout or 0)
        return found

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self.returncode = self._read(timeout)
            if self.returncode is not None:
                self._status.close()
        return self.returncode

    def _read(self, timeout: float | None) -> int | None:
        """The next number that is told of the process; None if there is none in time."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._status, selectors.EVENT_READ)
            if not selector.select(timeout):
                return None
        line = b""
        while not line.endswith(b"\n"):
            piece = self._status.read(1)
            assert piece, "the process that forks has ended"
            line += piece
        return int(line)


class ForkServer:
    """Has processes forked; its own is started when the first one is asked for."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(
        self,
        words: Sequence[str],
        *,
        stdout: int,
        stderr: int,
        environment: Mapping[str, str],
        pipe: IO[bytes] | None = None,
    ) -> ForkedProcess:
        """Run `treadle` with these words; `pipe` is the other end of its output."""
        ours = self._connect()
        read_end, write_end = os.pipe()
        try:
            request = {"words": [*words], "environment": {**environment}, "folder": str(Path.cwd())}
            content = json.dumps(request).encode("utf-8", "surrogateescape")
            socket.send_fds(ours, [content], [stdout, stderr, write_end])
        finally:
            os.close(write_end)
        return ForkedProcess(read_end, pipe)

    def run(
        self, words: Sequence[str], environment: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        with _unnamed_file() as out, _unnamed_file() as err:
            process = self.start(
                words, stdout=out.fileno(), stderr=err.fileno(), environment=environment
            )
            code = process.wait()
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode())
        return subprocess.CompletedProcess([*words], code, *said)

    def close(self) -> None:
        if self._socket is not None and self._process is not None:
            self._socket.close()
            self._process.wait(60)

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", MODULE, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    cwd=ROOT,
                    start_new_session=True,
                )
        return self._socket


def _unnamed_file() -> IO[bytes]:
    return os.fdopen(os.memfd_create("output"), "w+b")


# In the process that is forked -----------------------------------------------------------------


def import_treadle() -> None:
    """Import what the processes of a server import, at their start or later."""
    import treadle

    for found in pkgutil.walk_packages(treadle.__path__, "treadle."):
        parts = found.name.split(".")
        if not {"conformance", "migrations", "__main__"} & {*parts}:
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as missing:  # the driver of an extra that is not installed
                if str(missing.name).startswith("treadle"):
                    raise
    for name in ("alembic.command", "duckdb", "psycopg", "pyarrow.compute", "uvloop"):
        importlib.import_module(name)
    importlib.import_module("sqlalchemy.dialects.postgresql")


def serve_requests(control: socket.socket) -> Callable[[], int] | None:
    """Fork a process for each request; return in it what it does, and here None at the end."""
    ended, wakes = os.pipe()
    for end in (ended, wakes):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    tellers: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not control:
                    os.read(ended, 1 << 16)
                    _tell_ends(tellers)
                    continue
                content, descriptors, _, _ = socket.recv_fds(control, REQUEST_BYTES_MAX, 3)
                if not content:
                    return None
                stdout, stderr, teller = descriptors
                pid = os.fork()
                if pid == 0:
                    for number in (ended, wakes, teller, *tellers.values()):
                        os.close(number)
                    signal.set_wakeup_fd(-1)
                    return _prepare(json.loads(content), stdout, stderr)
                tellers[pid] = teller
                os.close(stdout)
                os.close(stderr)
                os.write(teller, b"%d\n" % pid)


def _tell_ends(tellers: dict[int, int]) -> None:
    while tellers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        teller = tellers.pop(pid)
        with contextlib.suppress(BrokenPipeError):  # nobody asks
            os.write(teller, b"%d\n" % os.waitstatus_to_exitcode(status))
        os.close(teller)


def _prepare(request: Any, stdout: int, stderr: int) -> Callable[[], int]:
    """Become the process that was asked for."""
    os.setsid()
    for number, place in ((stdout, 1), (stderr, 2)):
        os.dup2(number, place)
        os.close(number)
    _take_state(request["environment"], ["treadle", *request["words"]])
    os.chdir(request["folder"])
    from treadle.cli.main import main

    return main


def _take_state(environment: Mapping[str, str], words: list[str]) -> None:
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv[:] = words
    # As an interpreter makes them: those that were inherited have been opened on other files.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - of the process
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - see above
    sys.stderr = open(  # noqa: SIM115 - see above
        2, "w", buffering=1, errors="backslashreplace", closefd=False
    )


class ForkedChild:
    """A child of a server; what the supervisor uses of `subprocess.Popen`."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        stdin: int,
        stdout: int,
        pass_fds: Sequence[int],
        env: Mapping[str, str],
    ) -> None:
        assert words[1:3] == ["-m", FORKED_MODULE], words
        assert stdin == stdout == subprocess.PIPE
        orders, orders_end = os.pipe()
        said, said_end = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            # The frames of the supervisor stay until this process ends, and what they hold.
            end_process(lambda: _run_role(words[3:], orders, said_end, pass_fds, env))
        os.close(orders)
        os.close(said_end)
        self.stdin = os.fdopen(orders_end, "wb")
        self.stdout = os.fdopen(said, "rb")

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        return self._wait(0)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _wait(self, how: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, how)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _run_role(
    words: Sequence[str], stdin: int, stdout: int, kept: Sequence[int], env: Mapping[str, str]
) -> int:
    signal.set_wakeup_fd(-1)
    for handler in logging.getLogger().handlers:
        handler.close()  # a file of its own, before its number is another one's
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    first = 3
    for number in sorted(kept):
        os.closerange(first, number)
        first = number + 1
    os.closerange(first, 1 << 16)
    _take_state(env, ["-m", *words])
    ctypes.CDLL(None).prctl(_SET_NAME, words[0].encode())  # for `processes.roles`
    from treadle.server.child_process import run_child

    return run_child()


def end_process(work: Callable[[], int]) -> None:
    """Do what a process is for, and end it as an interpreter does, without taking it apart."""
    code = 1
    try:
        code = work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - the process ends, and says why
        sys.excepthook(*sys.exc_info())
    threading._shutdown()  # type: ignore[attr-defined]  # what waits for threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def main() -> None:
    gc.disable()
    import_treadle()
    from treadle.server import supervisor

    vars(supervisor)["subprocess"] = types.SimpleNamespace(Popen=ForkedChild, PIPE=subprocess.PIPE)
    gc.collect()
    gc.freeze()
    gc.enable()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        work = serve_requests(control)
    end_process(work or (lambda: 0))


if __name__ == "__main__":
    main()
