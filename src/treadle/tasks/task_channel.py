"""The frames that a worker and a task process exchange over a pair of sockets.

Both sides send frames: a head of fixed size, then bytes. A request names a function by module and
name, and has its only argument. An answer has the function's result, or an error of ours.
"""

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import BinaryIO, NamedTuple, Protocol

import msgspec

from treadle.errors import (
    InternalError,
    OperatorError,
    RequestRefusedError,
    RetriableError,
    TreadleError,
)

_REQUEST_HEAD = struct.Struct("!HIQ")
_ANSWER_HEAD = struct.Struct("!BQQ")

_TEXT_ERRORS: dict[str, type[TreadleError]] = {
    kind.__name__: kind for kind in (InternalError, OperatorError, RetriableError)
}

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

Sender = Callable[[bytes], object]
"""Sends all of some bytes, such as `socket.sendall`."""


class ByteSource(Protocol):
    """The receiving end, such as `socket.makefile("rb")`."""

    def read(self, size: int, /) -> bytes:
        """Return so many bytes; fewer at the end."""


class ChannelClosedError(Exception):
    """The other side closed the channel, between two frames or within one."""


class TaskRequest(NamedTuple):
    """Work for a task process.

    Attributes:
        function: module and name, such as "treadle.records.batch:encode_body"; it takes bytes and
            returns bytes.
        seconds: processor time that it may take.
        payload: its argument.
    """

    function: str
    seconds: int
    payload: bytes


class AnswerKind(IntEnum):
    """Kinds of the end of a task."""

    RESULT = 0
    REFUSAL = 1
    """A `RequestRefusedError`."""
    FAILURE = 2
    """Another error of ours."""
    OUT_OF_MEMORY = 3


class TaskAnswer(NamedTuple):
    """The answer of a task process: the end of a task.

    Attributes:
        kind: the kind of the end, which says what `payload` is.
        held_bytes: the memory that the process holds or has reserved now.
        payload: the result, or an encoded error.
    """

    kind: AnswerKind
    held_bytes: int
    payload: bytes


def send_request(send: Sender, request: TaskRequest) -> None:
    """Send a request."""
    name = request.function.encode()
    send(_REQUEST_HEAD.pack(len(name), request.seconds, len(request.payload)) + name)
    send(request.payload)


def receive_request(source: ByteSource) -> TaskRequest:
    """Wait for a request.

    Raises:
        ChannelClosedError: there will be none.
    """
    name_size, seconds, size = _REQUEST_HEAD.unpack(_read_all(source, _REQUEST_HEAD.size))
    name = str(_read_all(source, name_size), "utf-8")
    return TaskRequest(name, seconds, _read_all(source, size))


def send_answer(send: Sender, answer: TaskAnswer) -> None:
    """Send an answer."""
    send(_ANSWER_HEAD.pack(answer.kind, answer.held_bytes, len(answer.payload)))
    send(answer.payload)


def receive_answer(source: ByteSource) -> TaskAnswer:
    """Wait for an answer.

    Raises:
        ChannelClosedError: there will be none.
    """
    kind, held_bytes, size = _ANSWER_HEAD.unpack(_read_all(source, _ANSWER_HEAD.size))
    return TaskAnswer(AnswerKind(kind), held_bytes, _read_all(source, size))


def _read_all(source: "ByteSource | BinaryIO", size: int) -> bytes:
    found = source.read(size)
    if len(found) < size:
        raise ChannelClosedError
    return found


def encode_error(error: TreadleError) -> tuple[AnswerKind, bytes]:
    """Encode an error of ours for an answer."""
    if isinstance(error, RequestRefusedError):
        return AnswerKind.REFUSAL, _encode((error.status, error.body, error.headers))
    known = next((kind for kind in type(error).__mro__ if kind.__name__ in _TEXT_ERRORS), None)
    name = InternalError.__name__ if known is None else known.__name__
    return AnswerKind.FAILURE, _encode((name, str(error)))


def decode_error(answer: TaskAnswer) -> TreadleError:
    """Return the error in an answer of kind `REFUSAL` or `FAILURE`."""
    if answer.kind is AnswerKind.REFUSAL:
        status, body, headers = _decode(answer.payload)
        return RequestRefusedError(status, body, tuple((name, value) for name, value in headers))
    name, text = _decode(answer.payload)
    return _TEXT_ERRORS[name](text)
