"""What a supervisor and its children say to each other: orders down, "ready" up, and the end."""

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
    """Settings for a child, on one line; through a pipe, where other users cannot read them.

    Returns:
        JSON; the line break that ends it is the supervisor's.
    """
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return msgspec.json.encode(
        values | {"data": str(config.data), "crash": failpoint.get_armed_file()}
    )


def read_orders() -> Config:
    """The settings that `encode_orders` wrote, from standard input.

    Raises:
        OperatorFault: nobody gives orders there.
    """
    values: dict[str, Any] = msgspec.json.decode(_read_line())
    failpoint.arm(values.pop("crash"))
    return Config(**(values | {"data": Path(values["data"])}))


def _read_line() -> bytes:
    """The line with the orders, read without a buffer: a thread waits on the rest (see below)."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(sys.stdin.fileno(), 1 << 16)
        if not piece:
            raise OperatorError("this is a child of `treadle serve`; start that instead")
        line += piece
    return line


def report_ready() -> None:
    """Tell the supervisor that the role is taken."""
    with contextlib.suppress(BrokenPipeError):  # the supervisor is gone, and the end is near
        os.write(sys.stdout.fileno(), b"ready\n")


def call_when_orphaned(stop: Callable[[], None]) -> None:
    """Have `stop` called, by a thread of its own, once standard input ends."""

    def watch() -> None:
        # Not through sys.stdin: its lock would be held while the interpreter ends.
        while os.read(sys.stdin.fileno(), 1 << 16):
            pass
        logger.error("the supervisor is gone; stopping")
        stop()

    threading.Thread(target=watch, daemon=True).start()
