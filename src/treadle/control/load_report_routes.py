"""`GET /v1/loads`: the reports of loads (loading.md 11.2), for an account or for a source."""

from typing import Annotated, Final

from fastapi import Query, Request, Security
from pydantic import Field, WithJsonSchema
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control import errors
from treadle.control.lookups import parse_id
from treadle.control.routes import (
    ACCOUNT_TOKEN,
    COMMON_RESPONSES,
    POSITIVE_ID,
    Runner,
    describe_refusal,
    make_router,
)
from treadle.control.schemas import Id, MessageAnswer, component
from treadle.errors import RequestRefusedError
from treadle.http.headers import read_peer
from treadle.store.model import TokenHolder, TokenOwner
from treadle.store.store import Store
from treadle.tracking.load_reports import render_load_report

REPORTS_DEFAULT: Final = 100
REPORTS_MAX: Final = 1000

Count = Annotated[int, Field(ge=0)]
MicrosecondTime = Annotated[str, Field(description="RFC 3339, UTC, microseconds")]


@component("LeftOutField")
class LeftOutField(TypedDict):
    """A field that records were loaded without."""

    table: Annotated[str, Field(description="that it would be in")]
    field: str
    reason: Annotated[str, Field(description="as in _sdc_rejected")]
    records: Count


@component("RoundedField")
class RoundedField(TypedDict):
    """A field with values that its column does not hold exactly."""

    table: str
    field: str
    values: Annotated[int, Field(ge=0, description="of records that were not rejected")]


@component("Report")
class LoadReportAnswer(TypedDict):
    """One load of one table, or a try that failed."""

    load_id: str
    source_id: Id
    table: Annotated[str, Field(description="as sent")]
    started_at: MicrosecondTime
    finished_at: MicrosecondTime
    rows_received: Count
    rows_loaded: Count
    rows_discarded: Annotated[int, Field(ge=0, description="lost against a higher sequence")]
    rows_rejected: Annotated[int, Field(ge=0, description="are in _sdc_rejected")]
    tables: Annotated[dict[str, int], Field(description="destination table -> rows written")]
    fields_left_out: Annotated[list[str], Field(description="their names, without repetition")]
    left_out: Annotated[
        list[LeftOutField], Field(description="fields that records were loaded without")
    ]
    rounded: Annotated[
        list[RoundedField], Field(description="fields with values that were rounded")
    ]
    columns_added: list[str]
    columns_renamed: Annotated[list[list[str]], Field(description="pairs of old and new name")]
    nul_characters_removed: Count
    table_version: int
    trouble: Annotated[
        str | None,
        Field(description="what somebody should know, as that all records were rejected"),
    ]
    error: Annotated[str | None, Field(description="why the try failed; its records wait")]


@component("Reports")
class LoadReportPage(TypedDict):
    """Load reports, newest first."""

    loads: list[LoadReportAnswer]
    next: Annotated[str | None, Field(description="`before` of the next page; null on the last")]


def invalid_parameter(name: str, expected: str) -> RequestRefusedError:
    """Refuse a query parameter of a wrong form."""
    return RequestRefusedError(400, {"message": f"{name} is {expected}"})


def list_reports(
    store: Store,
    asking: TokenHolder | TokenOwner,
    source: str | None,
    table: str | None,
    before: str | None,
    limit: str | None,
) -> object:
    """Return the answer's value.

    Raises:
        RequestRefusedError: 400 for a parameter that is wrong.
    """
    if isinstance(asking, TokenHolder):
        account_id, source_id = asking.account.id, None
    else:
        account_id, source_id = asking.account_id, asking.source_id
    if source is not None:
        wanted = parse_id(source)
        if wanted is None:
            raise invalid_parameter("source", "the id of a source")
        if source_id not in (None, wanted):
            return {"loads": [], "next": None}
        source_id = wanted
    count = REPORTS_DEFAULT if limit is None else parse_id(limit)
    if count is None or count > REPORTS_MAX:
        raise invalid_parameter("limit", f"a number from 1 to {REPORTS_MAX}")
    found = store.loads.list_loads(
        account_id=account_id,
        source_id=source_id,
        table_name=table,
        limit=count + 1,
        before=before,
    )
    shown = found[:count]
    return {
        "loads": [render_load_report(load) for load in shown],
        "next": shown[-1].id if len(found) > count else None,
    }


OnlySourceId = Annotated[
    str | None, Query(description="only of the source with this id"), POSITIVE_ID
]
TableName = Annotated[str | None, Query(description="only of tables of this name, as sent")]
Before = Annotated[str | None, Query(description="only loads before the one with this id")]
Limit = Annotated[
    str | None,
    Query(description="how many at most"),
    WithJsonSchema(
        {"type": "integer", "minimum": 1, "maximum": REPORTS_MAX, "default": REPORTS_DEFAULT}
    ),
]

router = make_router(prefix="/v1", responses=COMMON_RESPONSES)


@router.get(
    "/loads",
    response_model=LoadReportPage,
    responses=describe_refusal(400, MessageAnswer, "a parameter is wrong"),
    tags=["loads"],
)
async def list_load_reports(
    request: Request,
    work: Runner,
    _: Annotated[object, Security(ACCOUNT_TOKEN)],
    source: OnlySourceId = None,
    table: TableName = None,
    before: Before = None,
    limit: Limit = None,
) -> Response:
    """The loads of an account, newest first, with what each did; failed tries are among them.

    With an Import API access token instead of an account token: the loads of its source.
    """
    asking = await work.authentication.find_either(request.headers)
    if asking is None:
        raise errors.not_authorized()
    if isinstance(asking, TokenHolder):
        work.count_use(asking.token_id, read_peer(request.scope))
    return await work.read(
        list_reports, work.operations.store, asking, source, table, before, limit
    )
