"""Every error this room answers with, one function a row (connect-api.md 1.7, 1.8, 2.5, 2.6, 5)."""

from collections.abc import Sequence
from typing import Any, Final

from treadle.control.schemas import ReportCard
from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json

NAME_RULE: Final = (
    "The name field must be under 50 characters, and can only contain lowercase letters, numbers, "
    "underscores, or dollar signs. It must begin with a letter or an underscore."
)
CREATE_RULE: Final = (
    "POST body may only include a non-empty type, a non-empty display_name and map of string "
    "properties"
)
# "many" is what clients of the original see (connect-api.md 7).
UPDATE_RULE: Final = "PUT body many only include the keys: display_name, properties, and paused_at"
STREAMS_RULE: Final = (
    "body must contain a 'streams' property with a list of metadatas by tap_stream_id"
)


def show_value(found: object) -> str:
    """A value of a request inside an error's text: text as it is, anything else as JSON."""
    if isinstance(found, str):
        return found
    try:
        return encode_json(found).decode()
    except RecursionError:
        return "a value nested without end"


def _make_coded_error(status: int, code: str, message: str, **more: Any) -> RequestRefusedError:
    return RequestRefusedError(status, {"error": code, "data": {"message": message, **more}})


# Of every endpoint -------------------------------------------------------------------------------


def not_authorized() -> RequestRefusedError:
    """No valid account token, or an account that is not the token's."""
    return RequestRefusedError(401, {"message": "Not Authorized"})


def route_not_found() -> RequestRefusedError:
    """Unknown path, or a method the path does not have; there is no 405."""
    return RequestRefusedError(404, {"status": "NOT FOUND"})


def unreadable_body(status: int, message: str) -> RequestRefusedError:
    """The body could not be received: too large, too slow, or compressed in an unknown way."""
    return _make_coded_error(status, "InvalidBody", message)


def internal_error() -> RequestRefusedError:
    """Our own fault; what it was stands in the log."""
    return _make_coded_error(
        500, "InternalError", "The server met an unexpected condition. Try again later."
    )


def store_unavailable() -> RequestRefusedError:
    """Something the answer needs is not available now."""
    refused = _make_coded_error(
        503, "TryLater", "The server cannot reach its store now. Try again later."
    )
    refused.headers = (("Retry-After", "1"),)
    return refused


# Sources -----------------------------------------------------------------------------------------


def source_not_found(source_id: str, *, status: int = 400) -> RequestRefusedError:
    """400 for calls that change something, 404 for those that read (connect-api.md Q11)."""
    return _make_coded_error(status, "InvalidId", f"source not found ({source_id})")


def unknown_source_type(source_type: str, *, status: int = 400) -> RequestRefusedError:
    """404 for reading the type's card, 400 for creating a source."""
    return _make_coded_error(status, "InvalidType", f"invalid source type ({source_type})")


def invalid_create_body() -> RequestRefusedError:
    """The body of a creation is no object with the allowed keys."""
    return _make_coded_error(400, "InvalidBody", CREATE_RULE)


def invalid_update_body() -> RequestRefusedError:
    """The body of an update is no object with the allowed keys."""
    return _make_coded_error(400, "InvalidBody", UPDATE_RULE)


def invalid_name() -> RequestRefusedError:
    """An explicit name that no schema may have."""
    return _make_coded_error(400, "InvalidName", NAME_RULE)


def name_taken(name: str) -> RequestRefusedError:
    """An explicit name that is in use."""
    return _make_coded_error(400, "InvalidName", f"non-unique name ({name})")


def derived_name_taken(display_name: str, name: str) -> RequestRefusedError:
    """A derived name that is in use."""
    message = f"non-unique name after deriving it from display_name ({display_name} -> {name})"
    return _make_coded_error(400, "InvalidName", message)


def underivable_name(display_name: str, name: str) -> RequestRefusedError:
    """Nothing legal is left after deriving."""
    message = f"invalid name after deriving it from display_name ({display_name} -> {name})"
    return _make_coded_error(400, "InvalidDisplayName", message)


def invalid_display_name(found: object) -> RequestRefusedError:
    """A display name that cannot be kept; anything but text is shown as JSON."""
    return _make_coded_error(
        400, "InvalidDisplayName", f"invalid display_name ({show_value(found)})"
    )


def invalid_properties(names: Sequence[str], card: ReportCard) -> RequestRefusedError:
    """Properties that the source's type does not let anybody set."""
    return _make_coded_error(
        400,
        "InvalidProperties",
        "properties do not match schema",
        bad_properties=list(names),
        report_card=card,
    )


def destination_not_found(destination_id: object) -> RequestRefusedError:
    """A destination the account does not have."""
    return _make_coded_error(400, "InvalidId", f"destination not found ({destination_id})")


# Tokens ------------------------------------------------------------------------------------------


def not_an_import_source(source_id: int) -> RequestRefusedError:
    """Only `import_api` sources have tokens."""
    return _make_coded_error(
        400, "InvalidType", f"source ({source_id}) is not an import_api source"
    )


def token_limit_reached(source_id: int, limit: int) -> RequestRefusedError:
    """As many tokens as a source can have are active."""
    message = f"source ({source_id}) already has the maximum of {limit} active access tokens"
    return _make_coded_error(400, "AccessDenied", message)


def token_not_found(token_id: str) -> RequestRefusedError:
    """Unknown, revoked, or of another source."""
    return _make_coded_error(400, "InvalidId", f"token not found ({token_id})")


# What an import_api source does not have (connect-api.md 5) --------------------------------------


def connection_check_not_found(source_id: int) -> RequestRefusedError:
    """No connection is checked for a source that is pushed to."""
    return _make_coded_error(404, "InvalidId", f"no connection check for source ({source_id})")


def stream_not_found(stream_id: str) -> RequestRefusedError:
    """Unknown stream, or unknown source asked for streams."""
    return RequestRefusedError(400, f"invalid stream-id: {stream_id}")


def unknown_tap_streams(ids: Sequence[str]) -> RequestRefusedError:
    """Streams that no discovery found; two blanks before the bracket (connect-api.md 7)."""
    return RequestRefusedError(
        400, {"invalid_fields": f"invalid tap-stream-ids:  [{' '.join(ids)}]"}
    )


def invalid_streams_body() -> RequestRefusedError:
    """The body of a selection lacks a part."""
    return RequestRefusedError(400, STREAMS_RULE)


def _make_job_error(kind: str, message: str) -> RequestRefusedError:
    return RequestRefusedError(400, {"error": {"type": kind, "message": message}})


def job_source_not_found(source_id: str, account_id: int) -> RequestRefusedError:
    """A job asked for an unknown source."""
    message = f"Unable to locate source({source_id}) for client ({account_id})"
    return _make_job_error("invalid_source", message)


def job_source_deleted() -> RequestRefusedError:
    """A job asked for a deleted source."""
    return _make_job_error("invalid_source", "Integration is deleted.")


def job_not_created(source_id: int, account_id: int) -> RequestRefusedError:
    """Nothing is pulled, so there is no job to start."""
    message = f"Could not create job for client-id: {account_id}; connection-id: {source_id}"
    return _make_job_error("generic", message)
