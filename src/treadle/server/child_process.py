"""A child of `treadle serve`: takes its orders and does what its role is."""

import logging
import signal
import sys

from treadle.errors import TreadleError
from treadle.logging_setup import set_up_logging
from treadle.server.child_channel import read_orders

logger = logging.getLogger("treadle.server")


def run_child() -> int:
    """Run the role named on the command line with the orders on standard input."""
    # Ctrl-C reaches every process of the terminal; the supervisor alone acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    role, name, *descriptors = sys.argv[1:]
    config = read_orders()
    set_up_logging(config, role)
    try:
        # Each role brings in only what it needs: imports are most of a start.
        if role == "worker":
            from treadle.server.worker_process import run_worker

            run_worker(config, name, int(descriptors[0]))
        else:
            from treadle.server.loader_process import run_loader

            run_loader(config)
    except TreadleError as error:
        logger.error("%s", error)  # noqa: TRY400 - one sentence for the operator, no traceback
        return 2
    return 0
