"""`GET /v1/trail` and `GET /v1/audit`: who changed what of an account."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from fastapi import Query
from pydantic import Field, WithJsonSchema
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.load_operations import invalid_parameter, parse_limit, parse_moment
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
from treadle.store.trail_event import (
    ActorKind,
    TargetKind,
    TrailAction,
    TrailEvent,
    TrailOutcome,
)
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


@dataclass(frozen=True, slots=True)
class TrailFilter:
    """Which events are asked for; None, here, stands for any.

    Attributes:
        actor_kind: a word of ActorKind.
        actor_id: of the token or the user; None where it does not matter.
        since, until: microseconds since 1970.
        before: only events below this id.
    """

    action: str | None = None
    outcome: str | None = None
    actor_kind: str | None = None
    actor_id: str | None = None
    target_kind: str | None = None
    since: int | None = None
    until: int | None = None
    before: int | None = None

    def list_events(self, store: Store, account_id: int, limit: int) -> list[TrailEvent]:
        """Return the events of an account that fit, newest first, without a look at who asks."""
        return store.trail.list_events(
            account_id=account_id,
            action=self.action,
            outcome=self.outcome,
            actor_kind=self.actor_kind,
            actor_id=self.actor_id,
            target_kind=self.target_kind,
            since=self.since,
            until=self.until,
            before=self.before,
            limit=limit,
        )


def parse_trail_filter(
    *,
    action: str | None = None,
    outcome: str | None = None,
    actor: str | None = None,
    target: str | None = None,
    since: str | None = None,
    until: str | None = None,
    before: str | None = None,
) -> TrailFilter:
    """Return which events a query asks for.

    Args:
        action: a word of TrailAction.
        outcome: a word of TrailOutcome.
        actor: a word of ActorKind, and perhaps an id behind a blank: "person 3".
        target: a word of TargetKind.
        since: ISO 8601.
        until: ISO 8601.
        before: the id of an event.

    Raises:
        RequestRefusedError: 400 for a parameter that is wrong.
    """
    for name, word, known in (
        ("action", action, list(TrailAction)),
        ("outcome", outcome, list(TrailOutcome)),
        ("target", target, list(TargetKind)),
    ):
        if word is not None and word not in known:
            raise invalid_parameter(name, "one of " + ", ".join(known))
    kind, _, actor_id = (actor or "").partition(" ")
    if actor is not None and kind not in list(ActorKind):
        raise invalid_parameter("actor", "one of " + ", ".join(ActorKind))
    if kind in OPERATOR_KINDS and actor_id:
        raise invalid_parameter("actor", f"{kind} alone: an account does not see which one")
    last = None if before is None else parse_id(before)
    if before is not None and last is None:
        raise invalid_parameter("before", "the id of an event")
    return TrailFilter(
        action,
        outcome,
        kind or None,
        actor_id or None,
        target,
        parse_moment("from", since),
        parse_moment("to", until),
        last,
    )


def list_trail(store: Store, account_id: int, wanted: TrailFilter, limit: str | None) -> object:
    """Return the answer's value.

    Raises:
        RequestRefusedError: 400 for a parameter that is wrong.
    """
    count = parse_limit(limit, default=EVENTS_DEFAULT, most=EVENTS_MAX)
    found = wanted.list_events(store, account_id, count + 1)
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
OnlyActor = Annotated[
    str | None,
    Query(
        description="only of actors of this kind, or of one of them: `person 3`",
        examples=["person", "account_token 1"],
    ),
]
OnlyTarget = Annotated[
    str | None,
    Query(description="only about things of this kind"),
    WithJsonSchema({"type": "string", "enum": [kind.value for kind in TargetKind]}),
]
SinceTime = Annotated[
    str | None, Query(alias="from", description="only events at or after this time")
]
UntilTime = Annotated[str | None, Query(alias="to", description="only events before this time")]
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
    wanted = parse_trail_filter(action=action, outcome=outcome, before=before)
    return await work.read(list_trail, work.operations.store, account.id, wanted, limit)


@router.get(
    "/audit",
    response_model=TrailPage,
    responses=describe_refusal(400, MessageAnswer, "a parameter is wrong"),
    tags=["trail"],
)
async def list_audit_events(
    work: Runner,
    account: AuthenticatedAccount,
    action: OnlyAction = None,
    outcome: OnlyOutcome = None,
    actor: OnlyActor = None,
    target: OnlyTarget = None,
    since: SinceTime = None,
    until: UntilTime = None,
    before: BeforeEvent = None,
    limit: EventLimit = None,
) -> Response:
    """The same events as `/v1/trail`, with more to choose by.

    The detail of a change has the values `before` and `after` it, without secrets.
    """
    wanted = parse_trail_filter(
        action=action,
        outcome=outcome,
        actor=actor,
        target=target,
        since=since,
        until=until,
        before=before,
    )
    return await work.read(list_trail, work.operations.store, account.id, wanted, limit)
