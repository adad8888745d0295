"""The preview of a resend: the first records before and after the edit, and their dry run."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread

from treadle.control import errors
from treadle.control.reject_operations import RejectOperations
from treadle.errors import OperatorError, RetriableError
from treadle.records.message_batch import MessageBatch
from treadle.store.model import Account
from treadle.tables.model import Rejection
from treadle.tracking.resend_preview import EditedRecord, find_rejections

if TYPE_CHECKING:
    from treadle.destinations.forecast import LoadForecast

logger: Final = logging.getLogger(__name__)

PlanDryRun = Callable[[int, int, Sequence[MessageBatch]], Awaitable[Sequence["LoadForecast"]]]
"""(account id, source id, batches) -> what a load would do, a table each."""


async def preview_resend(
    rejects: RejectOperations, account: Account, raw: bytes, plan: PlanDryRun
) -> dict[str, Any]:
    """Return the answer of a resend with `dry_run=1`; nothing is sent.

    Args:
        rejects: the operations on rejected records.
        account: whose they are.
        raw: the body of the request.
        plan: plans what would be sent.
    """
    count, edited = await anyio.to_thread.run_sync(rejects.prepare_preview, account, raw)
    refused: dict[str, Rejection | str] = {
        one.reject.id: one.refusal for one in edited if one.refusal is not None
    }
    for source_id in dict.fromkeys(one.reject.source_id for one in edited):
        own = [one for one in edited if one.reject.source_id == source_id and one.batch is not None]
        batches = [one.batch for one in own if one.batch is not None]
        if batches:
            try:
                forecasts = await plan(account.id, source_id, batches)
            except (RetriableError, OperatorError) as error:
                logger.warning("a resend cannot be previewed: %s", error)
                raise errors.destination_not_asked() from error
            refused |= find_rejections(own, forecasts)
    return {
        "dry_run": True,
        "records": count,
        "preview": [_render_preview(one, refused.get(one.reject.id)) for one in edited],
    }


def _render_preview(one: EditedRecord, refused: Rejection | str | None) -> dict[str, Any]:
    rejected = isinstance(refused, Rejection)
    return {
        "reject_id": one.reject.id,
        "before": one.before,
        "after": one.after,
        "outcome": "loads" if refused is None else "rejected" if rejected else "refused",
        "reason": refused.reason if isinstance(refused, Rejection) else refused,
        "code": refused.code.value if isinstance(refused, Rejection) else None,
        "field": refused.field if isinstance(refused, Rejection) else None,
    }
