"""A child of `treadle serve`: takes its orders, does what its role is, and ends with its parent."""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from treadle import crash
from treadle.config import Config
from treadle.errors import OperatorFault, TreadleError
from treadle.logs import set_up_logging

logger = logging.getLogger("treadle.server")


def child() -> int:
    """Run the role named on the command line with the orders on standard input."""
    # Ctrl-C reaches every process of the terminal; the supervisor alone acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    role, name, *descriptors = sys.argv[1:]
    config = _obeyed(_read_orders())
    set_up_logging(config, role)
    try:
        # Each role brings in only what it needs: imports are most of a start.
        if role == "worker":
            from treadle.server.work import work

            work(config, name, int(descriptors[0]))
        else:
            from treadle.server.load import load

            load(config)
    except TreadleError as error:
        logger.error("%s", error)  # noqa: TRY400 - one sentence for the operator, no traceback
        return 2
    return 0


def _obeyed(line: bytes) -> Config:
    values: dict[str, Any] = msgspec.json.decode(line)
    crash.arm(values.pop("crash"))
    return Config(**(values | {"data": Path(values["data"])}))


def say_ready() -> None:
    """Tell the supervisor that the role is taken."""
    with contextlib.suppress(BrokenPipeError):  # the supervisor is gone, and the end is near
        os.write(sys.stdout.fileno(), b"ready\n")


def _read_orders() -> bytes:
    """The line with the orders, read without a buffer: a thread waits on the rest (see below)."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(sys.stdin.fileno(), 1 << 16)
        if not piece:
            raise OperatorFault("this is a child of `treadle serve`; start that instead")
        line += piece
    return line


def when_the_supervisor_is_gone(stop: Callable[[], None]) -> None:
    """Have `stop` called, by a thread of its own, once standard input ends."""

    def watch() -> None:
        # Not through sys.stdin: its lock would be held while the interpreter ends.
        while os.read(sys.stdin.fileno(), 1 << 16):
            pass
        logger.error("the supervisor is gone; stopping")
        stop()

    threading.Thread(target=watch, daemon=True).start()
