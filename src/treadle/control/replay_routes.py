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
from treadle.control.load_operations import parse_flag
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
from treadle.http.path_convertor import TABLE_IN_PATH
from treadle.log.protocol import LogReader
from treadle.store.model import Account
from treadle.store.operations import OPEN_STATES, REBUILD, RebuildOrder
from treadle.store.store import Store
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

REPLAY_PATH: Final = f"/sources/{{source_id}}/tables/{TABLE_IN_PATH}/replay"

OPERATIONS_EXAMINED: Final = 50

logger: Final = logging.getLogger(__name__)


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
        self, account: Account, source_id: str, name: str, *, dry_run: bool, force: bool
    ) -> object:
        """Serve `POST /v1/sources/{source_id}/tables/{table}/replay`.

        Raises:
            RequestRefusedError: 404, no such source, or nothing of such a table is in the log;
                409, a rebuild of it is under way.
        """
        source = find_source(self.store, account, source_id)
        if source is None or source.deleted_at is not None:
            raise errors.source_not_found(source_id, status=404)
        with closing(self.open_reader()) as reader:
            if (source.id, name) not in reader.statistics.list_tables():
                raise errors.table_not_found(name)
            total = reader.statistics.count_records_above(source.id, name, 0)
        order = RebuildOrder(account.id, source.id, name, dry_run, force)
        for one in self.store.operations.list_operations(account.id, OPERATIONS_EXAMINED):
            if one.kind == REBUILD and one.state in OPEN_STATES:
                under_way = RebuildOrder(**one.detail)
                if (under_way.source_id, under_way.table) == (source.id, name):
                    raise errors.rebuild_under_way(name, one.id)
        made = self.store.operations.start_rebuild(order, total)
        logger.info("account %d has a table of source %d built again", account.id, source.id)
        return render_operation(made)


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
    | describe_refusal(400, schemas.MessageAnswer, "a parameter is wrong")
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
) -> Response:
    """Build a table again from what the log still keeps, compare it, and swap the rows.

    The operation goes on in the background; its `result` says what differs, and why rows may be
    missing in what was built. Then nothing is swapped without `force`. Loading goes on meanwhile.
    """
    tries, forces = bool(parse_flag("dry_run", dry_run)), bool(parse_flag("force", force))
    open_reader = request.app.state.open_reader

    def run(bound: ConnectOperations, account: Account) -> object:
        return ReplayOperations(bound.store, open_reader).start_rebuild(
            account, source_id, table, dry_run=tries, force=forces
        )

    return await work.change(
        who, TrailAction.REPLAY_TABLE, TrailTarget(TargetKind.TABLE, source_id, table), run
    )
