"""The channel between the supervisor and its children.

The supervisor writes the settings to a child's standard input. The child writes "ready" to its
standard output. The end of its standard input tells the child that the supervisor is gone. A worker
writes "wake desk", and then the desk is started, or finds a line break in its standard input. It
reads "drain" there when the server is about to stop. A child that writes "end" stops the server.
"""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from treadle import failpoint
from treadle.config import Config
from treadle.errors import OperatorError

logger = logging.getLogger("treadle.server")


def encode_orders(config: Config) -> bytes:
    """Encode the settings for a child.

    They go through a pipe, which other users of the machine cannot read.

    Returns:
        JSON on one line, without the line break at its end.
    """
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return msgspec.json.encode(
        values
        | {
            "data": str(config.data),
            "failpoint": failpoint.get_armed_file(),
            "origins": config.origins,
        },
        enc_hook=str,  # of paths
    )


def read_orders() -> Config:
    """Read from standard input the settings that `encode_orders` encoded.

    Raises:
        OperatorError: standard input ended without them.
    """
    line = _read_line()
    failpoint.arm(msgspec.json.decode(line)["failpoint"])
    return decode_orders(line)


def decode_orders(line: bytes | str) -> Config:
    """Return the settings that `encode_orders` encoded; a failpoint among them is not armed."""
    values: dict[str, Any] = msgspec.json.decode(line)
    del values["failpoint"]
    origins = values.pop("origins")
    return Config(**(values | {"data": Path(values["data"])})).note_origins(origins)


def _read_line() -> bytes:
    """Read one line without a buffer, which would take what `call_when_orphaned` waits for."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(sys.stdin.fileno(), 1 << 16)
        if not piece:
            raise OperatorError("this is a child of `treadle serve`; start that instead")
        line += piece
    return line


def report_ready() -> None:
    """Tell the supervisor that this process does its work."""
    # When the supervisor is gone, `call_when_orphaned` ends this process.
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), b"ready\n")


def wake_child(name: str) -> None:
    """Have another child look at once for what it is to do; one that rests is started."""
    out = sys.stdout.fileno()
    os.set_blocking(out, False)  # a supervisor that reads nothing must stop nobody
    with contextlib.suppress(BrokenPipeError, BlockingIOError):
        os.write(out, f"wake {name}\n".encode())


def end_server() -> None:
    """Have the supervisor stop all of its children, and end with exit code 2."""
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), b"end\n")


def call_when_orphaned(
    stop: Callable[[], None],
    wake: Callable[[], None] = lambda: None,
    drain: Callable[[], None] = lambda: None,
) -> None:
    """Start a thread that calls a function when the supervisor says so.

    Args:
        stop: called when the supervisor is gone.
        wake: called when there is something to do for this process.
        drain: called when the server is about to stop.
    """

    def watch() -> None:
        # Not through sys.stdin, whose lock this thread would hold when the interpreter ends.
        while said := os.read(sys.stdin.fileno(), 1 << 16):
            if b"drain" in said:
                drain()
            else:
                wake()
        logger.error("the supervisor is gone; stopping")
        stop()

    threading.Thread(target=watch, daemon=True).start()
