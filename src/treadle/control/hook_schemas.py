"""The types of bodies and answers about post-load hooks (connect-api.md 2.13)."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.schemas import Id, Instant, MessageAnswer, component

MicrosecondInstant = Annotated[str, Field(description="RFC 3339, UTC, microseconds")]
Count = Annotated[int, Field(ge=0)]


class HookConfig(TypedDict):
    """What a hook calls."""

    url: str


@component("Hook")
class HookAnswer(TypedDict):
    """A URL that is called after each load of a table into a destination."""

    id: Id
    client_id: Annotated[Id, Field(description="the account")]
    type: Literal["post_load"]
    version: Literal[1]
    destination_id: Id
    config: HookConfig
    created_at: Instant
    modified_at: Instant
    disabled_at: Annotated[Instant | None, Field(description="set: it gets no deliveries")]


@component("Hooks")
class HookList(TypedDict):
    """Hooks by their type."""

    post_load: list[HookAnswer]


@component("HookState")
class HookStateAnswer(TypedDict):
    """A hook, and how its deliveries fare."""

    id: Id
    type: Literal["post_load"]
    version: Literal[1]
    destination_id: Id
    config: HookConfig
    enabled: bool
    signed: Annotated[bool, Field(description="it has a secret, which is never shown")]
    created_at: Instant
    modified_at: Instant
    disabled_at: Annotated[
        Instant | None, Field(description="set: loads make no deliveries, and none is sent")
    ]
    paused_at: Annotated[
        Instant | None, Field(description="set: loads make deliveries, and none is sent")
    ]
    waiting: Annotated[int, Field(ge=0, description="deliveries that wait")]
    oldest_waiting_at: MicrosecondInstant | None
    delivered: Annotated[int, Field(ge=0, description="since the hook was made, as are the others")]
    failed: Annotated[int, Field(ge=0, description="deliveries that were given up")]
    tries: Count


@component("HookStates")
class HookStateList(TypedDict):
    """Hooks, by id."""

    hooks: list[HookStateAnswer]


@component("Delivery")
class DeliveryAnswer(TypedDict):
    """What a hook is told of one load, and what became of it."""

    delivery_id: Annotated[str, Field(description="the same however often it is sent")]
    hook_id: Id
    load_id: str
    source_id: Id
    table: Annotated[str, Field(description="as pushed")]
    state: Literal["waiting", "delivered", "failed"]
    tries: Count
    created_at: MicrosecondInstant
    next_try_at: Annotated[
        MicrosecondInstant | None, Field(description="the earliest time; null unless it waits")
    ]
    last_tried_at: MicrosecondInstant | None
    finished_at: MicrosecondInstant | None
    took_ms: Annotated[int | None, Field(description="how long the last try took")]
    status: Annotated[int | None, Field(description="HTTP status of the last answer")]
    answer: Annotated[str | None, Field(description="its first 1024 bytes, as text")]
    error: Annotated[str | None, Field(description="why the last try was no success")]
    body: Annotated[dict[str, Any], Field(description="what is sent")]


@component("Deliveries")
class DeliveryList(TypedDict):
    """Deliveries of a hook, newest first."""

    deliveries: list[DeliveryAnswer]
    next: Annotated[str | None, Field(description="`before` of the next page; null on the last")]


@component("SentAgain")
class SentAgainAnswer(TypedDict):
    """How many deliveries are sent again."""

    deliveries: Count


@component("HookTrial")
class HookTrialAnswer(TypedDict):
    """How a delivery that was sent on trial ended; nothing of it is kept."""

    hook_id: Id
    status: Annotated[int | None, Field(description="HTTP status; null without an answer")]
    answer: Annotated[str | None, Field(description="its first 1024 bytes, as text")]
    error: Annotated[str | None, Field(description="why there is no answer")]
    took_ms: Count
    body: Annotated[dict[str, Any], Field(description="what was sent, with `test: true`")]


class NewHookConfig(TypedDict):
    """What a new hook calls."""

    url: Annotated[str, Field(max_length=2048, description="https, without user and password")]
    destination_id: NotRequired[
        Annotated[str, Field(pattern="^destination_[1-9][0-9]*$", description="an older form")]
    ]


@with_config(ConfigDict(extra="forbid"))
class CreateHook(TypedDict):
    """A hook to be created."""

    type: Literal["post_load"]
    destination_id: NotRequired[
        Annotated[int | None, Field(description="after whose loads; the account's only one")]
    ]
    config: NewHookConfig


@with_config(ConfigDict(extra="forbid"))
class EnableHook(TypedDict):
    """Whether a hook gets deliveries."""

    enable: bool


@with_config(ConfigDict(extra="forbid"))
class ChangeHook(TypedDict):
    """What is to change; what is left out stays."""

    enabled: NotRequired[bool]
    paused: NotRequired[Annotated[bool, Field(description="deliveries wait for its end")]]
    url: NotRequired[Annotated[str, Field(max_length=2048)]]
    secret: NotRequired[
        Annotated[
            str | None,
            Field(
                min_length=16, max_length=256, description="signs deliveries; null for no signature"
            ),
        ]
    ]


@component("HookError")
class HookErrorAnswer(TypedDict):
    """A request about hooks that cannot be done."""

    data: MessageAnswer
    error: str


@component("HookLimit")
class HookLimitAnswer(TypedDict):
    """There are as many hooks as there can be."""

    error: MessageAnswer


@component("HookUnknown")
class HookUnknownAnswer(TypedDict):
    """There is no such hook."""

    error: Literal["NotFound"]
