"""Answers questions to destinations: takes them from a socket, and has task processes answer them.

Two questions are answered at once, each by a process whose memory and time are bounded. A process
is started for the first question and kept warm for some minutes: its imports take half a second.
The answer is a file without a name, of which who asks gets the open descriptor: so the process is
free for the next question however slowly the answer is read.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from treadle.desk.check_desk import select_environment
from treadle.errors import InternalError, OperatorError, RequestRefusedError, TreadleError
from treadle.questions import refusals
from treadle.questions.channel import (
    ChannelBrokenError,
    place_socket,
    receive_frame,
    send_frame,
)
from treadle.questions.messages import DeskMessage, DeskReply, make_reply
from treadle.questions.orders import (
    AnswerNote,
    QuestionKind,
    TaskOrder,
    decode_value,
    encode_value,
)
from treadle.tasks.task_channel import TaskRequest
from treadle.tasks.task_process import (
    TaskAbandonedError,
    TaskLimitError,
    TaskOverdueError,
    TaskProcess,
    TaskTimeError,
)

logger = logging.getLogger("treadle.desk")

PROCESSES_MAX: Final = 2
"""Questions that are answered at once."""

CONNECTIONS_MAX: Final = 32
"""Connections at once; more are closed."""

QUESTION_MEMORY_MAX: Final = 1024 * 1024 * 1024
"""Memory of a process: 512 MB are DuckDB's."""

WARM_MEMORY_MAX: Final = 256 * 1024 * 1024
"""A process that holds or has reserved more than this after its question is ended."""

_FRUGAL_ENVIRONMENT: Final = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OPENBLAS_NUM_THREADS": "1"}
"""For a process of questions. Arrow's own allocator reserves memory that it does not use, and where
NumPy is installed, which Arrow imports, so do the threads of its algebra: 300 MB in all, and no
process was kept. With these it is 130 MB."""

PLACE_SECONDS_MAX: Final = 5.0
"""How long a question waits for one of the places."""

IDLE_SECONDS: Final = 300.0
"""After this without a question its process is ended."""

POLL_SECONDS: Final = 1.0
"""How often it is looked for processes that are idle, and whether to stop."""

RECEIVE_SECONDS_MAX: Final = 5.0
"""How long a question may take to arrive."""

PATIENCE_SECONDS: Final = 50.0
"""Seconds beside those of the statement: for the turn at a file, for connecting, for the rest."""

FOLDER_NAME: Final = "answers"
"""The folder of answers that are being written, in the data folder."""


@dataclass(frozen=True, slots=True)
class QuestionTask:
    """How questions of a kind are answered.

    Attributes:
        function: of the task process, see `TaskRequest.function`.
        order: its order, in place of the one that came; None for that one.
        long_seconds: that one may take. It has a process of its own then, beside those of others;
            None for as long as a statement.
    """

    function: str
    order: str | None = None
    long_seconds: float | None = None


QUESTION_TASKS: Final[Mapping[QuestionKind, QuestionTask]] = {
    QuestionKind.STATEMENT: QuestionTask("treadle.desk.question_task:answer_statement"),
    QuestionKind.ROWS: QuestionTask("treadle.desk.question_task:answer_rows"),
}


@dataclass(slots=True)
class RunningQuestion:
    """A question that is under way.

    Attributes:
        process: that answers it; None while it waits for one.
        stopped: somebody stopped it.
        is_long: it takes no place of others.
    """

    process: TaskProcess | None = None
    stopped: bool = False
    is_long: bool = False


