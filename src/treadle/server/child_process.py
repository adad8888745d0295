"""A child process of `treadle serve`: reads its settings and runs its role."""

import gc
import logging
import os
import signal
import sys
from typing import Final

from treadle.clock import read_clock
from treadle.errors import TreadleError
from treadle.logging_setup import reopen_log_file, set_up_logging
from treadle.process_end import skip_last_collection
from treadle.server.child_channel import read_orders
from treadle.traces.process_board import note_start

logger = logging.getLogger("treadle.server")

DESK_NICENESS: Final = 5
"""Processes that answer requests, and the loader, come first where there are too few cores."""


def run_child() -> int:
    """Run the role named on the command line with the orders on standard input."""
    # What a start makes stays until the end: to search it for garbage again and again took an
    # eighth of the start. Each role turns the collector on when it is ready.
    gc.disable()
    # Ctrl-C reaches every process of the terminal. Only the supervisor acts on it, or children
    # would stop in no order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # By default SIGHUP ends a process. A worker sets another handler when it has an event loop.
    signal.signal(signal.SIGHUP, lambda *_: reopen_log_file())
    role, name, *descriptors = sys.argv[1:]
    config = read_orders()
    set_up_logging(config, role)
    try:
        note_start(config.processes_path, name, read_clock())
    except OSError as error:
        logger.warning("the start of %s cannot be noted: %s", name, error)
    try:
        # Imports take most of the time of a start, so each role imports only what it needs.
        if role == "worker":
            from treadle.server.worker_process import run_worker

            run_worker(config, name, int(descriptors[0]))
        elif role == "courier":
            from treadle.server.courier_process import run_courier

            run_courier(config)
        elif role == "desk":
            os.nice(DESK_NICENESS)
            from treadle.server.desk_process import run_desk

            run_desk(config)
        else:
            from treadle.server.loader_process import run_loader

            run_loader(config, name)
    except TreadleError as error:
        logger.error("%s", error)  # noqa: TRY400 - one sentence for the operator, no traceback
        return 2
    finally:
        skip_last_collection()
    return 0
