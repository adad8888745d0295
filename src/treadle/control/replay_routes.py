"""`POST /v1/sources/{source_id}/tables/{table}/replay`: a table is built again from the log.

Operation and path in one module, as in `table_routes`: there is little of both.
"""

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Path as InPath
from fastapi import Query, Request
from pydantic import WithJsonSchema
from starlette.responses import Response

from treadle.control import errors, schemas
from treadle.control.load_operations import invalid_parameter, parse_flag, parse_moment
from treadle.control.lookups import find_source
from treadle.control.operations import ConnectOperations
from treadle.control.reject_responses import OperationAnswer, render_operation
from treadle.control.routes import (
    COMMON_RESPONSES,
    AuthenticatedCaller,
    Runner,
    SourceId,
    describe_refusal,
    make_router,
)
from treadle.control.schema_names import is_build_schema
from treadle.http.path_convertor import TABLE_IN_PATH
from treadle.log.protocol import LogReader
from treadle.store.model import Account, Source
from treadle.store.operations import OPEN_STATES, REBUILD, RebuildOrder
from treadle.store.store import Store
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

REPLAY_PATH: Final = f"/sources/{{source_id}}/tables/{TABLE_IN_PATH}/replay"

OPERATIONS_EXAMINED: Final = 50

logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RebuildChoice:
    """How a table is built again.

    Attributes:
        dry_run: build and compare; swap nothing.
        force: swap even if rows may be lost.
        into: the schema to build in and to keep; None for none, which is removed at the end.
        since: only what was accepted at or after this time, microseconds since 1970; None for all.
        until: only what was accepted before it; None for all.
    """

    dry_run: bool = True
    force: bool = False
    into: str | None = None
    since: int | None = None
    until: int | None = None

    def check(self) -> None:
        """Check that the parts fit together.

        Raises:
            RequestRefusedError: 400, they do not.
        """
        if self.force and self.into is not None:
            raise invalid_parameter("force", "for a swap, and with into nothing is swapped")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise invalid_parameter("to", "a time later than from")


@dataclass(frozen=True, slots=True)
class ReplayOperations:
    """The rebuild of a table; the desk carries it out.

    Attributes:
        store: every look-up is inside the account.
        open_reader: opens the log.
    """

    store: Store
    open_reader: Callable[[], LogReader]

    def start_rebuild(
        self, account: Account, source_id: str, name: str, chosen: RebuildChoice
    ) -> object:
        """Serve `POST /v1/sources/{source_id}/tables/{table}/replay`.

        Raises:
            RequestRefusedError: 400, the choice is wrong; 404, no such source, or nothing of such a
                table is in the log; 409, a rebuild of it is under way.
        """
        source = find_source(self.store, account, source_id)
        if source is None or source.deleted_at is not None:
            raise errors.source_not_found(source_id, status=404)
        chosen.check()
        if chosen.into is not None:
            self._check_schema(source, chosen.into)
        with closing(self.open_reader()) as reader:
            if (source.id, name) not in reader.statistics.list_tables():
                raise errors.table_not_found(name)
            total = reader.statistics.count_records_above(source.id, name, 0)
        order = RebuildOrder(
            account.id,
            source.id,
            name,
            chosen.dry_run,
            chosen.force,
            chosen.into,
            chosen.since,
            chosen.until,
        )
        for one in self.store.operations.list_operations(account.id, OPERATIONS_EXAMINED):
            if one.kind == REBUILD and one.state in OPEN_STATES:
                under_way = RebuildOrder(**one.detail)
                if (under_way.source_id, under_way.table) == (source.id, name):
                    raise errors.rebuild_under_way(name, one.id)
        made = self.store.operations.start_rebuild(order, total)
        logger.info("account %d has a table of source %d built again", account.id, source.id)
        return render_operation(made)

    def _check_schema(self, source: Source, into: str) -> None:
        """Check the schema to build in.

        Raises:
            RequestRefusedError: 400, it cannot be used.
        """
        taken = {each.schema for each in self.store.sources.list_sources()}
        identities = self.store.destinations.list_identities(
            source.account_id, source.destination_id
        )
        if not is_build_schema(into, source.schema, taken, identities):
            raise invalid_parameter(
                "into",
                f"a schema of your own that begins with {source.schema}__, such as "
                f"{source.schema}__march: up to 49 of a-z, 0-9, _ and $, no __ behind it, not "
                "the schema of a source, and not __replay",
            )


_FLAG = WithJsonSchema({"type": "string", "enum": ["true", "false"]})
_NO_TABLE = describe_refusal(
    404, schemas.CodedAnswer | schemas.NoRouteAnswer, "no such source, or no such table"
)
TableInPath = Annotated[str, InPath(description="name of the table, as sent in pushes")]

router = make_router(prefix="/v1", responses=COMMON_RESPONSES, tags=["tables"])


@router.post(
    REPLAY_PATH,
    response_model=OperationAnswer,
    responses=_NO_TABLE
    | describe_refusal(400, schemas.MessageAnswer, "a parameter is wrong, or two do not fit")
    | describe_refusal(409, schemas.CodedAnswer, "a rebuild of the table is under way"),
)
async def replay_table(
    request: Request,
    work: Runner,
    who: AuthenticatedCaller,
    source_id: SourceId,
    table: TableInPath,
    dry_run: Annotated[
        str | None, Query(description="true: build and compare, and swap nothing"), _FLAG
    ] = None,
    force: Annotated[
        str | None, Query(description="true: swap even if rows may be lost"), _FLAG
    ] = None,
    into: Annotated[
        str | None,
        Query(description="build in this schema, keep it, and swap nothing; SOURCE__NAME"),
    ] = None,
    since: Annotated[
        str | None, Query(alias="from", description="only what was accepted at or after this time")
    ] = None,
    until: Annotated[
        str | None, Query(alias="to", description="only what was accepted before this time")
    ] = None,
) -> Response:
    """Build a table again from what the log still keeps, compare it, and swap the rows.

    The operation goes on in the background; its `result` says what differs, and why rows may be
    missing in what was built. Then nothing is swapped without `force`. Loading goes on meanwhile.
    """
    chosen = RebuildChoice(
        bool(parse_flag("dry_run", dry_run)),
        bool(parse_flag("force", force)),
        into,
        parse_moment("from", since),
        parse_moment("to", until),
    )
    open_reader = request.app.state.open_reader

    def run(bound: ConnectOperations, account: Account) -> object:
        return ReplayOperations(bound.store, open_reader).start_rebuild(
            account, source_id, table, chosen
        )

    return await work.change(
        who, TrailAction.REPLAY_TABLE, TrailTarget(TargetKind.TABLE, source_id, table), run
    )
