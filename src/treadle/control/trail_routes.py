"""`GET /v1/trail`: who changed what of an account."""

from typing import Annotated, Any, Final, Literal

from fastapi import Query
from pydantic import Field, WithJsonSchema
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.load_operations import invalid_parameter
from treadle.control.load_report_routes import MicrosecondTime
from treadle.control.lookups import parse_id
from treadle.control.routes import (
    COMMON_RESPONSES,
    AuthenticatedAccount,
    Runner,
    describe_refusal,
    make_router,
)
from treadle.control.schemas import Id, MessageAnswer, component
from treadle.store.store import Store
from treadle.store.trail_event import ActorKind, TrailAction, TrailEvent, TrailOutcome
from treadle.timestamps import format_microseconds

EVENTS_DEFAULT: Final = 100
EVENTS_MAX: Final = 1000

OPERATOR_KINDS: Final = (ActorKind.COMMAND_LINE, ActorKind.SERVER, ActorKind.PARTNER)
"""Actors on the side of the operator: an account sees that they acted, not who and from where."""


@component("Actor")
class TrailActorAnswer(TypedDict):
    """Who acted."""

    kind: Literal["account_token", "partner", "person", "command_line", "server"]
    id: Annotated[
        str | None,
        Field(description="of the token or the person; null for the operator and the server"),
    ]
    address: Annotated[
        str | None,
        Field(description="from where; null for the operator and the server"),
    ]


@component("Target")
class TrailTargetAnswer(TypedDict):
    """The thing that the action changes."""

    kind: str
    id: Annotated[str | None, Field(description="null where there is none, or it is not known")]
    name: str | None


@component("Event")
class TrailEventAnswer(TypedDict):
    """One thing that was done, or was refused."""

    event_id: Id
    at: MicrosecondTime
    actor: TrailActorAnswer
    action: Annotated[str, Field(description="a word such as create_source")]
    target: TrailTargetAnswer
    outcome: Literal["begun", "done", "refused", "failed"]
    detail: dict[str, Any]


@component("Trail")
class TrailPage(TypedDict):
    """Events, newest first."""

    events: list[TrailEventAnswer]
    next: Annotated[str | None, Field(description="`before` of the next page; null on the last")]


def list_trail(
    store: Store,
    account_id: int,
    action: str | None,
    outcome: str | None,
    before: str | None,
    limit: str | None,
) -> object:
    """Return the answer's value.

    Raises:
        RequestRefusedError: 400 for a parameter that is wrong.
    """
    if action is not None and action not in list(TrailAction):
        raise invalid_parameter("action", "one of " + ", ".join(TrailAction))
    if outcome is not None and outcome not in list(TrailOutcome):
        raise invalid_parameter("outcome", "one of " + ", ".join(TrailOutcome))
    last = None if before is None else parse_id(before)
    if before is not None and last is None:
        raise invalid_parameter("before", "the id of an event")
    count = EVENTS_DEFAULT if limit is None else parse_id(limit)
    if count is None or count > EVENTS_MAX:
        raise invalid_parameter("limit", f"a number from 1 to {EVENTS_MAX}")
    found = store.trail.list_events(
        account_id=account_id, action=action, outcome=outcome, before=last, limit=count + 1
    )
    shown = found[:count]
    return {
        "events": [render_event(event) for event in shown],
        "next": str(shown[-1].id) if len(found) > count else None,
    }


def render_event(event: TrailEvent) -> dict[str, Any]:
    """Return an event as an account sees it."""
    hidden = event.actor.kind in OPERATOR_KINDS
    return {
        "event_id": event.id,
        "at": format_microseconds(event.at),
        "actor": {
            "kind": event.actor.kind.value,
            "id": None if hidden else event.actor.id,
            "address": None if hidden else event.actor.address,
        },
        "action": event.action,
        "target": {
            "kind": event.target.kind.value,
            "id": event.target.id,
            "name": event.target.name,
        },
        "outcome": event.outcome,
        "detail": dict(event.detail),
    }


OnlyAction = Annotated[
    str | None,
    Query(description="only of this action"),
    WithJsonSchema({"type": "string", "enum": [action.value for action in TrailAction]}),
]
OnlyOutcome = Annotated[
    str | None,
    Query(description="only with this outcome"),
    WithJsonSchema({"type": "string", "enum": [outcome.value for outcome in TrailOutcome]}),
]
BeforeEvent = Annotated[
    str | None,
    Query(description="only events before the one with this id"),
    WithJsonSchema({"type": "integer", "minimum": 1}),
]
EventLimit = Annotated[
    str | None,
    Query(description="how many at most"),
    WithJsonSchema(
        {"type": "integer", "minimum": 1, "maximum": EVENTS_MAX, "default": EVENTS_DEFAULT}
    ),
]

router = make_router(prefix="/v1", responses=COMMON_RESPONSES)


@router.get(
    "/trail",
    response_model=TrailPage,
    responses=describe_refusal(400, MessageAnswer, "a parameter is wrong"),
    tags=["trail"],
)
async def list_trail_events(
    work: Runner,
    account: AuthenticatedAccount,
    action: OnlyAction = None,
    outcome: OnlyOutcome = None,
    before: BeforeEvent = None,
    limit: EventLimit = None,
) -> Response:
    """Who changed what of the account, newest first; what was refused is among it."""
    return await work.read(
        list_trail, work.operations.store, account.id, action, outcome, before, limit
    )
