"""The errors of the Connect API, a function a row of connect-api.md 1.7, 1.8, 2.5, 2.6, 2.13, 5."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from treadle.control.schemas import ReportCard
from treadle.counting import count_subject
from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json
from treadle.quotas import QUOTA_RETRY_SECONDS

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
DESTINATION_CREATE_RULE: Final = (
    "POST body may only include a type, a name, a description, map of properties, and boolean for "
    "unmapped sources"
)
STREAMS_RULE: Final = (
    "body must contain a 'streams' property with a list of metadatas by tap_stream_id"
)


def show_value(found: object) -> str:
    """Return a value of a request for an error's text: text as it is, anything else as JSON."""
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
    """Refuse a request without a valid account token, or for another account."""
    return RequestRefusedError(401, {"message": "Not Authorized"})


def route_not_found() -> RequestRefusedError:
    """Refuse an unknown path or method; the Connect API has no 405."""
    return RequestRefusedError(404, {"status": "NOT FOUND"})


def not_whole_installation() -> RequestRefusedError:
    """Refuse a call about the whole installation to one of several accounts."""
    message = (
        "This is about the whole installation, which has several accounts, so no account token "
        "allows it. The operator asks on the machine of the server."
    )
    return _make_coded_error(403, "AccessDenied", message)


def host_not_allowed() -> RequestRefusedError:
    """Refuse the page about the API under a name that is not known to be the server's."""
    message = (
        "This page is served under the address of the server and the names of the setting "
        "allowed_hosts. Ask for it by one of them, or add the name that you used."
    )
    return _make_coded_error(421, "UnknownHost", message)


def unreadable_body(status: int, message: str) -> RequestRefusedError:
    """Refuse a body that is too large, too slow or compressed in an unknown way."""
    return _make_coded_error(status, "InvalidBody", message)


def internal_error() -> RequestRefusedError:
    """Answer a request that failed by our own fault; the log says why."""
    return _make_coded_error(
        500, "InternalError", "The server met an unexpected condition. Try again later."
    )


def store_unavailable() -> RequestRefusedError:
    """Refuse a request while the store is not available."""
    refused = _make_coded_error(
        503, "TryLater", "The server cannot reach its store now. Try again later."
    )
    refused.headers = (("Retry-After", "1"),)
    return refused


# Sources -----------------------------------------------------------------------------------------


def source_not_found(source_id: str, *, status: int = 400) -> RequestRefusedError:
    """Refuse an unknown source: 400 for changes, 404 for reads (connect-api.md Q11)."""
    return _make_coded_error(status, "InvalidId", f"source not found ({source_id})")


def problem_not_found(problem_id: str) -> RequestRefusedError:
    """Refuse an unknown problem, or one that is over."""
    return _make_coded_error(404, "InvalidId", f"problem not found ({problem_id[:40]})")


def unknown_source_type(source_type: str, *, status: int = 400) -> RequestRefusedError:
    """Refuse an unknown source type: 404 for its card, 400 for a creation."""
    return _make_coded_error(status, "InvalidType", f"invalid source type ({source_type})")


def invalid_create_body() -> RequestRefusedError:
    """Refuse the body of a creation that is no object with the allowed keys."""
    return _make_coded_error(400, "InvalidBody", CREATE_RULE)


def invalid_update_body() -> RequestRefusedError:
    """Refuse the body of an update that is no object with the allowed keys."""
    return _make_coded_error(400, "InvalidBody", UPDATE_RULE)


def invalid_name() -> RequestRefusedError:
    """Refuse a sent name that no schema may have."""
    return _make_coded_error(400, "InvalidName", NAME_RULE)


def name_taken(name: str) -> RequestRefusedError:
    """Refuse a sent name that is in use."""
    return _make_coded_error(400, "InvalidName", f"non-unique name ({name})")


def derived_name_taken(display_name: str, name: str) -> RequestRefusedError:
    """Refuse a display name whose derived name is in use."""
    message = f"non-unique name after deriving it from display_name ({display_name} -> {name})"
    return _make_coded_error(400, "InvalidName", message)


