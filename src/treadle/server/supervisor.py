"""Keeps child processes running: starts them, restarts one that died, stops them in order.

The supervisor does not know what its children do. It writes one line, the orders, to the standard
input of each child. The end of that input tells the child that the supervisor is gone and that it
must stop. A child writes the line `ready` to its standard output when it does its work, and the
line `wake NAME` to have a line break written to the input of the child of that name: there is
something to do for it. A child that rests is started by that, and ends by itself when it has had
nothing to do for a while. The line `end` stops the whole server: the child found that this release
may not go on.

Before the children of a server that others may take over from are stopped, they get the line
`drain`, and go on for a while (`drain_seconds`).

A child that was stopped by a signal (SIGSTOP) may keep a database of SQLite locked, for all the
others, or a table of a destination. It is killed then, which gives the lock back, and started
again.

Where the system has no room for one more process, the others go on, and it is tried again later.
"""

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

logger = logging.getLogger(__name__)

RESTART_PAUSE_MIN_SECONDS = 0.2
RESTART_PAUSE_MAX_SECONDS = 10.0
STEADY_SECONDS = 30.0
"""A child that ran this long is restarted after the shortest pause, as after its first death."""
DRAIN_REPORT_SECONDS = 5.0
POLL_SECONDS = 2.0
"""The time between two looks at the children. Their deaths, what they say and signals wake the
supervisor at once."""

HOLD_SECONDS = 1.0
"""How long a child that was stopped by a signal may keep a database from the others."""

DRAIN_LINE = b"drain\n"
"""What a child gets when the server is about to stop."""

REFUSED_CODE = 2
"""The exit code of a server that one of its children ended: an operator has to act."""

_SIGNALS = "signals"
"""What the pipe of signals is called among the names of children."""


class SignalPipe:
    """A pipe that can be read after a signal, for whoever waits for several things at once.

    Python calls the handlers of signals only when it has something to do: without the pipe, a
    signal would be noticed at the end of the wait.
    """

    def __init__(self) -> None:
        """Be told of all signals that have a handler in Python, in the main thread."""
        self.descriptor, self._write_end = os.pipe()
        for end in (self.descriptor, self._write_end):
            os.set_blocking(end, False)
        self._before = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)

    def clear(self) -> None:
        """Take what the pipe holds, so that it can be read again after the next signal."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 1 << 16)

    def close(self) -> None:
        """Be told of no more signals."""
        signal.set_wakeup_fd(self._before)
        os.close(self.descriptor)
        os.close(self._write_end)


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child process.

    Attributes:
        name: its name in log lines, for example "loader".
        arguments: of the Python interpreter.
        orders: the line for its standard input.
        inherited_descriptors: the file descriptors that it keeps.
        stop_order: children with a lower number stop first, those with the same number together.
        waits_for: what it still finishes when it is asked to stop; for log lines.
        stop_seconds: when it is killed if it has not ended by then. What it acknowledged is safe in
            the log.
        environment: further variables of its environment.
        reloads: it reads files again on SIGHUP.
        rests: it is started when somebody wakes it, and the server is ready without it. When it
            ends with exit code 0 it rests, and is not started again before somebody wakes it.
        drains: it is told before it is stopped.
    """

    name: str
    arguments: tuple[str, ...]
    orders: bytes
    inherited_descriptors: tuple[int, ...]
    stop_order: int
    waits_for: str
    stop_seconds: float
    environment: Mapping[str, str] = field(default_factory=dict)
    reloads: bool = False
    rests: bool = False
    drains: bool = False


@dataclass(slots=True)
class _RunningChild:
    spec: ChildSpec
    process: subprocess.Popen[bytes]
    started: float
    ready: bool = False
    reload_due: bool = False


def _do_nothing() -> None:
    """Nobody is told of the stop."""


def _find_none(process_ids: Collection[int]) -> Collection[int]:
    """Nothing is shared that one of them could keep."""
    return ()


