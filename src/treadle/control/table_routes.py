"""`/v1/tables/{table}/schema`: the JSON schema that a source has for one of its tables.

Operations and paths in one module, as in `trail_routes`: there is little of both.
"""

import logging
from typing import Annotated, Any, Final, cast

import msgspec
from fastapi import Path as InPath
from pydantic import Field
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control import errors, schemas
from treadle.control.load_report_routes import OnlySourceId
from treadle.control.lookups import find_source
from treadle.control.operations import ConnectOperations
from treadle.control.routes import (
    BODY_RESPONSES,
    COMMON_RESPONSES,
    AuthenticatedCaller,
    RawBody,
    Runner,
    describe_body,
    describe_refusal,
    make_router,
)
from treadle.control.schemas import Id, component
from treadle.http.path_convertor import TABLE_IN_PATH
from treadle.records.table_schema import prepare_schema
from treadle.records.validation.schema_loader import SchemaError
from treadle.store.errors import NotFoundError, TableSchemaLimitError
from treadle.store.model import Account, Source, TableSchema
from treadle.store.store import Store
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.timestamps import format_microseconds

SCHEMA_PATH: Final = f"/tables/{TABLE_IN_PATH}/schema"

logger: Final = logging.getLogger(__name__)


@component("TableSchema")
class TableSchemaAnswer(TypedDict):
    """The schema that the records of a table are to fit."""

    source_id: Id
    table: Annotated[str, Field(description="as sent")]
    schema: Annotated[dict[str, Any], Field(description="JSON schema, draft 4")]
    updated_at: Annotated[str, Field(description="RFC 3339, UTC, microseconds")]


def render_table_schema(found: TableSchema) -> TableSchemaAnswer:
    """Return the schema of a table as an answer shows it."""
    return {
        "source_id": found.source_id,
        "table": found.table_name,
        # Its JSON text as it was set.
        "schema": cast("dict[str, Any]", msgspec.Raw(found.document)),
        "updated_at": format_microseconds(found.updated_at),
    }


def get_schema(store: Store, account: Account, source: str | None, table: str) -> object:
    """Serve `GET /v1/tables/{table}/schema`.

    Raises:
        RequestRefusedError: 404.
    """
    row = require_only_source(store, account, source)
    found = store.table_schemas.find_schema(row.id, table)
    if found is None:
        raise errors.table_schema_not_found(table)
    return render_table_schema(found)


def set_schema(
    store: Store, account: Account, source: str | None, table: str, document: bytes
) -> object:
    """Serve `PUT /v1/tables/{table}/schema`: the body is the schema.

    Raises:
        RequestRefusedError: 400, the schema cannot be used; 404, no such source.
    """
    row = require_only_source(store, account, source)
    if not table.strip():
        raise errors.invalid_table_schema("the name of the table is blank")
    try:
        made = store.table_schemas.set_schema(row, table, prepare_schema(document))
    except (SchemaError, TableSchemaLimitError) as error:
        raise errors.invalid_table_schema(str(error)) from error
    except NotFoundError as error:
        raise errors.source_not_found(str(row.id), status=404) from error
    logger.info("account %d set the schema of a table of source %d", account.id, row.id)
    return render_table_schema(made)


def remove_schema(store: Store, account: Account, source: str | None, table: str) -> object:
    """Serve `DELETE /v1/tables/{table}/schema`.

    Raises:
        RequestRefusedError: 404.
    """
    row = require_only_source(store, account, source)
    found = store.table_schemas.remove_schema(row, table)
    if found is None:
        raise errors.table_schema_not_found(table)
    logger.info("account %d removed the schema of a table of source %d", account.id, row.id)
    return render_table_schema(found)


def require_only_source(store: Store, account: Account, source: str | None) -> Source:
    """Return the source that a query names; without a name, the only one of the account.

    Raises:
        RequestRefusedError: 404, there is none, or more than one and no name.
    """
    if source is not None:
        row = find_source(store, account, source)
        if row is None or row.deleted_at is not None:
            raise errors.source_not_found(source, status=404)
        return row
    found = [one for one in store.sources.list_sources(account.id) if one.deleted_at is None]
    if len(found) != 1:
        raise errors.source_not_named(len(found))
    return found[0]


TableInPath = Annotated[str, InPath(description="name of the table, as sent in pushes")]

_BAD_SCHEMA = describe_refusal(400, schemas.CodedAnswer, "the schema cannot be used")
_NOT_FOUND = describe_refusal(
    404,
    schemas.CodedAnswer | schemas.NoRouteAnswer,
    "no such source, none is named, or the table has no schema",
)

router = make_router(prefix="/v1", responses=COMMON_RESPONSES, tags=["tables"])


@router.get(SCHEMA_PATH, response_model=TableSchemaAnswer, responses=_NOT_FOUND)
async def get_table_schema(
    work: Runner, who: AuthenticatedCaller, table: TableInPath, source: OnlySourceId = None
) -> Response:
    """The schema of a table. An account with one source need not name it."""
    return await work.read(get_schema, work.operations.store, who.account, source, table)


@router.put(
    SCHEMA_PATH,
    response_model=TableSchemaAnswer,
    responses=_BAD_SCHEMA | _NOT_FOUND | BODY_RESPONSES,
    openapi_extra=describe_body(dict[str, Any]),
)
async def set_table_schema(
    work: Runner,
    who: AuthenticatedCaller,
    table: TableInPath,
    raw: RawBody,
    source: OnlySourceId = None,
) -> Response:
    """Set the schema of a table: the body is a JSON schema, draft 4.

    Records that come by a push as JSON, a webhook or as bare records are to fit it from then on,
    and get their types from it. A batch keeps the schema that it brings.
    """

    def run(bound: ConnectOperations, account: Account) -> object:
        return set_schema(bound.store, account, source, table, raw)

    return await work.change(
        who, TrailAction.SET_TABLE_SCHEMA, TrailTarget(TargetKind.TABLE, source, table), run
    )


@router.delete(SCHEMA_PATH, response_model=TableSchemaAnswer, responses=_NOT_FOUND)
async def remove_table_schema(
    work: Runner, who: AuthenticatedCaller, table: TableInPath, source: OnlySourceId = None
) -> Response:
    """Remove the schema of a table, which is shown once more. Rows stay as they are."""

    def run(bound: ConnectOperations, account: Account) -> object:
        return remove_schema(bound.store, account, source, table)

    return await work.change(
        who, TrailAction.REMOVE_TABLE_SCHEMA, TrailTarget(TargetKind.TABLE, source, table), run
    )