def underivable_name(display_name: str, name: str) -> RequestRefusedError:
    """Refuse a display name from which no legal name can be derived."""
    message = f"invalid name after deriving it from display_name ({display_name} -> {name})"
    return _make_coded_error(400, "InvalidDisplayName", message)


def invalid_display_name(found: object) -> RequestRefusedError:
    """Refuse a display name that cannot be stored; anything but text is shown as JSON."""
    return _make_coded_error(
        400, "InvalidDisplayName", f"invalid display_name ({show_value(found)})"
    )


def invalid_properties(names: Sequence[str], card: ReportCard) -> RequestRefusedError:
    """Refuse properties: the source's type lets nobody set any."""
    return _make_coded_error(
        400,
        "InvalidProperties",
        "properties do not match schema",
        bad_properties=list(names),
        report_card=card,
    )


def destination_not_found(destination_id: object) -> RequestRefusedError:
    """Refuse a destination that the account does not have."""
    return _make_coded_error(400, "InvalidId", f"destination not found ({destination_id})")


def source_limit_reached(limit: int) -> RequestRefusedError:
    """Refuse one more source: the account has as many as its quota allows."""
    body = {
        "error": "AccessDenied",
        "data": {"message": f"the account already has the maximum of {limit} sources"},
    }
    return RequestRefusedError(429, body, (("Retry-After", str(QUOTA_RETRY_SECONDS)),))


# Accounts (connect-api.md 2.1) -------------------------------------------------------------------


def invalid_form(*fields: str) -> RequestRefusedError:
    """Refuse to make an account: fields are missing, or something else is wrong with the body.

    A wrong credential of the partner counts as missing.
    """
    body = {
        "code": "BadRequest",
        "message": "Invalid form data.",
        "errors": dict.fromkeys(fields, "required"),
    }
    return RequestRefusedError(400, body)


def owner_has_account() -> RequestRefusedError:
    """Refuse to make an account for somebody who has one."""
    message = "This email address is already associated with an active user."
    return RequestRefusedError(400, {"code": "ExistingUser", "message": message})


def too_many_accounts(message: str) -> RequestRefusedError:
    """Refuse to make an account: there are too many, or too many in a minute."""
    body = {"code": "TooManyRequests", "message": message, "errors": {}}
    return RequestRefusedError(429, body, (("Retry-After", "60"),))


# Sessions (connect-rest.md A.2.8) ----------------------------------------------------------------


def too_many_ephemeral_tokens(limit: int) -> RequestRefusedError:
    """Refuse one more ephemeral token: so many wait for their use."""
    body = {
        "error": "AccessDenied",
        "data": {
            "message": f"the account already has the maximum of {limit} unused ephemeral tokens"
        },
    }
    return RequestRefusedError(429, body, (("Retry-After", str(QUOTA_RETRY_SECONDS)),))


# Tokens ------------------------------------------------------------------------------------------


def not_an_import_source(source_id: int) -> RequestRefusedError:
    """Refuse a call about tokens: only `import_api` sources have them."""
    return _make_coded_error(
        400, "InvalidType", f"source ({source_id}) is not an import_api source"
    )


def token_limit_reached(source_id: int, limit: int) -> RequestRefusedError:
    """Refuse one more token: the source has as many as it can have."""
    message = f"source ({source_id}) already has the maximum of {limit} active access tokens"
    return _make_coded_error(400, "AccessDenied", message)


def token_not_found(token_id: str, *, status: int = 400) -> RequestRefusedError:
    """Refuse a token that is unknown, has ended, or is of another source or account."""
    return _make_coded_error(status, "InvalidId", f"token not found ({token_id})")


def too_many_tokens(message: str) -> RequestRefusedError:
    """Refuse one more token of a kind: there are as many as there can be."""
    return _make_coded_error(400, "AccessDenied", message)


def invalid_token_body(message: str) -> RequestRefusedError:
    """Refuse a body or a parameter of the calls about tokens and webhooks."""
    return _make_coded_error(400, "InvalidBody", message)


# Custom e-mails (connect-api.md 2.13) ------------------------------------------------------------


def invalid_email_address() -> RequestRefusedError:
    """Refuse a body without an e-mail address."""
    message = {"email_address": "Required. Must be valid email address format."}
    return RequestRefusedError(400, {"error": {"message": message}})


