"""Asks the desk: for a worker, in a thread."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from treadle.questions import refusals
from treadle.questions.channel import (
    ChannelBrokenError,
    place_socket,
    receive_frame,
    send_frame,
)
from treadle.questions.messages import DeskMessage, DeskReply
from treadle.questions.orders import AnswerNote, QuestionKind, decode_value, encode_value

CONNECT_SECONDS_MAX: Final = 20.0
"""How long a desk is waited for that is starting: it takes half a second, and on a busy machine
longer."""

CONNECT_PAUSE_SECONDS: Final = 0.05

WAKE_TRIES: Final = 20
"""The desk is woken again after so many tries to connect."""

ANSWER_SECONDS_MAX: Final = 180.0
"""Longest wait for an answer: more than the desk lets a question take."""

CHUNK_BYTES: Final = 64 * 1024


@dataclass(slots=True)
class DeskAnswer:
    """An answer: a file that has no name, to be read once and closed.

    Attributes:
        file: at its beginning.
        note: what is told of it.
    """

    file: BinaryIO
    note: AnswerNote

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self.file.fileno()).st_size

    def read(self) -> bytes:
        """Return all of it, and close it."""
        with self.file:
            return self.file.read()

    def read_value(self) -> Any:
        """Return the value of an answer in JSON, and close it."""
        return msgspec.json.decode(self.read())

    def read_chunks(self) -> Iterator[bytes]:
        """Give it piece by piece, and close it."""
        with self.file:
            while chunk := self.file.read(CHUNK_BYTES):
                yield chunk


@dataclass(frozen=True, slots=True)
class PlannedQuestion:
    """A question that was decided to be allowed, and is to be asked.

    Attributes:
        kind: of it.
        id: of it.
        account_id: who asks; 0 for the installation.
        places: questions of the account that may be under way at once.
        order: one of the orders, see `questions.orders`.
        seconds: longest wait for the answer.
    """

    kind: QuestionKind
    id: str
    account_id: int
    places: int
    order: object
    seconds: float = ANSWER_SECONDS_MAX


@dataclass(slots=True)
class DeskCall:
    """One question on its way.

    Attributes:
        folder: the data folder.
        question: to ask.
        wake: has a desk started that rests.
        clock: seconds.
        sleep: waits.
    """

    folder: Path
    question: PlannedQuestion
    wake: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _connection: socket.socket | None = None
    _is_abandoned: bool = False

    def ask(self) -> DeskAnswer:
        """Ask, and wait for the answer.

        Raises:
            RequestRefusedError: it is refused, fails, or the desk ended meanwhile.
        """
        asked = self.question
        message = DeskMessage(
            asked.id,
            asked.account_id,
            asked.kind,
            asked.places,
            encode_value(asked.order).decode(),
        )
        connection = self._connect()
        try:
            with connection:
                connection.settimeout(asked.seconds)
                reply, file = exchange_message(connection, message)
        except (ChannelBrokenError, OSError) as error:
            raise refusals.desk_ended() from error
        if reply.note is None or file is None:
            reply.raise_refusal()
            raise refusals.desk_ended()
        return DeskAnswer(os.fdopen(file, "rb"), reply.note)

    def abandon(self) -> None:
        """End the question: nobody waits for its answer. May be called from any thread."""
        self._is_abandoned = True
        connection = self._connection
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> socket.socket:
        """Connect to the desk, which may be starting, or rest until it is woken.

        Raises:
            RequestRefusedError: it cannot be reached.
        """
        until = self.clock() + CONNECT_SECONDS_MAX
        tries = 0
        while True:
            tries += 1
            try:
                self._connection = connect_desk(self.folder)
            except OSError as error:
                if self.clock() >= until or self._is_abandoned:
                    raise refusals.desk_missing() from error
                if tries % WAKE_TRIES == 1:
                    self.wake()
                self.sleep(CONNECT_PAUSE_SECONDS)
                continue
            if self._is_abandoned:
                self._connection.close()
                raise refusals.statement_stopped()
            return self._connection


@dataclass(frozen=True, slots=True)
class DeskClient:
    """Asks the desk of a data folder.

    Attributes:
        folder: the data folder.
        wake: has a desk started that rests.
    """

    folder: Path = field(default_factory=Path)
    wake: Callable[[], None] = lambda: None

    def make_call(self, question: PlannedQuestion) -> DeskCall:
        """Return a call, which is asked in a thread and abandoned from any other."""
        return DeskCall(self.folder, question, self.wake)

    def stop(self, question_id: str, account_id: int) -> bool:
        """Stop a question of an account; return whether it was under way.

        Raises:
            RequestRefusedError: the desk cannot be reached.
        """
        try:
            with connect_desk(self.folder) as connection:
                reply, file = exchange_message(connection, DeskMessage(question_id, account_id))
        except (FileNotFoundError, ConnectionRefusedError):
            return False  # the desk rests, so nothing is under way
        except (ChannelBrokenError, OSError) as error:
            raise refusals.desk_missing() from error
        if file is not None:
            os.close(file)
        return not reply.status


def connect_desk(folder: Path) -> socket.socket:
    """Return a connection to the desk of a data folder.

    Raises:
        OSError: there is none.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(ANSWER_SECONDS_MAX)
        with place_socket(folder) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def exchange_message(
    connection: socket.socket, message: DeskMessage
) -> tuple[DeskReply, int | None]:
    """Send a message and wait for the reply; return it, and the file that came with it."""
    send_frame(connection, encode_value(message))
    payload, file = receive_frame(connection)
    return decode_value(payload, DeskReply), file
