"""`GET /v1/ledger`: tells what became of every record that an account's sources sent."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.load_report_routes import OnlySourceId, invalid_parameter
from treadle.control.lookups import parse_id
from treadle.control.routes import COMMON_RESPONSES, AuthenticatedAccount, Runner, describe_refusal
from treadle.control.schemas import Id, MessageAnswer, component
from treadle.log.protocol import LogReader
from treadle.store.store import Store
from treadle.timestamps import format_seconds
from treadle.tracking.ledger import LedgerLine, compute_ledger, sum_lines

NonNegativeCount = Annotated[int, Field(ge=0)]


@component("Sums")
class LedgerSums(TypedDict):
    """accepted = loaded + superseded + rejected + waiting."""

    accepted: NonNegativeCount
    loaded: NonNegativeCount
    superseded: Annotated[int, Field(ge=0, description="lost against a higher sequence")]
    rejected: Annotated[int, Field(ge=0, description="are in _sdc_rejected, or were damaged")]
    waiting: NonNegativeCount


@component("Hour")
class LedgerHour(LedgerSums):
    """Records of one table, accepted in one hour."""

    source_id: Id
    table: Annotated[str, Field(description="as sent")]
    hour: Annotated[str, Field(description="its beginning, RFC 3339, UTC")]


@component("Ledger")
class LedgerAnswer(TypedDict):
    """What became of accepted records, as far back as requests are kept."""

    total: LedgerSums
    hours: list[LedgerHour]


def read_ledger(
    store: Store, open_reader: Callable[[], LogReader], account_id: int, source: str | None
) -> object:
    """Return the answer's value.

    Raises:
        RequestRefusedError: 400, the source is no id.
    """
    wanted = {one.id for one in store.sources.list_sources(account_id)}
    if source is not None:
        chosen = parse_id(source)
        if chosen is None:
            raise invalid_parameter("source", "the id of a source")
        wanted &= {chosen}
    reader = open_reader()
    try:
        lines = compute_ledger(store, reader.statistics, wanted)
    finally:
        reader.close()
    return {
        "total": _render_sums(sum_lines(lines)),
        "hours": [
            {
                "source_id": line.source_id,
                "table": line.table_name,
                "hour": format_seconds(line.hour),
                **_render_sums(line),
            }
            for line in lines
        ],
    }


def _render_sums(line: LedgerLine) -> dict[str, int]:
    return {
        "accepted": line.accepted,
        "loaded": line.loaded,
        "superseded": line.superseded,
        "rejected": line.rejected,
        "waiting": line.waiting,
    }


router = APIRouter(prefix="/v1", responses=COMMON_RESPONSES)


@router.get(
    "/ledger",
    response_model=LedgerAnswer,
    responses=describe_refusal(400, MessageAnswer, "a parameter is wrong"),
    tags=["loads"],
)
async def show_ledger(
    request: Request, work: Runner, account: AuthenticatedAccount, source: OnlySourceId = None
) -> Response:
    """What became of every accepted record, by source, table and hour of acceptance."""
    open_reader: Callable[[], LogReader] = request.app.state.open_reader
    return await work.read(read_ledger, work.operations.store, open_reader, account.id, source)