def too_many_custom_emails() -> RequestRefusedError:
    """Refuse one more custom e-mail: the account has as many as it may have."""
    message = "Account not authorized to create additional custom notification email addresses."
    return RequestRefusedError(400, {"error": {"message": message}})


def invalid_disabled_at(found: object) -> RequestRefusedError:
    """Refuse a time of disabling that is none; anything but text is shown as JSON."""
    return RequestRefusedError(400, {"disabled_at": show_value(found)})


def custom_email_not_found() -> RequestRefusedError:
    """Refuse a custom e-mail that the account does not have."""
    return RequestRefusedError(404, {"status": "NOT FOUND"})


def invalid_table_schema(message: str) -> RequestRefusedError:
    """Refuse the schema of a table."""
    return _make_coded_error(400, "InvalidSchema", f"the schema cannot be used: {message}")


def table_schema_not_found(table: str) -> RequestRefusedError:
    """Refuse a call about the schema of a table that has none."""
    return _make_coded_error(404, "InvalidId", f"the table has no schema ({table[:200]})")


def source_not_named(count: int) -> RequestRefusedError:
    """Refuse a call that names no source where the account has none, or several."""
    message = f"the account has {count} sources; name one with ?source=ID"
    return _make_coded_error(404, "InvalidId", message)


# Destinations: a JSON string, with its quotes (connect-api.md 1.8, 2.8) ---------------------------


def unknown_destination_type_card(type_: str) -> RequestRefusedError:
    """Refuse to show the card of a type that is unknown or not installed."""
    return _make_coded_error(404, "InvalidType", f"invalid destination type ({type_})")


def unknown_destination_type(type_: str) -> RequestRefusedError:
    """Refuse a new destination of a type that is unknown or not installed."""
    return RequestRefusedError(400, f"invalid destination type ({type_})")


def invalid_destination_params() -> RequestRefusedError:
    """Refuse a parameter that the list of destinations does not have."""
    return RequestRefusedError(
        400, "GET may only include the params: source_id and/or destination_id"
    )


def invalid_destination_body() -> RequestRefusedError:
    """Refuse the body of a creation that lacks a key, or has another one."""
    return RequestRefusedError(400, DESTINATION_CREATE_RULE)


def invalid_destination_update() -> RequestRefusedError:
    """Refuse the body of an update that is anything but a map of properties."""
    return RequestRefusedError(400, "PUT body may only include a map of properties")


def destination_type_is_fixed() -> RequestRefusedError:
    """Refuse an update that has a type, even the present one."""
    return RequestRefusedError(400, "this API endpoint does not support modifying destination type")


def destination_unknown(*, status: int = 400) -> RequestRefusedError:
    """Refuse an unknown or deleted destination: 400 for changes, 404 for reads."""
    return RequestRefusedError(status, "invalid connection id")


def destination_not_deleted(destination_id: str, account_id: int) -> RequestRefusedError:
    """Refuse to delete a destination that is unknown, or deleted already."""
    return RequestRefusedError(
        400, f"Unable to locate dest ({destination_id}) for client ({account_id}) to delete"
    )


def destination_limit_reached() -> RequestRefusedError:
    """Refuse one more destination: the account has as many as the setting allows."""
    return RequestRefusedError(400, "you are at your destination limit")


def destination_is_held(destination_id: int) -> RequestRefusedError:
    """Refuse to change a destination that the setting `destination` names."""
    return RequestRefusedError(
        400, f"destination {destination_id} is set by the server's configuration"
    )


def properties_do_not_match(names: Sequence[str]) -> RequestRefusedError:
    """Refuse properties that are missing or unknown, or do not fit."""
    return RequestRefusedError(400, f"properties do not match schema: {', '.join(names)}")


def tunnel_not_supported(value: str) -> RequestRefusedError:
    """Refuse a tunnel to the database."""
    return RequestRefusedError(400, f"encryption_type {value} is not supported")


def path_outside_of_folder() -> RequestRefusedError:
    """Refuse a DuckDB file outside of the folder for them."""
    return RequestRefusedError(400, "path is outside of the folder for DuckDB files")


