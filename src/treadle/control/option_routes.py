"""`/v1/sources/{source_id}/options`: how the tables of a source are loaded (loading.md 12.2)."""

from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field, WithJsonSchema
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.load_operations import parse_flag
from treadle.control.operations import ConnectOperations
from treadle.control.option_operations import TOUCHED_MAX, get_options, set_options
from treadle.control.routes import (
    BODY_RESPONSES,
    COMMON_RESPONSES,
    AuthenticatedAccount,
    AuthenticatedCaller,
    RawBody,
    Runner,
    SourceId,
    describe_body,
    describe_refusal,
    make_router,
)
from treadle.control.schemas import CodedAnswer, Id, MessageAnswer, NoRouteAnswer, component
from treadle.store.model import Account
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

Value = str | int | bool | None


@component("Option")
class OptionAnswer(TypedDict):
    """An option with its value."""

    name: str
    value: Value
    origin: Annotated[
        Literal["default", "source", "table"], Field(description="where the value was set")
    ]
    default: Value
    values: Annotated[list[str], Field(description="that it can have, the default first")]
    meaning: Annotated[str, Field(description="what it decides")]


@component("TouchedTables")
class TouchedTablesAnswer(TypedDict):
    """The tables that a change of options touches."""

    count: Annotated[int, Field(ge=0)]
    tables: Annotated[list[str], Field(description=f"the first {TOUCHED_MAX}, by name")]


@component("Options")
class OptionsAnswer(TypedDict):
    """How the tables of a source are loaded, or one of them."""

    source_id: Id
    table: Annotated[str | None, Field(description="null for the tables of the source in general")]
    options: list[OptionAnswer]


@component("ChangedOptions")
class ChangedOptionsAnswer(OptionsAnswer):
    """The options after a change."""

    touched_tables: Annotated[
        TouchedTablesAnswer, Field(description="that are loaded differently from now on")
    ]
    dry_run: Annotated[bool, Field(description="nothing was changed")]


@component("SetOptions")
class SetOptionsBody(TypedDict):
    """Options to set."""

    options: Annotated[
        dict[str, Value], Field(description="name -> value; null takes the option back")
    ]


OfTable = Annotated[
    str | None, Query(description="of this table, as sent; without it of the source's tables")
]
DryRun = Annotated[
    str | None,
    Query(description="true to change nothing, and see which tables would be touched"),
    WithJsonSchema({"type": "boolean"}),
]

_NO_SOURCE = describe_refusal(404, CodedAnswer | NoRouteAnswer, "no such source, or deleted")
_BAD = describe_refusal(
    400, CodedAnswer | MessageAnswer, "no such option, or it has no such value; a wrong parameter"
)

router = make_router(prefix="/v1", responses=COMMON_RESPONSES, tags=["tables"])


@router.get(
    "/sources/{source_id}/options", response_model=OptionsAnswer, responses=_BAD | _NO_SOURCE
)
async def get_source_options(
    work: Runner, who: AuthenticatedAccount, source_id: SourceId, table: OfTable = None
) -> Response:
    """Every option with its value, where that was set, and what it decides."""
    return await work.read(get_options, work.operations.store, who, source_id, table)


@router.put(
    "/sources/{source_id}/options",
    response_model=ChangedOptionsAnswer,
    responses=_BAD | _NO_SOURCE | BODY_RESPONSES,
    openapi_extra=describe_body(SetOptionsBody),
)
async def change_source_options(
    work: Runner,
    who: AuthenticatedCaller,
    source_id: SourceId,
    raw: RawBody,
    table: OfTable = None,
    dry_run: DryRun = None,
) -> Response:
    """Set options; those that are not named stay. Rows that are loaded already stay, too."""
    tries = bool(parse_flag("dry_run", dry_run))

    def run(bound: ConnectOperations, account: Account) -> object:
        return set_options(bound.store, account, source_id, table, raw, dry_run=tries)

    return await work.change(
        who, TrailAction.SET_OPTIONS, TrailTarget(TargetKind.SOURCE, source_id), run
    )
