"""The process that does the work of a start, and ends when the server is announced.

That work needs the store and the destinations, whose modules take 50 MB. It is done once, and the
supervisor stays for months: without those modules it takes half of the memory. The process is
forked and not started anew, because a new interpreter would make each start a tenth of a second
longer.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO, Protocol

from treadle.errors import InternalError, OperatorError, TreadleError

ANNOUNCE = b"announce\n"


class StartupWork(Protocol):
    """What is done before the server's children start, and when they are ready."""

    def prepare(self) -> None:
        """Make the data folder ready for the children."""

    def announce(self) -> None:
        """Tell whoever started the server that it answers."""


class StartupProcess:
    """Does the work of a start in a process of its own."""

    def __init__(self, make_work: Callable[[], StartupWork]) -> None:
        """Fork the process; it begins to prepare at once.

        Args:
            make_work: called in the new process, so that what it imports is imported only there.
                No other thread may run in this one.
        """
        sys.stdout.flush()
        outcome, outcome_end = os.pipe()
        order_end, order = os.pipe()
        self._id = os.fork()
        if self._id == 0:
            os.close(outcome)
            os.close(order)
            os._exit(_do_work(make_work, os.fdopen(outcome_end, "wb"), os.fdopen(order_end, "rb")))
        os.close(outcome_end)
        os.close(order_end)
        self._outcome = os.fdopen(outcome, "rb")
        self._order = os.fdopen(order, "wb", buffering=0)

    def wait_until_prepared(self) -> None:
        """Wait until the data folder is ready.

        Raises:
            OperatorError: what the work found, or that its process was ended.
        """
        with self._outcome:
            found = self._outcome.read()
        if not found:
            self._order.close()
            _, status = os.waitpid(self._id, 0)
            if os.WIFSIGNALED(status):
                name = signal.Signals(os.WTERMSIG(status)).name
                raise OperatorError(
                    f"The process that prepares the data folder was ended by {name}; start treadle "
                    "again, and look for what ends processes when it happens once more."
                )
            sys.exit(os.waitstatus_to_exitcode(status))
        fault: str | None = json.loads(found)
        if fault is not None:
            self.end()
            raise OperatorError(fault)

    def announce(self) -> None:
        """Have the server announced; return when it was."""
        with contextlib.suppress(BrokenPipeError):  # it is logged where it failed
            self._order.write(ANNOUNCE)
        self.end()

    def end(self) -> None:
        """Have the process end if it has not, and wait for that."""
        if self._order.closed:
            return
        self._order.close()
        os.waitpid(self._id, 0)


def _do_work(make_work: Callable[[], StartupWork], outcome: BinaryIO, order: BinaryIO) -> int:
    """Prepare, tell the outcome, and announce when that is ordered; return the exit code."""
    try:
        work = make_work()
        try:
            work.prepare()
        except InternalError:
            raise
        except TreadleError as error:
            _tell_outcome(outcome, str(error))
            return 2
        _tell_outcome(outcome, None)
        if order.read():  # nothing when the server ends before it answers
            work.announce()
    except KeyboardInterrupt:
        return 130
    except BaseException:  # noqa: BLE001 - the process ends, and says why
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _tell_outcome(outcome: BinaryIO, fault: str | None) -> None:
    with outcome:
        outcome.write(json.dumps(fault).encode())
