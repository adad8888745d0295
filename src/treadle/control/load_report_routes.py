"""`/v1/loads`: the reports of loads (loading.md 11.2), for an account or for a source."""

from typing import Annotated, Any

from fastapi import Path as InPath
from fastapi import Query, Request, Security
from pydantic import Field, WithJsonSchema
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control import errors
from treadle.control.load_operations import (
    REPORTS_DEFAULT,
    REPORTS_MAX,
    get_report,
    list_reports,
    parse_load_filter,
)
from treadle.control.routes import (
    ACCOUNT_TOKEN,
    COMMON_RESPONSES,
    POSITIVE_ID,
    Runner,
    describe_refusal,
    make_router,
)
from treadle.control.schemas import CodedAnswer, Id, MessageAnswer, NoRouteAnswer, component
from treadle.http.headers import read_peer
from treadle.store.model import TokenHolder, TokenOwner

Count = Annotated[int, Field(ge=0)]
MicrosecondTime = Annotated[str, Field(description="RFC 3339, UTC, microseconds")]


@component("LeftOutField")
class LeftOutAnswer(TypedDict):
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
    loads: Annotated[
        int, Field(ge=1, description="1, or how many loads of an hour it sums, after a day")
    ]
    rows_received: Count
    rows_loaded: Count
    rows_discarded: Annotated[int, Field(ge=0, description="lost against a higher sequence")]
    rows_rejected: Annotated[int, Field(ge=0, description="are in _sdc_rejected")]
    waited_max_us: Annotated[
        int | None,
        Field(description="microseconds that the record waited that waited longest, until loaded"),
    ]
    waited_p50_us: Annotated[
        int | None, Field(description="the median of that; both null for a try that failed")
    ]
    tables: Annotated[dict[str, int], Field(description="destination table -> rows written")]
    fields_left_out: Annotated[list[str], Field(description="their names, without repetition")]
    left_out: Annotated[
        list[LeftOutAnswer], Field(description="fields that records were loaded without")
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


@component("SchemaChange")
class SchemaChangeAnswer(TypedDict):
    """Something that a load changed of the schema of its table."""

    kind: Annotated[str, Field(description="a word such as column_added")]
    text: Annotated[str, Field(description="the same in words")]
    relation: Annotated[str | None, Field(description="destination table")]
    column: str | None
    field: Annotated[str | None, Field(description="of the records")]
    type: str | None
    record: Annotated[
        str | None, Field(description="the first that brought it, position of its entry and index")
    ]
    detail: dict[str, Any]


@component("EntryRange")
class EntryRangeAnswer(TypedDict):
    """Entries of the log, by position."""

    first: int
    last: int


@component("LoadDelivery")
class LoadDeliveryAnswer(TypedDict):
    """What a hook was told of a load."""

    hook_id: Id
    delivery_id: str
    state: Annotated[str, Field(description="waiting, delivered or failed")]


@component("WholeReport")
class WholeReportAnswer(LoadReportAnswer):
    """All that is known of one load."""

    entries: Annotated[EntryRangeAnswer, Field(description="the first and the last that it took")]
    duration_us: Annotated[int, Field(description="microseconds")]
    schema_changes: list[SchemaChangeAnswer]
    new_version: Annotated[bool, Field(description="it emptied the table for newer rows")]
    deliveries: Annotated[
        list[LoadDeliveryAnswer], Field(description="to hooks, of which an import token sees none")
    ]


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

OnlyFailed = Annotated[
    str | None,
    Query(description="true for tries that failed alone, false for committed loads alone"),
    WithJsonSchema({"type": "boolean"}),
]
OnlyChanged = Annotated[
    str | None,
    Query(description="true for loads that changed the schema of their table, false for others"),
    WithJsonSchema({"type": "boolean"}),
]
FromTime = Annotated[
    str | None, Query(alias="from", description="only loads that finished at or after this time")
]
ToTime = Annotated[
    str | None, Query(alias="to", description="only loads that finished before this time")
]
LoadId = Annotated[str, InPath(description="id of the load")]

router = make_router(prefix="/v1", responses=COMMON_RESPONSES)


async def _find_asking(request: Request, work: Runner) -> TokenHolder | TokenOwner:
    """Return whose token the request has, an account token or an Import API access token.

    Raises:
        RequestRefusedError: 401, it has none.
    """
    asking = await work.authentication.find_either(request.headers)
    if asking is None:
        raise errors.not_authorized()
    if isinstance(asking, TokenHolder):
        work.count_use(asking.token_id, read_peer(request.scope))
    return asking


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
    failed: OnlyFailed = None,
    changed: OnlyChanged = None,
    since: FromTime = None,
    until: ToTime = None,
    before: Before = None,
    limit: Limit = None,
) -> Response:
    """The loads of an account, newest first, with what each did; failed tries are among them.

    With an Import API access token instead of an account token: the loads of its source.
    """
    asking = await _find_asking(request, work)
    chosen = parse_load_filter(failed, changed, since, until)
    return await work.read(
        list_reports, work.operations.store, asking, source, table, before, limit, chosen
    )


@router.get(
    "/loads/{load_id}",
    response_model=WholeReportAnswer,
    responses=describe_refusal(404, CodedAnswer | NoRouteAnswer, "no such load, or no longer"),
    tags=["loads"],
)
async def get_load_report(
    request: Request,
    work: Runner,
    _: Annotated[object, Security(ACCOUNT_TOKEN)],
    load_id: LoadId,
) -> Response:
    """One load with all that is known of it.

    With an Import API access token instead of an account token: of the loads of its source.
    """
    asking = await _find_asking(request, work)
    return await work.read(get_report, work.operations.store, asking, load_id)
