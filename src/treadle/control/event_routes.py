"""`GET /v1/events`: what happens, as server-sent events."""

from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import Depends, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from treadle.control.event_hub import EventHub, EventStream, format_event
from treadle.control.event_readings import TOPICS
from treadle.control.load_operations import invalid_parameter
from treadle.control.routes import (
    COMMON_RESPONSES,
    AuthenticatedCaller,
    describe_refusal,
    make_router,
)
from treadle.control.schemas import MessageAnswer

HEADERS: Final = {"X-Accel-Buffering": "no"}
"""For proxies: an event is passed on when it comes."""

EXAMPLE: Final = format_event(
    "reject",
    {
        "load_id": "8934a4cd-4d60-48c9-85e4-e95cab6d4cae",
        "source_id": 7,
        "table": "orders",
        "rejected_at": "2026-01-01T12:00:00.000000Z",
        "records": 3,
    },
    "512-90331-1767268800000000",
).decode()


def _get_hub(request: Request) -> EventHub:
    hub: EventHub = request.app.state.events
    return hub


Hub = Annotated[EventHub, Depends(_get_hub)]
TopicNames = Annotated[
    str | None,
    Query(description="with commas between them: " + ", ".join(TOPICS) + "; all by default"),
]
LastEventId = Annotated[
    str | None, Header(description="id of the last event that came; what followed it is sent")
]

router = make_router(prefix="/v1", responses=COMMON_RESPONSES, tags=["server"])


@router.get(
    "/events",
    responses={
        200: {
            "description": "events until the server or the token ends, or for four minutes",
            "content": {
                "text/event-stream": {
                    "schema": {"description": "server-sent events; their data is JSON"},
                    "examples": {"rejected records": {"value": EXAMPLE}},
                }
            },
        },
        **describe_refusal(400, MessageAnswer, "topics are not known"),
    },
    response_class=StreamingResponse,
)
async def get_events(
    caller: AuthenticatedCaller,
    hub: Hub,
    topics: TopicNames = None,
    last_event_id: LastEventId = None,
) -> Response:
    """What happens, as it happens: the status once a second, loads, rejected records, requests.

    A worker has 20 streams at most and answers 503 beyond that. A stream ends after four minutes,
    and with its token; clients open the next one by themselves, which goes on with what followed
    `Last-Event-ID`.
    """
    wanted = TOPICS if topics is None else tuple(topics.split(","))
    if not set(wanted) <= set(TOPICS):
        raise invalid_parameter("topics", "one or more of " + ",".join(TOPICS))
    stream = await hub.open(caller.account, caller.token_id, wanted, last_event_id)
    return StreamingResponse(_iterate(hub, stream), media_type="text/event-stream", headers=HEADERS)


async def _iterate(hub: EventHub, stream: EventStream) -> AsyncIterator[bytes]:
    try:
        async for event in stream.iterate():
            yield event
    finally:
        hub.close(stream)
