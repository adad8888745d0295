"""One task process, as who started it sees it: started when needed, ended at any time."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Final

from treadle.errors import InternalError, RetriableError, TreadleError
from treadle.tasks.task_channel import (
    AnswerKind,
    ChannelClosedError,
    TaskAnswer,
    TaskRequest,
    decode_error,
    receive_answer,
    send_request,
)

MEMORY_BYTES_MAX: Final = 512 * 1024 * 1024
"""Most memory of a task process: what a worker takes for the worst body of the largest size."""

KEPT_BYTES_MAX: Final = 160 * 1024 * 1024
"""A process that holds or has reserved more memory than this after its task is ended; a new one has
about 30 MB."""

PATIENCE_SECONDS: Final = 120
"""Seconds that a task may take by the clock. Its limit of processor time does not end a task that
the machine, being busy, does not run."""

_CHILD_MODULE: Final = "treadle.tasks.task_child"
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_INHERITED_PREFIXES = ("PYTHON", "LC_")


class TaskLimitError(TreadleError):
    """A task needed more processor time or memory than it may have, so its process was ended."""


class TaskTimeError(TaskLimitError):
    """A task needed more processor time than it may have."""


class TaskOverdueError(RetriableError):
    """A task took more time by the clock than it may, so its process was ended."""


class TaskAbandonedError(TreadleError):
    """A task was ended because nobody waits for it any more."""


class TaskProcess:
    """A process for one task at a time. All but `kill` belong to one thread at a time."""

    def __init__(
        self,
        memory_bytes: int = MEMORY_BYTES_MAX,
        patience_seconds: float = PATIENCE_SECONDS,
        environment: Mapping[str, str] | None = None,
        kept_bytes: int = KEPT_BYTES_MAX,
    ) -> None:
        """Start no process before the first task.

        Args:
            memory_bytes: that the process may take.
            patience_seconds: that a task may take by the clock.
            environment: variables of the process; None for those that a task on a body needs, among
                which there is no setting and no secret.
            kept_bytes: memory that the process may hold or have reserved after a task; with more it
                is ended.
        """
        self._memory_bytes = memory_bytes
        self._patience_seconds = patience_seconds
        self._environment = environment
        self._kept_bytes = kept_bytes
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._current: TaskRequest | None = None
        self._abandoned = False

    @property
    def process_id(self) -> int | None:
        """The id of the process; None while there is none."""
        child = self._child
        return None if child is None else child.pid

    def run(self, request: TaskRequest) -> bytes:
        """Do a task, and return its result.

        Raises:
            TaskLimitError: it took more than it may.
            TaskAbandonedError: it was killed meanwhile.
            TaskOverdueError: it was not done in time by the clock.
            RetriableError: the process was ended from outside.
            TreadleError: what the task raised.
        """
        with self._lock:
            self._current = request
        sound = False
        try:
            answer = self._exchange(request)
            sound = answer.kind is not AnswerKind.OUT_OF_MEMORY
            sound = sound and answer.held_bytes <= self._kept_bytes
        finally:
            with self._lock:
                sound = sound and not self._abandoned
                self._current, self._abandoned = None, False
            if not sound:
                self.close()
        if answer.kind is AnswerKind.RESULT:
            return answer.payload
        if answer.kind is AnswerKind.OUT_OF_MEMORY:
            raise TaskLimitError(f"more than {self._memory_bytes} bytes of memory")
        raise decode_error(answer)

    def kill(self, request: TaskRequest) -> None:
        """End a task with its process, if it is not done; may be called from any thread."""
        with self._lock:
            if self._current is request:
                self._abandoned = True
                if self._child is not None:
                    self._child.kill()

    def kill_current(self) -> None:
        """End the task that is under way, if there is one; may be called from any thread."""
        with self._lock:
            current = self._current
        if current is not None:
            self.kill(current)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        with contextlib.suppress(OSError):
            self._source.close()
        self._channel.close()
        os.close(self._lifeline)

    def _exchange(self, request: TaskRequest) -> TaskAnswer:
        child = self._get_child()
        due = time.monotonic() + self._patience_seconds
        try:
            self._channel.settimeout(self._patience_seconds)
            send_request(self._channel.sendall, request)
            self._channel.settimeout(max(due - time.monotonic(), 1.0))
            return receive_answer(self._source)
        except TimeoutError as error:
            raise TaskOverdueError(
                f"a task of {request.seconds} s was not done in {self._patience_seconds:g} s"
            ) from error
        except (ChannelClosedError, OSError) as error:
            raise self._judge_end(child.wait(), request) from error

    def _get_child(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is not None:
            self.close()  # something ended it while it had nothing to do
        return self._start() if self._child is None else self._child

    def _start(self) -> subprocess.Popen[bytes]:
        ours, theirs = socket.socketpair()
        watched, lifeline = os.pipe()
        try:
            child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", _CHILD_MODULE, str(watched), str(self._memory_bytes)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                pass_fds=(watched,),
                env=_select_environment() if self._environment is None else self._environment,
            )
        except BaseException:
            ours.close()
            os.close(lifeline)
            raise
        finally:
            theirs.close()
            os.close(watched)
        self._channel, self._source, self._lifeline = ours, ours.makefile("rb"), lifeline
        with self._lock:
            self._child = child
            if self._abandoned:
                child.kill()
        return child

    def _judge_end(self, code: int, request: TaskRequest) -> TreadleError:
        """Return what it means that the process ended without an answer."""
        if self._abandoned:
            return TaskAbandonedError("nobody waits for the task any more")
        if code == -signal.SIGXCPU:
            return TaskTimeError(f"more than {request.seconds} s of processor time")
        if code in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP):
            return RetriableError(f"a task process was ended from outside, by signal {-code}")
        if code < 0:  # foreign code ends its process when it gets no memory or no stack
            return TaskLimitError(f"more memory than there is: the process ended by signal {-code}")
        return InternalError(f"a task process ended by itself with exit code {code}")


def _select_environment() -> dict[str, str]:
    """Return what a task process needs of the environment: no setting and no secret."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }
