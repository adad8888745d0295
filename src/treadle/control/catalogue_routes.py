"""`/v1/sources/{source_id}/...`: the tables of a source as the store and the log know them."""

from typing import Annotated, Final, Literal

from fastapi import Path as InPath
from fastapi import Query, Request
from pydantic import Field, WithJsonSchema
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.catalogue_operations import (
    TABLES_MAX,
    CatalogueOperations,
    parse_table_question,
)
from treadle.control.load_report_routes import Count, MicrosecondTime, SchemaChangeAnswer
from treadle.control.operations import ConnectOperations
from treadle.control.routes import (
    COMMON_RESPONSES,
    AuthenticatedAccount,
    AuthenticatedCaller,
    Runner,
    SourceId,
    describe_refusal,
    make_router,
)
from treadle.control.schemas import CodedAnswer, Id, MessageAnswer, NoRouteAnswer, component
from treadle.control.waiting_view import WaitingView
from treadle.http.path_convertor import TABLE_IN_PATH
from treadle.store.model import Account
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.tracking.table_lists import LoadingState, TableOrder

TABLES_PATH: Final = "/sources/{source_id}/tables"
ONE_TABLE_PATH: Final = f"{TABLES_PATH}/{TABLE_IN_PATH}"

StateWord = Literal["idle", "loading", "waiting", "failing", "stopped"]
Microseconds = Annotated[int | None, Field(description="microseconds; null where none is known")]


@component("TableStates")
class TableStatesAnswer(TypedDict):
    """How many tables are in each state."""

    idle: Annotated[int, Field(ge=0, description="nothing waits")]
    loading: Annotated[int, Field(ge=0, description="records are loaded within seconds")]
    waiting: Annotated[int, Field(ge=0, description="no destination can be used now")]
    failing: Annotated[int, Field(ge=0, description="the last try failed and is repeated")]
    stopped: Annotated[int, Field(ge=0, description="not tried again until somebody acts")]


@component("TableTotals")
class TableTotalsAnswer(TypedDict):
    """Records and loads since the store was made."""

    received: Count
    rejected: Count
    damaged: Annotated[int, Field(ge=0, description="entries of the log that were left out")]
    loaded: Count
    superseded: Count
    loads: Count
    failures: Count


@component("RecentLoads")
class RecentLoadsAnswer(TypedDict):
    """The sums of loads of the last 24 hours, of the newest 10,000 at most."""

    since: Annotated[str, Field(description="the time from which on they are complete")]
    loads: Count
    failures: Annotated[int, Field(ge=0, description="tries that failed")]
    received: Count
    loaded: Count
    superseded: Count
    rejected: Count
    waited_max_us: Microseconds
    waited_p50_us: Microseconds


@component("SourceDestination")
class SourceDestinationAnswer(TypedDict):
    """Where a source is loaded."""

    destination_id: Id
    type: str
    name: str
    usable: Annotated[bool, Field(description="records are loaded into it now")]
    trouble: str | None


@component("SourceSummary")
class SourceSummaryAnswer(TypedDict):
    """A source with the sums of its tables."""

    source_id: Id
    name: str
    display_name: str
    schema: Annotated[str, Field(description="that it fills")]
    state: Literal["active", "paused", "deleted"]
    tables: Count
    states: TableStatesAnswer
    waiting_records: Count
    waiting_bytes: Count
    oldest_waiting_at: MicrosecondTime | None
    last_load_at: MicrosecondTime | None
    last_used_at: Annotated[str | None, Field(description="of its active tokens")]
    active_tokens: Count
    totals: TableTotalsAnswer
    recent: RecentLoadsAnswer
    destination: SourceDestinationAnswer | None


@component("ListedTable")
class ListedTableAnswer(TypedDict):
    """A table of a source; the numbers are since the store was made."""

    table: Annotated[str, Field(description="as sent")]
    state: StateWord
    waiting_records: Count
    waiting_bytes: Count
    oldest_waiting_at: MicrosecondTime | None
    last_load_at: MicrosecondTime | None
    received: Count
    loaded: Count
    superseded: Count
    rejected: Count
    loads: Count
    failures: Count
    error: Annotated[str | None, Field(description="why the last try failed")]
    error_since: MicrosecondTime | None
    trouble: Annotated[str | None, Field(description="what somebody should know of its last load")]
    trouble_since: MicrosecondTime | None
    version: Annotated[int | None, Field(description="the table version")]
    mode: Annotated[str | None, Field(description="upsert or append")]


@component("TablePage")
class TablePageAnswer(TypedDict):
    """Tables of a source."""

    tables: list[ListedTableAnswer]
    next: Annotated[str | None, Field(description="`after` of the next page; null on the last")]
    total: Annotated[int, Field(ge=0, description="tables that fit the question, on all pages")]
    states: Annotated[TableStatesAnswer, Field(description="of those that fit `q`")]


@component("TableColumn")
class TableColumnAnswer(TypedDict):
    """A column, as the last load left it."""

    column: str
    field: Annotated[str | None, Field(description="of the records; null for one of treadle")]
    type: str
    nullable: bool
    first_seen_at: Annotated[
        str | None, Field(description="the load that made it; null where that is not known")
    ]


@component("TableRelation")
class TableRelationAnswer(TypedDict):
    """The table in the destination, or a subtable."""

    relation: Annotated[str, Field(description="its name in the destination")]
    parent: Annotated[str | None, Field(description="the relation that it is inside of")]
    path: Annotated[list[str], Field(description="fields that lead to its array")]
    recent_rows: Annotated[int, Field(ge=0, description="written by the loads of `recent`")]
    columns: Annotated[list[TableColumnAnswer], Field(description="those of a field in a row")]


@component("TableLeftOut")
class TableLeftOutAnswer(TypedDict):
    """A field that loads left out."""

    relation: str
    field: str
    reason: str
    since: MicrosecondTime
    load_id: Annotated[str, Field(description="of the first such load")]


@component("WholeTable")
class WholeTableAnswer(ListedTableAnswer):
    """All that is known of a table without its destination."""

    source_id: Id
    schema: str
    rebuilt_at: MicrosecondTime | None
    recent: RecentLoadsAnswer
    key: Annotated[list[str], Field(description="fields; none for a generated key")]
    relations: list[TableRelationAnswer]
    left_out: list[TableLeftOutAnswer]


@component("SchemaEvent")
class SchemaEventAnswer(TypedDict):
    """All that one load changed of a table, or what befell it."""

    event_id: Id
    source_id: Id
    table: str
    at: MicrosecondTime
    kind: Literal[
        "table_added", "schema_changed", "table_stopped", "table_resumed", "table_rebuilt"
    ]
    load_id: str | None
    reason: Annotated[str | None, Field(description="why the table stopped")]
    text: Annotated[str, Field(description="the same in words")]
    changes: list[SchemaChangeAnswer]


@component("TableHistory")
class TableHistoryAnswer(TypedDict):
    """Events of a table, newest first."""

    events: list[SchemaEventAnswer]
    next: Annotated[str | None, Field(description="`before` of the next page; null on the last")]


@component("LoadRequest")
class LoadRequestAnswer(TypedDict):
    """A load that was asked for."""

    table: str
    state: Annotated[StateWord, Field(description="before the load")]
    waiting_records: Annotated[int, Field(ge=0, description="with 0 there is nothing to load")]
    requested_at: MicrosecondTime


TableInPath = Annotated[str, InPath(description="name of the table, as sent in pushes")]
OnlyState = Annotated[
    str | None,
    Query(description="only tables in this state, or in several, with commas"),
    WithJsonSchema({"type": "string", "examples": [word.value for word in LoadingState]}),
]
SearchText = Annotated[
    str | None, Query(alias="q", description="only tables with this text in their name")
]
SortOrder = Annotated[
    str | None,
    Query(description="by name, or the table that matters most first"),
    WithJsonSchema({"type": "string", "enum": [word.value for word in TableOrder]}),
]
AfterPlace = Annotated[str | None, Query(description="only tables after `next` of an answer")]
TableLimit = Annotated[
    str | None,
    Query(description="how many at most"),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": TABLES_MAX, "default": TABLES_MAX}),
]
BeforeEvent = Annotated[
    str | None,
    Query(description="only events before the one with this id"),
    WithJsonSchema({"type": "integer", "minimum": 1}),
]

