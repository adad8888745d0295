"""Checks of destinations: the last one, and one that is started by hand (connect-rest.md A.2.3)."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Path as InPath
from starlette.responses import Response

from treadle.control import schemas
from treadle.control.check_responses import (
    ConnectionCheckAnswer,
    connection_not_found,
    destination_check_not_found,
    render_check,
)
from treadle.control.lookups import parse_id
from treadle.control.routes import (
    COMMON_RESPONSES,
    POSITIVE_ID,
    AuthenticatedAccount,
    AuthenticatedCaller,
    Runner,
    describe_refusal,
    make_router,
)
from treadle.store.errors import NotFoundError
from treadle.store.model import Account
from treadle.store.store import Store
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

DestinationId = Annotated[str, InPath(description="id of the destination"), POSITIVE_ID]


@dataclass(frozen=True, slots=True)
class CheckOperations:
    """Tells and starts checks.

    Attributes:
        store: checks and destinations; every look-up is inside the account.
    """

    store: Store

    def get_last_check(self, account: Account, destination_id: str) -> object:
        """Serve `GET /v4/destinations/{destination_id}/last-connection-check`."""
        number = parse_id(destination_id)
        known = {
            row.id
            for row in self.store.destinations.list_destinations(account.id)
            if row.deleted_at is None
        }
        if number is None or number not in known:
            raise connection_not_found()
        check = self.store.checks.find_last_check(number)
        if check is None:
            raise destination_check_not_found(number)
        return render_check(check)

    def start_check(self, account: Account, destination_id: str) -> object:
        """Serve `POST /v1/destinations/{destination_id}/check`."""
        number = parse_id(destination_id)
        if number is None:
            raise connection_not_found()
        try:
            return render_check(self.store.checks.start_check(account.id, number))
        except NotFoundError as error:
            raise connection_not_found() from error


router = make_router(responses=COMMON_RESPONSES, tags=["destinations"])


@router.get(
    "/v4/destinations/{destination_id}/last-connection-check",
    response_model=ConnectionCheckAnswer,
    responses=describe_refusal(
        404,
        schemas.CodedAnswer | schemas.NoRouteAnswer | str,
        "no such destination, or it was not checked yet",
    ),
)
async def get_last_destination_check(
    work: Runner, who: AuthenticatedAccount, destination_id: DestinationId
) -> Response:
    """The last connection check of a destination, which may be under way."""
    operations = CheckOperations(work.operations.store)
    return await work.read(operations.get_last_check, who, destination_id)


@router.post(
    "/v1/destinations/{destination_id}/check",
    response_model=ConnectionCheckAnswer,
    responses=describe_refusal(
        404, schemas.CodedAnswer | schemas.NoRouteAnswer | str, "no such destination"
    ),
)
async def start_destination_check(
    work: Runner, who: AuthenticatedCaller, destination_id: DestinationId
) -> Response:
    """Start a connection check of a destination; one that waits or is under way goes on."""
    return await work.change(
        who,
        TrailAction.CHECK_DESTINATION,
        TrailTarget(TargetKind.DESTINATION, destination_id),
        lambda bound, account: CheckOperations(bound.store).start_check(account, destination_id),
    )
