"""The channel between who asks and the desk: a Unix socket in the data folder, for its owner only.

A connection is for one question. Each side sends one frame: its length, and JSON. The answer itself
comes as an open file, which has no name any more, beside the frame. Who asks ends a question by
closing the connection.
"""

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SOCKET_NAME: Final = "desk.socket"

FRAME_BYTES_MAX: Final = 16 * 1024 * 1024

_LENGTH: Final = struct.Struct("!I")


class ChannelBrokenError(Exception):
    """The other side ended before it sent all."""


@contextmanager
def place_socket(folder: Path) -> Iterator[str]:
    """Give an address of the socket of a folder; the path of one may have some 100 bytes only."""
    if not sys.platform.startswith("linux"):
        yield str(folder / SOCKET_NAME)
        return
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


def send_frame(connection: socket.socket, payload: bytes, file: int | None = None) -> None:
    """Send a frame, and an open file with it.

    Raises:
        OSError: the other side is gone.
    """
    head = _LENGTH.pack(len(payload))
    if file is None:
        connection.sendall(head)
    else:
        socket.send_fds(connection, [head], [file])
    connection.sendall(payload)


def receive_frame(connection: socket.socket) -> tuple[bytes, int | None]:
    """Wait for a frame; return it, and the file that came with it, which the caller closes.

    Raises:
        ChannelBrokenError: the other side ended before.
        OSError: the same, or it takes too long.
    """
    head, files, _, _ = socket.recv_fds(connection, _LENGTH.size, 1)
    file = files[0] if files else None
    try:
        head += _receive_exactly(connection, _LENGTH.size - len(head))
        return _receive_exactly(connection, _read_length(head)), file
    except BaseException:
        if file is not None:
            os.close(file)
        raise


def _read_length(head: bytes) -> int:
    (size,) = _LENGTH.unpack(head)
    if size > FRAME_BYTES_MAX:
        raise ChannelBrokenError
    return int(size)


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = connection.recv(min(size, 1 << 20))
        if not part:
            raise ChannelBrokenError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
