"""`/v1/query` and the rows of a table: questions to destinations, answered by the desk."""

from dataclasses import dataclass
from typing import Annotated, Any

import anyio.to_thread
from fastapi import Depends, Query, Request
from fastapi import Path as InPath
from pydantic import WithJsonSchema
from starlette.responses import Response

from treadle.control import query_requests
from treadle.control.asking import DeskAsking
from treadle.control.query_operations import QueryOperations, QuerySettings
from treadle.control.query_responses import (
    QuestionAnswer,
    QuestionRefusal,
    RunStatement,
    StoppedQuestion,
)
from treadle.control.routes import (
    BODY_RESPONSES,
    COMMON_RESPONSES,
    AuthenticatedAccount,
    RawBody,
    Runner,
    SourceId,
    describe_body,
    describe_refusal,
    make_router,
)
from treadle.control.schemas import CodedAnswer, NoRouteAnswer
from treadle.http.path_convertor import TABLE_IN_PATH
from treadle.http.responses import JsonResponse
from treadle.questions import refusals
from treadle.questions.orders import NEWEST_DEFAULT, AnswerFormat


@dataclass(frozen=True, slots=True)
class QueryRoom:
    """What the routes need.

    Attributes:
        settings: what is allowed.
        asking: of the desk.
    """

    settings: QuerySettings
    asking: DeskAsking


def _get_room(request: Request) -> QueryRoom:
    room: QueryRoom = request.app.state.query
    return room


Room = Annotated[QueryRoom, Depends(_get_room)]
QuestionId = Annotated[str, InPath(description="id of the query")]
TableInPath = Annotated[str, InPath(description="name of the table, as sent in pushes")]
RowLimit = Annotated[
    str | None,
    Query(description="how many rows at most"),
    WithJsonSchema(
        {
            "type": "integer",
            "minimum": 1,
            "maximum": query_requests.ROWS_LIMIT_MAX,
            "default": NEWEST_DEFAULT,
        }
    ),
]
NamedFormat = Annotated[
    str | None,
    Query(alias="format", description="what the header Accept says if left out"),
    WithJsonSchema({"type": "string", "enum": [each.value for each in AnswerFormat]}),
]


def _describe_asking(more: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    return more | describe_refusal(
        503,
        QuestionRefusal,
        "the database or the desk cannot answer now, or too many questions are under way",
    )


router = make_router(prefix="/v1", responses=COMMON_RESPONSES, tags=["rows"])


@router.post(
    "/query",
    response_model=QuestionAnswer,
    responses=_describe_asking(
        describe_refusal(
            400, QuestionRefusal, "the database refuses the statement, or it was ended"
        )
        | describe_refusal(403, QuestionRefusal, "no statement may be run there")
        | describe_refusal(
            404, QuestionRefusal | NoRouteAnswer | str, "no such destination, or nothing loaded yet"
        )
        | describe_refusal(409, QuestionRefusal, "a query with this id is under way")
    )
    | BODY_RESPONSES,
    openapi_extra=describe_body(RunStatement),
)
async def run_query(
    request: Request, work: Runner, room: Room, who: AuthenticatedAccount, raw: RawBody
) -> Response:
    """Run a statement that reads in a destination of the account.

    It is ended after the time of the setting query_seconds, when it is stopped, and when the client
    goes away. With the format csv, or a header Accept that says text/csv, the answer is CSV, and
    the header Treadle-Truncated says whether there are more rows.
    """
    asked = query_requests.parse_statement(raw)
    format_ = asked.format or query_requests.choose_by_accept(request.headers.get("accept", ""))
    operations = QueryOperations(work.operations.store, room.settings)
    question = await anyio.to_thread.run_sync(operations.plan_statement, who, asked, format_)
    return await room.asking.respond(request, question, format_)


@router.delete(
    "/query/{query_id}",
    response_model=StoppedQuestion,
    responses=_describe_asking(
        describe_refusal(404, QuestionRefusal | NoRouteAnswer, "no such query is under way")
    ),
)
async def stop_query(room: Room, who: AuthenticatedAccount, query_id: QuestionId) -> Response:
    """Stop a query of the account that is under way."""
    client = room.asking.client
    if client is None:
        raise refusals.desk_missing()
    if not await anyio.to_thread.run_sync(client.stop, query_id, who.id):
        raise refusals.question_not_found(query_id[:100])
    return JsonResponse({"id": query_id, "stopped": True})


@router.get(
    f"/sources/{{source_id}}/tables/{TABLE_IN_PATH}/rows",
    response_model=QuestionAnswer,
    responses=_describe_asking(
        describe_refusal(400, QuestionRefusal, "a parameter is wrong, or the query was ended")
        | describe_refusal(403, QuestionRefusal, "the database does not let treadle read")
        | describe_refusal(
            404,
            CodedAnswer | QuestionRefusal | NoRouteAnswer,
            "no such source, or the table has no rows yet",
        )
    ),
)
async def list_table_rows(
    request: Request,
    work: Runner,
    room: Room,
    who: AuthenticatedAccount,
    source_id: SourceId,
    table: TableInPath,
    limit: RowLimit = None,
    format_: NamedFormat = None,
) -> Response:
    """The newest rows of a table as they are in the destination, by `_sdc_batched_at`.

    While a DuckDB file is looked at, loading into it waits.
    """
    count = query_requests.parse_rows_limit(limit, NEWEST_DEFAULT)
    chosen = query_requests.choose_format(format_, request.headers.get("accept", ""))
    operations = QueryOperations(work.operations.store, room.settings)
    question = await anyio.to_thread.run_sync(
        operations.plan_rows, who, source_id, table, count, chosen
    )
    return await room.asking.respond(request, question, chosen)
