"""Every error this room answers with, one function a row (connect-api.md 1.7, 1.8, 2.5, 2.6, 5)."""

from collections.abc import Sequence
from typing import Any, Final

from treadle.control.wire import ReportCard
from treadle.errors import Refused
from treadle.web import compact

NAME_RULE: Final = (
    "The name field must be under 50 characters, and can only contain lowercase letters, numbers, "
    "underscores, or dollar signs. It must begin with a letter or an underscore."
)
POST_RULE: Final = (
    "POST body may only include a non-empty type, a non-empty display_name and map of string "
    "properties"
)
# "many" is what clients of the original see (connect-api.md 7).
PUT_RULE: Final = "PUT body many only include the keys: display_name, properties, and paused_at"
STREAMS_RULE: Final = (
    "body must contain a 'streams' property with a list of metadatas by tap_stream_id"
)


def shown(found: object) -> str:
    """A value of a request inside an error's text: text as it is, anything else as JSON."""
    if isinstance(found, str):
        return found
    try:
        return compact(found).decode()
    except RecursionError:
        return "a value nested without end"


def _coded(status: int, code: str, message: str, **more: Any) -> Refused:
    return Refused(status, {"error": code, "data": {"message": message, **more}})


# Of every endpoint -------------------------------------------------------------------------------


def unauthorized() -> Refused:
    """No valid account token, or an account that is not the token's."""
    return Refused(401, {"message": "Not Authorized"})


def no_route() -> Refused:
    """Unknown path, or a method the path does not have; there is no 405."""
    return Refused(404, {"status": "NOT FOUND"})


def unreadable(status: int, message: str) -> Refused:
    """The body could not be received: too large, too slow, or compressed in an unknown way."""
    return _coded(status, "InvalidBody", message)


def trouble() -> Refused:
    """Our own fault; what it was stands in the log."""
    return _coded(500, "InternalError", "The server met an unexpected condition. Try again later.")


def busy() -> Refused:
    """Something the answer needs is not available now."""
    refused = _coded(503, "TryLater", "The server cannot reach its store now. Try again later.")
    refused.headers = (("Retry-After", "1"),)
    return refused


# Sources -----------------------------------------------------------------------------------------


def no_source(source_id: str, *, status: int = 400) -> Refused:
    """400 for calls that change something, 404 for those that read (connect-api.md Q11)."""
    return _coded(status, "InvalidId", f"source not found ({source_id})")


def no_source_type(source_type: str, *, status: int = 400) -> Refused:
    """404 for reading the type's card, 400 for creating a source."""
    return _coded(status, "InvalidType", f"invalid source type ({source_type})")


def post_body() -> Refused:
    """The body of a creation is no object with the allowed keys."""
    return _coded(400, "InvalidBody", POST_RULE)


def put_body() -> Refused:
    """The body of an update is no object with the allowed keys."""
    return _coded(400, "InvalidBody", PUT_RULE)


def bad_name() -> Refused:
    """An explicit name that no schema may have."""
    return _coded(400, "InvalidName", NAME_RULE)


def name_taken(name: str) -> Refused:
    """An explicit name that is in use."""
    return _coded(400, "InvalidName", f"non-unique name ({name})")


def derived_name_taken(display_name: str, name: str) -> Refused:
    """A derived name that is in use."""
    message = f"non-unique name after deriving it from display_name ({display_name} -> {name})"
    return _coded(400, "InvalidName", message)


def no_name_derived(display_name: str, name: str) -> Refused:
    """Nothing legal is left after deriving."""
    message = f"invalid name after deriving it from display_name ({display_name} -> {name})"
    return _coded(400, "InvalidDisplayName", message)


def bad_display_name(found: object) -> Refused:
    """A display name that cannot be kept; anything but text is shown as JSON."""
    return _coded(400, "InvalidDisplayName", f"invalid display_name ({shown(found)})")


def bad_properties(names: Sequence[str], card: ReportCard) -> Refused:
    """Properties that the source's type does not let anybody set."""
    return _coded(
        400,
        "InvalidProperties",
        "properties do not match schema",
        bad_properties=list(names),
        report_card=card,
    )


def no_destination(destination_id: object) -> Refused:
    """A destination the account does not have."""
    return _coded(400, "InvalidId", f"destination not found ({destination_id})")


# Tokens ------------------------------------------------------------------------------------------


def no_import_api(source_id: int) -> Refused:
    """Only `import_api` sources have tokens."""
    return _coded(400, "InvalidType", f"source ({source_id}) is not an import_api source")


def two_tokens(source_id: int, limit: int) -> Refused:
    """As many tokens as a source can have are active."""
    message = f"source ({source_id}) already has the maximum of {limit} active access tokens"
    return _coded(400, "AccessDenied", message)


def no_token(token_id: str) -> Refused:
    """Unknown, revoked, or of another source."""
    return _coded(400, "InvalidId", f"token not found ({token_id})")


# What an import_api source does not have (connect-api.md 5) --------------------------------------


def no_check(source_id: int) -> Refused:
    """No connection is checked for a source that is pushed to."""
    return _coded(404, "InvalidId", f"no connection check for source ({source_id})")


def no_stream(stream_id: str) -> Refused:
    """Unknown stream, or unknown source asked for streams."""
    return Refused(400, f"invalid stream-id: {stream_id}")


def no_tap_streams(ids: Sequence[str]) -> Refused:
    """Streams that no discovery found; two blanks before the bracket (connect-api.md 7)."""
    return Refused(400, {"invalid_fields": f"invalid tap-stream-ids:  [{' '.join(ids)}]"})


def streams_body() -> Refused:
    """The body of a selection lacks a part."""
    return Refused(400, STREAMS_RULE)


def _job(kind: str, message: str) -> Refused:
    return Refused(400, {"error": {"type": kind, "message": message}})


def no_job_source(source_id: str, account_id: int) -> Refused:
    """A job asked for an unknown source."""
    message = f"Unable to locate source({source_id}) for client ({account_id})"
    return _job("invalid_source", message)


def job_source_deleted() -> Refused:
    """A job asked for a deleted source."""
    return _job("invalid_source", "Integration is deleted.")


def no_job(source_id: int, account_id: int) -> Refused:
    """Nothing is pulled, so there is no job to start."""
    message = f"Could not create job for client-id: {account_id}; connection-id: {source_id}"
    return _job("generic", message)
