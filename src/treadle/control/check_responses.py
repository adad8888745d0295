"""The answers about checks of destinations (connect-api.md 3.10): a value -> a JSON object."""

from typing import Annotated, Final, Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.schemas import Instant, component
from treadle.errors import RequestRefusedError
from treadle.store.model import DestinationCheck
from treadle.timestamps import format_seconds

INVALID_CONNECTION: Final = "invalid connection id"

ExitStatus = Annotated[
    int | None, Field(description="0 is well; null while it runs, or where it was not reached")
]


@component("ConnectionCheck")
class ConnectionCheckAnswer(TypedDict):
    """A check of a destination: a load that is carried out in each schema and undone."""

    target_exit_status: None
    tap_error_message: None
    check_exit_status: ExitStatus
    name: Annotated[str, Field(description="`<client>.<destination>.check.<uuid>`")]
    start_time: Instant
    mode: Literal["check"]
    tap_exit_status: None
    target_error_message: None
    discovery_exit_status: ExitStatus
    status: Literal["running", "succeeded", "failed"]
    completion_time: Instant | None
    error: bool
    discovery_error_message: Annotated[
        str | None, Field(description="why no load is possible, one or two sentences")
    ]


def render_check(check: DestinationCheck) -> ConnectionCheckAnswer:
    """Return a check as the wire has it (connect-api.md 2.10, Q12)."""
    failed = check.error is not None
    done = check.finished_at is not None
    return {
        "target_exit_status": None,
        "tap_error_message": None,
        "check_exit_status": 0 if done and not failed else None,
        "name": check.name,
        "start_time": format_seconds(check.requested_at),
        "mode": "check",
        "tap_exit_status": None,
        "target_error_message": None,
        "discovery_exit_status": int(failed) if done else None,
        "status": check.status,
        "completion_time": None if check.finished_at is None else format_seconds(check.finished_at),
        "error": failed,
        "discovery_error_message": check.error,
    }


def connection_not_found() -> RequestRefusedError:
    """Refuse a destination that the account does not have (connect-rest.md A.2.2)."""
    return RequestRefusedError(404, INVALID_CONNECTION)


def destination_check_not_found(destination_id: int) -> RequestRefusedError:
    """Answer that a destination was not checked yet (connect-rest.md A.2.3)."""
    message = f"no connection check for destination ({destination_id})"
    return RequestRefusedError(404, {"error": "InvalidId", "data": {"message": message}})
