"""Frames and files over a Unix socket."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from treadle.questions.channel import (
    SOCKET_NAME,
    ChannelBrokenError,
    place_socket,
    receive_frame,
    send_frame,
)


def test_a_frame_comes_with_its_file() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, tempfile.TemporaryFile() as file:
        file.write(b"kept")
        file.seek(0)
        send_frame(ours, b"x" * 100_000, file.fileno())
        payload, descriptor = receive_frame(theirs)
        assert payload == b"x" * 100_000
        assert descriptor is not None
        with os.fdopen(descriptor, "rb") as found:
            assert found.read() == b"kept"
        send_frame(ours, b"")
        assert receive_frame(theirs) == (b"", None)


def test_an_end_in_the_middle_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(b"\0\0\0\5ab")
        ours.close()
        with pytest.raises(ChannelBrokenError):
            receive_frame(theirs)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"\xff\xff\xff\xff")
        with pytest.raises(ChannelBrokenError):
            receive_frame(theirs)


def test_a_folder_may_have_any_length(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 120) / ("b" * 120)
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listening, place_socket(folder) as address:
        listening.bind(address)
        listening.listen(1)
        with socket.socket(socket.AF_UNIX) as client, place_socket(folder) as again:
            client.connect(again)
    assert (folder / SOCKET_NAME).exists()
