"""What pages ask beside the store: the log, the desk, and the dry run of a load."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from treadle.control.query_operations import QuerySettings
from treadle.control.reject_preview import PlanDryRun
from treadle.control.waiting_view import WaitingView
from treadle.errors import RetriableError
from treadle.log.protocol import LogReader
from treadle.questions.client import DeskClient
from treadle.records.message_batch import MessageBatch

if TYPE_CHECKING:
    from treadle.destinations.forecast import LoadForecast


def _open_nothing() -> LogReader:
    raise RetriableError("There is no log to read here.")


async def _plan_nothing(
    account_id: int, source_id: int, batches: Sequence[MessageBatch]
) -> "Sequence[LoadForecast]":
    raise RetriableError("nothing is planned here")


@dataclass(frozen=True, slots=True)
class PageReach:
    """What pages ask beside the store.

    Attributes:
        waiting: what waits in the log, of each table.
        open_reader: opens the log; who opens it closes it.
        desk: answers questions to destinations; None where there is none.
        query: what such questions may do.
        plan_dry_run: plans what would be loaded; awaited on the event loop.
    """

    waiting: WaitingView = field(default_factory=lambda: WaitingView(None))
    open_reader: Callable[[], LogReader] = _open_nothing
    desk: DeskClient | None = None
    query: QuerySettings = field(default_factory=QuerySettings)
    plan_dry_run: PlanDryRun = _plan_nothing