@dataclass(slots=True)
class ProcessSupervisor:
    """Runs one child for each spec until a signal asks it to stop.

    Attributes:
        specs: of the children.
        on_ready: called once, when all children that do not rest are ready for the first time.
        on_reload: called on SIGHUP, before the children are told.
        on_stop: called when the children are stopped.
        drain_seconds: how long they go on after they were told that the server is about to stop.
        list_holders: returns which of some processes were stopped, and keep what others wait for.
    """

    specs: Sequence[ChildSpec]
    on_ready: Callable[[], None]
    on_reload: Callable[[], None] = lambda: None
    on_stop: Callable[[], None] = _do_nothing
    drain_seconds: float = 0.0
    list_holders: Callable[[Collection[int]], Collection[int]] = _find_none
    _children: dict[str, _RunningChild] = field(default_factory=dict)
    _restart_at: dict[str, float] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)
    _held_since: dict[int, float] = field(default_factory=dict)
    _stopping: bool = False
    _signals_to_stop: int = 0
    _is_draining: bool = False
    _is_refused: bool = False
    _reload_requested: bool = False
    _announced: bool = False
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT; return the exit code, 0 after a clean stop.

        A second signal ends the time in which children go on. On SIGHUP, the children that do so
        read their files again. Where it says that the terminal is gone which the server was started
        in, it stops the server.
        """
        terminal = os.isatty(2)

        def hang_up(number: int, frame: FrameType | None) -> None:
            if terminal and not os.isatty(2):
                self._stopping = True
            self._reload_requested = True

        handlers = {
            signal.SIGTERM: self._request_stop,
            signal.SIGINT: self._request_stop,
            signal.SIGHUP: hang_up,
            signal.SIGCHLD: lambda number, frame: None,  # the pipe has it by then
        }
        signals = SignalPipe()
        self._selector.register(signals.descriptor, selectors.EVENT_READ, _SIGNALS)
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            for job in self.specs:
                if not job.rests:
                    self._start_child(job)
            while not self._stopping:
                if self._read_children(self._choose_pause()):
                    signals.clear()
                self._end_lock_holders()
                self._restart_dead_children()
                self._pass_reload_on()
            self._drain_children(signals)
            code = self._stop_children()
            return REFUSED_CODE if self._is_refused else code
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signals.close()
            self._selector.close()

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        self._signals_to_stop += 1

    def _drain_children(self, signals: SignalPipe) -> None:
        """Tell children that they are stopped soon, and let them go on until then."""
        if self.drain_seconds <= 0 or self._is_refused:
            return
        logger.info("stopping in %.1f s; load balancers are told by /v1/ready", self.drain_seconds)
        self._is_draining = True
        for child in self._children.values():
            self._tell_drain(child)
        until = time.monotonic() + self.drain_seconds
        while self._signals_to_stop < 2 and (left := until - time.monotonic()) > 0:
            if self._read_children(min(left, self._choose_pause())):
                signals.clear()
            self._end_lock_holders()
            self._restart_dead_children()

    def _tell_drain(self, child: _RunningChild) -> None:
        """Tell a child; one that is starting is told when it has read its orders."""
        if child.spec.drains and child.ready:
            self._write_to(child, DRAIN_LINE)

    def _pass_reload_on(self) -> None:
        """Tell the children to read their files again; one that is starting, when it is ready."""
        if self._reload_requested:
            self._reload_requested = False
            self.on_reload()
            reloading = [child for child in self._children.values() if child.spec.reloads]
            for child in reloading:
                child.reload_due = True
            if reloading:
                logger.info("SIGHUP: the certificate and the log file are opened again")
            else:
                logger.info("SIGHUP changes nothing: no file is read again")
        for child in self._children.values():
            if child.reload_due and child.ready and child.process.poll() is None:
                child.reload_due = False
                child.process.send_signal(signal.SIGHUP)

    def _start_child(self, job: ChildSpec) -> None:
        """Start a child, or note when to try again where the system has no room for it now."""
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, *job.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=job.inherited_descriptors,
                env={**os.environ, **job.environment},
            )
        except OSError as error:  # memory, or the tasks of the unit or container, are used up
            pause = self._put_off_start(job.name)
            told = f"{job.name} cannot be started: {error.strerror}"
            logger.error("%s; tried again in %.1f s", told, pause)  # noqa: TRY400 - a sentence
            return
        assert process.stdin is not None  # noqa: S101 - follows from stdin=PIPE
        assert process.stdout is not None  # noqa: S101 - follows from stdout=PIPE
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(job.orders + b"\n")
            process.stdin.flush()
        os.set_blocking(process.stdout.fileno(), False)
        os.set_blocking(process.stdin.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, job.name)
        self._children[job.name] = _RunningChild(job, process, time.monotonic())
        logger.info("%s started, process %d", job.name, process.pid)

    def _choose_pause(self) -> float:
        """Return the seconds until the next look, unless a child or a signal comes before it."""
        due = [*self._restart_at.values(), *(at + HOLD_SECONDS for at in self._held_since.values())]
        if not due:
            return POLL_SECONDS
        return min(POLL_SECONDS, max(0.0, min(due) - time.monotonic()))

    def _end_lock_holders(self) -> None:
        """Kill children that were stopped while they keep locked what others need.

        The system tells of a child's stop as it tells of its death, so this is called then.
        """
        running = {
            child.process.pid: child
            for child in self._children.values()
            if child.process.returncode is None
        }
        holders = self.list_holders(running.keys())
        now = time.monotonic()
        self._held_since = {pid: self._held_since.get(pid, now) for pid in holders}
        for pid, since in list(self._held_since.items()):
            if now - since >= HOLD_SECONDS:
                logger.error(
                    "%s (process %d) was stopped by a signal while it wrote into a database or"
                    " table that the other processes wait for; it is killed",
                    running[pid].spec.name,
                    pid,
                )
                running[pid].process.kill()
                del self._held_since[pid]

    def _read_children(self, seconds: float) -> bool:
        """Obey what children say within some seconds; return whether there was a signal."""
        was_signalled = False
        for key, _ in self._selector.select(seconds):
            if key.data == _SIGNALS:
                was_signalled = True
                continue
            child = self._children[key.data]
            assert child.process.stdout is not None  # noqa: S101 - registered with it
            said = child.process.stdout.read()
            if not said:
                self._selector.unregister(key.fileobj)
                continue
            for line in said.splitlines():
                self._obey_child(child, line)
        return was_signalled

    def _obey_child(self, child: _RunningChild, line: bytes) -> None:
        word, _, name = line.partition(b" ")
        if word == b"ready":
            child.ready = True
            self._announce_readiness()
            if self._is_draining:
                self._tell_drain(child)
        elif word == b"wake":
            self._wake_child(name.decode("utf-8", "replace"))
        elif word == b"end":
            self._stopping = self._is_refused = True

    def _wake_child(self, name: str) -> None:
        child = self._children.get(name)
        if child is not None:
            self._write_to(child, b"\n")
        elif name not in self._restart_at:  # otherwise it is started soon anyhow
            for spec in self.specs:
                if spec.rests and spec.name == name:
                    self._start_child(spec)

    @staticmethod
    def _write_to(child: _RunningChild, line: bytes) -> None:
        assert child.process.stdin is not None  # noqa: S101 - see _start_child
        # One that reads nothing now has been written to before, or has died.
        with contextlib.suppress(OSError, ValueError):
            os.write(child.process.stdin.fileno(), line)

    def _announce_readiness(self) -> None:
        ready = {name for name, child in self._children.items() if child.ready}
        awaited = {spec.name for spec in self.specs if not spec.rests}
        if not self._announced and awaited <= ready:
            self._announced = True
            self.on_ready()

    def _restart_dead_children(self) -> None:
        now = time.monotonic()
        for name, child in list(self._children.items()):
            code = child.process.poll()
            if code is None:
                continue
            if child.spec.rests and code == 0:
                self._close_pipes(child)
                del self._children[name]
                logger.info("%s rests until there is something to do", name)
            elif name not in self._restart_at:
                ran = now - child.started
                if ran >= STEADY_SECONDS:
                    self._failures.pop(name, None)
                pause = self._put_off_start(name)
                logger.error(
                    "%s (process %d) died after %.1f s, %s; it starts again in %.1f s",
                    name,
                    child.process.pid,
                    ran,
                    _describe_exit(code),
                    pause,
                )
            elif self._restart_at[name] <= now:
                self._close_pipes(child)
                del self._children[name]
        for spec in self.specs:
            if spec.name not in self._children and self._restart_at.get(spec.name, now + 1) <= now:
                del self._restart_at[spec.name]
                self._start_child(spec)

    def _put_off_start(self, name: str) -> float:
        """Note when a child is started again; return the seconds until then."""
        failures = self._failures.get(name, 0) + 1
        self._failures[name] = failures
        # After some hours of failures the power itself would be no number of seconds any more.
        pause: float = RESTART_PAUSE_MIN_SECONDS * 2 ** min(failures - 1, 10)
        pause = min(RESTART_PAUSE_MAX_SECONDS, pause)
        self._restart_at[name] = time.monotonic() + pause
        return pause

    def _close_pipes(self, child: _RunningChild) -> None:
        assert child.process.stdout is not None  # noqa: S101 - see _start
        assert child.process.stdin is not None  # noqa: S101 - see _start
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(child.process.stdout)
        child.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            child.process.stdin.close()

    def _stop_children(self) -> int:
        """Stop the children, those with a lower `stop_order` first, and log what is waited for."""
        logger.info("stopping")
        self.on_stop()
        clean = True
        for stage in sorted({job.stop_order for job in self.specs}):
            group = [child for child in self._children.values() if child.spec.stop_order == stage]
            for child in group:
                if child.process.poll() is None:
                    self._log_waiting(child)
                    child.process.send_signal(signal.SIGTERM)
            clean &= self._wait_for_end(group)
        for child in self._children.values():
            self._close_pipes(child)
        logger.info("stopped")
        return 0 if clean else 1

    @staticmethod
    def _log_waiting(child: _RunningChild) -> None:
        logger.info("waiting for %s: %s", child.spec.name, child.spec.waits_for)

    def _wait_for_end(self, group: Sequence[_RunningChild]) -> bool:
        began = time.monotonic()
        reported = began
        clean = True
        while running := [child for child in group if child.process.poll() is None]:
            now = time.monotonic()
            if now - reported >= DRAIN_REPORT_SECONDS:
                reported = now
                for child in running:
                    self._log_waiting(child)
            late = [child for child in running if now - began >= child.spec.stop_seconds]
            if late:
                clean = False
                for child in late:
                    logger.error(
                        "%s did not end within %.0f s and is killed; nothing accepted is lost",
                        child.spec.name,
                        child.spec.stop_seconds,
                    )
                    child.process.kill()
                    child.process.wait()
            time.sleep(0.02)
        return clean


def _describe_exit(code: int) -> str:
    """Describe how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    return f"killed by {signal.Signals(-code).name}"
