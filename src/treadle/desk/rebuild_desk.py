"""The desk's third task: it has tables built again from the log that people asked for.

A task process does it, of bounded memory, so that DuckDB is not in the desk. A desk that is killed
is followed by one that begins the rebuild again: until the swap, which is one transaction, nothing
of the table is changed.
"""

import logging
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from treadle.desk.check_desk import select_environment
from treadle.errors import InternalError, OperatorError, RetriableError, TreadleError
from treadle.store.operations import REBUILD, RebuildOrder, ServerOperation
from treadle.store.store import Store
from treadle.tasks.task_channel import TaskRequest
from treadle.tasks.task_process import TaskAbandonedError, TaskLimitError, TaskProcess

logger = logging.getLogger("treadle.desk")

POLL_SECONDS: Final = 1.0
"""How often the store is asked for rebuilds, and whether one that goes on was stopped."""

CLAIM_US: Final = 90_000_000

REBUILD_MEMORY_MAX: Final = 2 * 1024 * 1024 * 1024
"""Memory of a rebuild: what the loader may take, and what comes around it."""

REBUILD_SECONDS_MAX: Final = 6 * 3600
"""How long a rebuild may take."""

FUNCTION: Final = "treadle.server.rebuild_task:rebuild_table"


@dataclass(slots=True)
class RebuildDesk:
    """Has tables built again, one at a time.

    Attributes:
        store: has the rebuilds that were asked for.
        config: the settings, as a task process gets them.
        place: where it runs, see `ClusterMember.place`.
        function: of the task process.
        make_process: makes a task process.
    """

    store: Store
    config: str = field(repr=False)
    place: str
    function: str = FUNCTION
    make_process: Callable[[], TaskProcess] = lambda: TaskProcess(
        REBUILD_MEMORY_MAX, REBUILD_SECONDS_MAX, select_environment(os.environ)
    )
    _holder: str = field(default_factory=lambda: str(uuid.uuid4()))
    _wake: threading.Event = field(default_factory=threading.Event)
    _is_stopped: bool = False

    def run(self) -> None:
        """Carry out rebuilds until `stop`; one that goes on then begins again later."""
        while not self._is_stopped:
            self._wake.clear()
            if not self.run_once() and not self._is_stopped:
                self._wake.wait(POLL_SECONDS)

    def wake(self) -> None:
        """Look at once whether there is a rebuild; may be called from any thread."""
        self._wake.set()

    def stop(self) -> None:
        """Let `run` end; may be called from a signal handler."""
        self._is_stopped = True
        self._wake.set()

    def run_once(self) -> bool:
        """Carry out the rebuild that waits longest, if there is one; return whether there was."""
        operations = self.store.operations
        try:
            found = operations.claim_operation(self.place, self._holder, CLAIM_US, REBUILD)
            if found is None:
                return False
            self._carry_out(found)
        except (OperatorError, RetriableError) as error:
            logger.warning("a rebuild waits: %s", error)
            return False
        return True

    def _carry_out(self, operation: ServerOperation) -> None:
        result: dict[str, Any] | None = None
        error: str | None = None
        done = threading.Event()
        process = self.make_process()
        watcher = threading.Thread(target=self._watch, args=(operation.id, process, done))
        watcher.start()
        try:
            payload = msgspec.json.encode(
                {
                    "config": self.config,
                    "operation_id": operation.id,
                    "holder": self._holder,
                    "lasts": CLAIM_US,
                    "order": RebuildOrder(**operation.detail),
                }
            )
            request = TaskRequest(self.function, REBUILD_SECONDS_MAX, payload)
            result = msgspec.json.decode(process.run(request), type=dict[str, Any])
        except TaskAbandonedError:
            return  # it was stopped, or the desk is ending
        except TaskLimitError as limit:
            error = f"it took more than it may: {limit}. `treadle replay` has no such limit"
        except InternalError:
            logger.exception("rebuild %d failed by a fault of treadle", operation.id)
            error = "a fault of the server; its log has more"
        except TreadleError as failed:
            error = str(failed)
        finally:
            done.set()
            watcher.join()
            process.close()
        self.store.operations.finish_rebuild(operation.id, self._holder, result, error)
        logger.info("rebuild %d is %s", operation.id, "done" if error is None else "failed")

    def _watch(self, operation_id: int, process: TaskProcess, done: threading.Event) -> None:
        """Keep the claim while the process works, and end it when it is to end."""
        while not done.wait(POLL_SECONDS):
            goes_on = not self._is_stopped
            try:
                goes_on = goes_on and self.store.operations.record_built(
                    operation_id, self._holder, CLAIM_US, None
                )
            except (OperatorError, RetriableError) as error:
                logger.warning("the claim of rebuild %d is not kept: %s", operation_id, error)
            if not goes_on:
                process.kill_current()