# What an import_api source does not have (connect-api.md 5) --------------------------------------


def connection_check_not_found(source_id: int) -> RequestRefusedError:
    """Answer that there is no connection check: the source is pushed to."""
    return _make_coded_error(404, "InvalidId", f"no connection check for source ({source_id})")


def stream_not_found(stream_id: str) -> RequestRefusedError:
    """Refuse an unknown stream, or an unknown source that was asked for streams."""
    return RequestRefusedError(400, f"invalid stream-id: {stream_id}")


def unknown_tap_streams(ids: Sequence[str]) -> RequestRefusedError:
    """Refuse streams that no discovery found; with two blanks in the text (connect-api.md 7)."""
    return RequestRefusedError(
        400, {"invalid_fields": f"invalid tap-stream-ids:  [{' '.join(ids)}]"}
    )


def read_only_metadata(keys: Sequence[str]) -> RequestRefusedError:
    """Refuse to set metadata: of a pushed table none can be set (connect-api.md 2.10)."""
    shown = " ".join(encode_json(key).decode() for key in keys)
    message = f"only non-discoverable metadata can be produced by the UI: #{{{shown}}}"
    return RequestRefusedError(400, {"invalid_fields": message})


def invalid_streams_body() -> RequestRefusedError:
    """Refuse the body of a selection that lacks a part."""
    return RequestRefusedError(400, STREAMS_RULE)


def _make_job_error(kind: str, message: str) -> RequestRefusedError:
    return RequestRefusedError(400, {"error": {"type": kind, "message": message}})


def job_source_not_found(source_id: str, account_id: int) -> RequestRefusedError:
    """Refuse a job for an unknown source."""
    message = f"Unable to locate source({source_id}) for client ({account_id})"
    return _make_job_error("invalid_source", message)


def job_source_deleted() -> RequestRefusedError:
    """Refuse a job for a deleted source."""
    return _make_job_error("invalid_source", "Integration is deleted.")


def job_not_created(source_id: int, account_id: int) -> RequestRefusedError:
    """Refuse to start a job: treadle pulls nothing."""
    message = f"Could not create job for client-id: {account_id}; connection-id: {source_id}"
    return _make_job_error("generic", message)


def invalid_option(message: str) -> RequestRefusedError:
    """Refuse options that there are not, or values that they do not have."""
    return _make_coded_error(400, "InvalidOption", message)


def table_not_found(name: str) -> RequestRefusedError:
    """Refuse a table of which the source never pushed a record."""
    return _make_coded_error(404, "InvalidId", f"table not found ({name[:200]})")


def table_not_failing(name: str, state: str) -> RequestRefusedError:
    """Refuse to try a table again that is loaded, or has nothing to load."""
    message = f"table {name[:200]} is {state}: only one that failed or stopped is tried again"
    return _make_coded_error(409, "NotFailing", message)


def rebuild_under_way(name: str, operation_id: int) -> RequestRefusedError:
    """Refuse a second rebuild of a table at the same time."""
    message = f"table {name[:200]} is being built again already (operation {operation_id})"
    return _make_coded_error(409, "RebuildUnderWay", message)


def load_not_found(load_id: str) -> RequestRefusedError:
    """Refuse an unknown load; reports of loads are kept for `report_days`."""
    return _make_coded_error(404, "InvalidId", f"load not found ({load_id[:200]})")


# Post-load hooks (connect-api.md 2.13) -----------------------------------------------------------


def _make_hook_error(code: str, message: str) -> RequestRefusedError:
    """Return an error of the documented calls about hooks, with its keys in their order."""
    return RequestRefusedError(400, {"data": {"message": message}, "error": code})


def invalid_hook_creation() -> RequestRefusedError:
    """Refuse the body of a creation that lacks a key, or has another one."""
    return _make_hook_error("InvalidBody", "Invalid POST body")


def invalid_hook_uri() -> RequestRefusedError:
    """Refuse a URL that is not called: not HTTPS, with a password, or of a refused address."""
    return _make_hook_error("InvalidBody", "Invalid URI")