@dataclass(slots=True)
class QuestionDesk:
    """Answers the questions that come to the socket of a data folder.

    Attributes:
        folder: the data folder.
        seconds: that a statement may take.
        tasks: how each kind of question is answered.
        idle_seconds: after which a process without a question is ended.
        rest_seconds: after which, without a question, `run` asks whether it may end.
        may_rest: whether the process has nothing else to do.
        clock: seconds.
    """

    folder: Path
    seconds: float
    tasks: Mapping[QuestionKind, QuestionTask] = field(default_factory=lambda: QUESTION_TASKS)
    idle_seconds: float = IDLE_SECONDS
    rest_seconds: float = IDLE_SECONDS
    may_rest: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic
    _lock: threading.Condition = field(default_factory=threading.Condition)
    _running: dict[tuple[int, str], RunningQuestion] = field(default_factory=dict)
    """By account and id."""
    _warm: list[tuple[float, TaskProcess]] = field(default_factory=list)
    """Processes without a question, with the time since when; the last one is taken first."""
    _connections: int = 0
    _is_stopped: bool = False

    @property
    def answers(self) -> Path:
        """The folder of answers that are being written."""
        return self.folder / FOLDER_NAME

    def run(self) -> None:
        """Answer questions until `stop`, or until there was none for a while and it may rest."""
        self._clear_answers()
        while not self._is_stopped:
            try:
                listening = open_socket(self.folder)
            except OSError as error:
                raise OperatorError(
                    f"The socket of the desk cannot be made in {self.folder}: {error.strerror}"
                ) from error
            with listening:
                self._listen(listening)
                if not self._is_stopped and not self._take_last_connections(listening):
                    break
        self._end_all()

    def _listen(self, listening: socket.socket) -> None:
        """Take questions until `stop`, or until it may rest."""
        listening.settimeout(POLL_SECONDS)
        last = self.clock()
        while not self._is_stopped:
            with suppress(TimeoutError):
                connection, _ = listening.accept()
                self._take_connection(connection)
            self._end_idle_processes()
            now = self.clock()
            with self._lock:
                if self._connections or self._running:
                    last = now
            if now - last >= self.rest_seconds and self.may_rest():
                return

    def _take_last_connections(self, listening: socket.socket) -> bool:
        """Let nobody connect any more, and take who has connected; return whether anybody had."""
        with place_socket(self.folder) as address, suppress(FileNotFoundError):
            Path(address).unlink()
        listening.settimeout(0)
        found = False
        with suppress(BlockingIOError):
            while True:
                connection, _ = listening.accept()
                self._take_connection(connection)
                found = True
        return found

    def stop(self) -> None:
        """Let `run` end soon; may be called from a signal handler."""
        self._is_stopped = True

    def _clear_answers(self) -> None:
        """Remove what a killed desk left."""
        self.answers.mkdir(mode=0o700, exist_ok=True)
        for left in self.answers.iterdir():
            left.unlink()

    def _take_connection(self, connection: socket.socket) -> None:
        with self._lock:
            if self._connections >= CONNECTIONS_MAX:
                connection.close()
                return
            self._connections += 1
        threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        file = None
        try:
            with connection:
                connection.settimeout(RECEIVE_SECONDS_MAX)
                payload, unasked = receive_frame(connection)
                if unasked is not None:
                    os.close(unasked)
                connection.settimeout(None)
                message = decode_value(payload, DeskMessage)
                try:
                    note, file = self._obey(connection, message)
                    reply = DeskReply(note)
                except RequestRefusedError as refused:
                    reply = make_reply(refused)
                send_frame(connection, encode_value(reply), file)
        except (ChannelBrokenError, OSError):
            pass  # who asked is gone
        except Exception:
            logger.exception("a question failed by a fault of treadle")
        finally:
            if file is not None:
                os.close(file)
            with self._lock:
                self._connections -= 1

    def _obey(
        self, connection: socket.socket, message: DeskMessage
    ) -> tuple[AnswerNote | None, int | None]:
        key = message.account_id, message.id
        if message.kind is None:
            self._stop_question(key)
            return None, None
        if message.kind not in self.tasks:
            raise refusals.invalid_question("such questions are not answered")
        is_long = self.tasks[message.kind].long_seconds is not None
        running = self._take_place(key, message.places, is_long=is_long)
        try:
            with self._watched(connection, running):
                return self._answer(running, message.kind, message.order)
        finally:
            with self._lock:
                self._running.pop(key, None)
                self._lock.notify_all()

    def _stop_question(self, key: tuple[int, str]) -> None:
        with self._lock:
            running = self._running.get(key)
        if running is None:
            raise refusals.question_not_found(key[1])
        self._end_question(running)

    def _end_question(self, running: RunningQuestion) -> None:
        with self._lock:
            running.stopped = True
            process = running.process
        if process is not None:
            process.kill_current()

    def _take_place(self, key: tuple[int, str], places: int, *, is_long: bool) -> RunningQuestion:
        """Wait for one of the places.

        Raises:
            RequestRefusedError: none is free, or a question with the id is under way.
        """
        until = self.clock() + PLACE_SECONDS_MAX
        with self._lock:
            while True:
                if key in self._running:
                    raise refusals.question_id_taken(key[1])
                alike = {
                    (account, id_): one
                    for (account, id_), one in self._running.items()
                    if one.is_long is is_long
                }
                own = sum(account == key[0] for account, _ in alike)
                if len(alike) < PROCESSES_MAX and own < places:
                    running = self._running[key] = RunningQuestion(is_long=is_long)
                    return running
                left = until - self.clock()
                if left <= 0 or self._is_stopped:
                    raise refusals.desk_busy(min(places, PROCESSES_MAX))
                self._lock.wait(left)

    @contextmanager
    def _watched(self, connection: socket.socket, running: RunningQuestion) -> Iterator[None]:
        """End the question when who asked closes the connection."""
        done = threading.Event()

        def watch() -> None:
            with suppress(OSError):
                connection.recv(1)  # nothing comes but the end
            if not done.is_set():
                self._end_question(running)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)  # lets `recv` return
            watcher.join()

    def _answer(
        self, running: RunningQuestion, kind: QuestionKind, order: str
    ) -> tuple[AnswerNote, int]:
        """Have a process write the answer, and return it opened; it has no name any more."""
        task = self.tasks[kind]
        path = self.answers / uuid.uuid4().hex
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            payload = encode_value(TaskOrder(path, order if task.order is None else task.order))
            return decode_value(self._run(running, kind, payload), AnswerNote), descriptor
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            path.unlink(missing_ok=True)

    def _run(self, running: RunningQuestion, kind: QuestionKind, payload: bytes) -> bytes:
        """Return what a task process returns.

        Raises:
            RequestRefusedError: it refuses, or it was ended.
        """
        long_seconds = self.tasks[kind].long_seconds
        process = self._take_process() if long_seconds is None else _make_process(long_seconds)
        with self._lock:
            running.process = process
        try:
            if running.stopped:
                raise refusals.statement_stopped()
            function = self.tasks[kind].function
            seconds = self._processor_seconds if long_seconds is None else int(long_seconds)
            return process.run(TaskRequest(function, seconds, payload))
        except RequestRefusedError:
            raise
        except TaskAbandonedError as error:
            raise refusals.statement_stopped() from error
        except (TaskOverdueError, TaskTimeError) as error:
            if kind in (QuestionKind.DOCTOR, QuestionKind.DOCTOR_WHOLE, QuestionKind.COUNTS):
                raise refusals.doctor_overdue() from error
            raise refusals.statement_overdue(self.seconds) from error
        except TaskLimitError as error:
            raise refusals.statement_too_large() from error
        except InternalError:
            logger.exception("a question failed by a fault of treadle")
            raise refusals.desk_ended() from None
        except TreadleError as error:
            logger.warning("a question ended without an answer: %s", error)
            raise refusals.desk_ended() from error
        finally:
            with self._lock:
                running.process = None
            if long_seconds is None:
                self._keep_warm(process)
            else:
                process.close()

    @property
    def _processor_seconds(self) -> int:
        """Seconds of processor time of a question: two threads, and what comes around it."""
        return int(self.seconds) * 2 + 30

    def _take_process(self) -> TaskProcess:
        with self._lock:
            if self._warm:
                return self._warm.pop()[1]
        return _make_process(self.seconds + PATIENCE_SECONDS)

    def _keep_warm(self, process: TaskProcess) -> None:
        with self._lock:
            if not self._is_stopped and process.process_id is not None:
                self._warm.append((self.clock(), process))
                return
        process.close()

    def _end_idle_processes(self) -> None:
        now = self.clock()
        with self._lock:
            idle = [one for since, one in self._warm if now - since >= self.idle_seconds]
            self._warm = [(since, one) for since, one in self._warm if one not in idle]
        for process in idle:
            process.close()

    def _end_all(self) -> None:
        """End what is under way, and the processes."""
        with self._lock:
            running = list(self._running.values())
            warm, self._warm = self._warm, []
            self._lock.notify_all()
        for question in running:
            self._end_question(question)
        for _, process in warm:
            process.close()
        with place_socket(self.folder) as address, suppress(FileNotFoundError):
            Path(address).unlink()


def _make_process(seconds: float) -> TaskProcess:
    environment = {**_FRUGAL_ENVIRONMENT, **select_environment(os.environ)}
    return TaskProcess(QUESTION_MEMORY_MAX, seconds, environment, WARM_MEMORY_MAX)


def open_socket(folder: Path) -> socket.socket:
    """Return a socket in a folder that only this user can connect to; one that is there goes.

    Raises:
        OSError: it cannot be made.
    """
    listening = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        with place_socket(folder) as address:
            with suppress(FileNotFoundError):
                Path(address).unlink()
            listening.bind(address)
        listening.listen(CONNECTIONS_MAX)
    except BaseException:
        listening.close()
        raise
    finally:
        os.umask(mask)
    return listening
