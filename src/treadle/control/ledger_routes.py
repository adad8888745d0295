"""`GET /v1/ledger`: tells what became of every record that an account's sources sent."""

from collections.abc import Callable
from typing import Annotated, Final

from fastapi import Query, Request
from pydantic import Field
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.load_operations import invalid_parameter
from treadle.control.load_report_routes import OnlySourceId
from treadle.control.lookups import parse_id
from treadle.control.routes import (
    COMMON_RESPONSES,
    AuthenticatedAccount,
    Runner,
    describe_refusal,
    make_router,
)
from treadle.control.schemas import Id, MessageAnswer, component
from treadle.log.protocol import LogReader
from treadle.store.store import Store
from treadle.timestamps import format_seconds
from treadle.tracking.ledger import LedgerLine, compute_page, sum_lines

TABLES_MAX: Final = 1000
"""Tables of one answer: each takes several questions to the log and the store."""

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

    total: Annotated[LedgerSums, Field(description="of the tables of this answer")]
    hours: list[LedgerHour]
    next: Annotated[
        str | None,
        Field(description=f"`after` of the next {TABLES_MAX} tables; null for the last ones"),
    ]


def read_ledger(
    store: Store,
    open_reader: Callable[[], LogReader],
    account_id: int,
    source: str | None,
    after: str | None,
) -> object:
    """Return the answer's value.

    Raises:
        RequestRefusedError: 400, the source is no id, or `after` is no table.
    """
    wanted = {one.id for one in store.sources.list_sources(account_id)}
    if source is not None:
        chosen = parse_id(source)
        if chosen is None:
            raise invalid_parameter("source", "the id of a source")
        wanted &= {chosen}
    begin = None if after is None else parse_table(after)
    reader = open_reader()
    try:
        page = compute_page(store, reader, wanted, begin, TABLES_MAX)
    finally:
        reader.close()
    return {
        "total": _render_sums(sum_lines(page.lines)),
        "hours": [
            {
                "source_id": line.source_id,
                "table": line.table_name,
                "hour": format_seconds(line.hour),
                **_render_sums(line),
            }
            for line in page.lines
        ],
        "next": None if page.last is None else f"{page.last[0]}/{page.last[1]}",
    }


def parse_table(text: str) -> tuple[int, str]:
    """Return the source id and the table name of a text such as `7/orders`.

    Raises:
        RequestRefusedError: 400, it is none.
    """
    source, slash, table = text.partition("/")
    source_id = parse_id(source)
    if source_id is None or not slash:
        raise invalid_parameter("after", "the id of a source, a slash and a table name")
    return source_id, table


def _render_sums(line: LedgerLine) -> dict[str, int]:
    return {
        "accepted": line.accepted,
        "loaded": line.loaded,
        "superseded": line.superseded,
        "rejected": line.rejected,
        "waiting": line.waiting,
    }


AfterTable = Annotated[str | None, Query(description="only the tables after `next` of an answer")]

router = make_router(prefix="/v1", responses=COMMON_RESPONSES)


@router.get(
    "/ledger",
    response_model=LedgerAnswer,
    responses=describe_refusal(400, MessageAnswer, "a parameter is wrong"),
    tags=["loads"],
)
async def show_ledger(
    request: Request,
    work: Runner,
    account: AuthenticatedAccount,
    source: OnlySourceId = None,
    after: AfterTable = None,
) -> Response:
    """The counts of all accepted records, by source, table and hour of acceptance.

    An answer has the hours of 1,000 tables at most, and their sums.
    """
    open_reader: Callable[[], LogReader] = request.app.state.open_reader
    return await work.read(
        read_ledger, work.operations.store, open_reader, account.id, source, after
    )