def hook_destination_not_found(destination_id: int | None) -> RequestRefusedError:
    """Refuse a hook of a destination that the account does not have; None where it has none."""
    named = "none" if destination_id is None else str(destination_id)
    return _make_hook_error("InvalidId", f"destination not found ({named})")


def hook_limit_reached(limit: int) -> RequestRefusedError:
    """Refuse one more hook: the account has as many as it can have, disabled ones included."""
    message = f"You have exceeded the limit of {limit} hooks."
    return RequestRefusedError(400, {"error": {"message": message}})


def invalid_hook_update() -> RequestRefusedError:
    """Refuse the body of an update that is not `enable` alone."""
    return _make_hook_error("InvalidBody", "PUT body must only contain boolean 'enable' key")


def hook_unknown() -> RequestRefusedError:
    """Refuse an unknown hook in the documented calls."""
    return RequestRefusedError(400, {"error": "NotFound"})


def hook_not_found(hook_id: str) -> RequestRefusedError:
    """Refuse an unknown hook in the calls of our own."""
    return _make_coded_error(404, "InvalidId", f"hook not found ({hook_id})")


def delivery_not_found(delivery_id: str) -> RequestRefusedError:
    """Refuse an unknown delivery, or one of another hook."""
    return _make_coded_error(404, "InvalidId", f"delivery not found ({delivery_id})")


def invalid_hook_change(message: str) -> RequestRefusedError:
    """Refuse a body or a parameter of the calls of our own about hooks."""
    return _make_coded_error(400, "InvalidBody", message)


def delivery_count_differs(message: str) -> RequestRefusedError:
    """Refuse to send other deliveries again than were looked at."""
    return _make_coded_error(409, "CountDiffers", message)


def no_mail_server() -> RequestRefusedError:
    """Refuse to send a mail where there is no mail server."""
    return _make_coded_error(
        409, "NoMailServer", "The server has no smtp_url, so it sends no mail. Set it, and restart."
    )


# Rejected records --------------------------------------------------------------------------------


def invalid_reject_request(message: str) -> RequestRefusedError:
    """Refuse a body or a parameter of the calls about rejected records."""
    return _make_coded_error(400, "InvalidBody", message)


def reject_not_found(reject_id: str) -> RequestRefusedError:
    """Refuse an unknown rejected record, or one of another account."""
    return _make_coded_error(404, "InvalidId", f"rejected record not found ({reject_id})")


def rejected_record_gone(message: str, reject: Mapping[str, Any]) -> RequestRefusedError:
    """Refuse a rejected record that the log does not keep any more."""
    return _make_coded_error(410, "RecordGone", message, reject=reject)


def reject_count_differs(expected: int, found: int) -> RequestRefusedError:
    """Refuse a resend of another number of records than the client has seen."""
    message = (
        f"{count_subject(expected, 'record', 'was', 'were')} expected, and {found} "
        f"{'is' if found == 1 else 'are'} open now. Look at them again, and "
        "send the number that you mean."
    )
    return _make_coded_error(409, "CountDiffers", message, records=found)


def source_takes_no_records(message: str) -> RequestRefusedError:
    """Refuse a resend to a source that is paused or deleted."""
    return _make_coded_error(409, "SourcePaused", message)


def operation_not_found(operation_id: str) -> RequestRefusedError:
    """Refuse an unknown operation, or one of another account."""
    return _make_coded_error(404, "InvalidId", f"operation not found ({operation_id})")


def destination_not_asked() -> RequestRefusedError:
    """Refuse a dry run while the destination cannot be asked."""
    return _make_coded_error(
        503, "TryLater", "The destination cannot be asked now. `treadle doctor` says more."
    )


# Users -------------------------------------------------------------------------------------------


def invalid_user_body(message: str) -> RequestRefusedError:
    """Refuse a body about a user that does not fit."""
    return _make_coded_error(400, "InvalidBody", message)


def user_rule_broken(message: str) -> RequestRefusedError:
    """Refuse what breaks a rule about users (console.md B.9)."""
    return _make_coded_error(400, "AccessDenied", message)


def user_not_found(user_id: str) -> RequestRefusedError:
    """Refuse a user that the account has not, or an invitation of a disabled one."""
    return _make_coded_error(404, "InvalidId", f"user not found ({user_id[:40]})")