_BAD = describe_refusal(400, MessageAnswer, "a parameter is wrong")
_NO_SOURCE = describe_refusal(404, CodedAnswer | NoRouteAnswer, "no such source")
_NO_TABLE = describe_refusal(404, CodedAnswer | NoRouteAnswer, "no such source, or no such table")
_NOT_FAILING = describe_refusal(409, CodedAnswer, "the last try of the table did not fail")

router = make_router(prefix="/v1", responses=COMMON_RESPONSES, tags=["tables"])


def take_catalogue(request: Request, operations: ConnectOperations) -> CatalogueOperations:
    """Return the operations on tables with the store of those given, which knows who acts."""
    waiting: WaitingView = request.app.state.waiting
    return CatalogueOperations(operations.store, waiting, operations.clock)


@router.get(
    "/sources/{source_id}/summary", response_model=SourceSummaryAnswer, responses=_NO_SOURCE
)
async def get_source_summary(
    request: Request, work: Runner, who: AuthenticatedAccount, source_id: SourceId
) -> Response:
    """A source with its tables, what waits, and what its loads did in the last 24 hours."""
    catalogue = take_catalogue(request, work.operations)
    return await work.read(catalogue.summarize_source, who, source_id)


@router.get(TABLES_PATH, response_model=TablePageAnswer, responses=_BAD | _NO_SOURCE)
async def list_source_tables(
    request: Request,
    work: Runner,
    who: AuthenticatedAccount,
    source_id: SourceId,
    state: OnlyState = None,
    search: SearchText = None,
    sort: SortOrder = None,
    after: AfterPlace = None,
    limit: TableLimit = None,
) -> Response:
    """The tables of a source that were loaded, tried, or wait for that, with their states."""
    question = parse_table_question(state, search, sort, after, limit)
    catalogue = take_catalogue(request, work.operations)
    return await work.read(catalogue.list_source_tables, who, source_id, question)


# The paths with an ending come before the one without: a table name may have slashes.


@router.get(
    f"{ONE_TABLE_PATH}/history", response_model=TableHistoryAnswer, responses=_BAD | _NO_TABLE
)
async def list_table_history(
    request: Request,
    work: Runner,
    who: AuthenticatedAccount,
    source_id: SourceId,
    table: TableInPath,
    before: BeforeEvent = None,
    limit: TableLimit = None,
) -> Response:
    """What loads and others changed of a table: its last 1,000 events, newest first."""
    catalogue = take_catalogue(request, work.operations)
    return await work.read(catalogue.list_history, who, source_id, table, before, limit)


@router.get(ONE_TABLE_PATH, response_model=WholeTableAnswer, responses=_NO_TABLE)
async def get_source_table(
    request: Request,
    work: Runner,
    who: AuthenticatedAccount,
    source_id: SourceId,
    table: TableInPath,
) -> Response:
    """A table with its columns, subtables and left-out fields, as its last load left them."""
    catalogue = take_catalogue(request, work.operations)
    return await work.read(catalogue.get_source_table, who, source_id, table)


@router.post(f"{ONE_TABLE_PATH}/load", response_model=LoadRequestAnswer, responses=_NO_TABLE)
async def load_table(
    request: Request,
    work: Runner,
    who: AuthenticatedCaller,
    source_id: SourceId,
    table: TableInPath,
) -> Response:
    """Load what waits of a table now, whatever its age. It is begun within a second or so."""

    def run(bound: ConnectOperations, account: Account) -> object:
        return take_catalogue(request, bound).load_table(account, source_id, table)

    return await work.change(
        who, TrailAction.LOAD_TABLE, TrailTarget(TargetKind.TABLE, source_id, table), run
    )


@router.post(
    f"{ONE_TABLE_PATH}/retry", response_model=LoadRequestAnswer, responses=_NO_TABLE | _NOT_FAILING
)
async def retry_table(
    request: Request,
    work: Runner,
    who: AuthenticatedCaller,
    source_id: SourceId,
    table: TableInPath,
) -> Response:
    """Try a table again that stopped or failed, without waiting for its next try."""

    def run(bound: ConnectOperations, account: Account) -> object:
        return take_catalogue(request, bound).retry_table(account, source_id, table)

    return await work.change(
        who, TrailAction.RETRY_TABLE, TrailTarget(TargetKind.TABLE, source_id, table), run
    )
