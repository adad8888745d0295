"""What somebody can do about a refused request, in words. Pure."""

from typing import Final

from treadle.store.model import AccessToken, Source
from treadle.traces.refusals import KeptRefusal

PUSH: Final = "/v2/import/push"
NOT_ACTIVE: Final = "Connection is not active"
"""Of the answer to a push into a paused source (import-api.md 17.1)."""

EXAMPLES: Final = "The examples of the page First rows are accepted."


def advise_refusal(
    refusal: KeptRefusal,
    *,
    account_id: int,
    now: int,
    token: AccessToken | None,
    source: Source | None,
) -> str:
    """Return what to change so that a request like a refused one is accepted.

    Args:
        refusal: the request.
        account_id: of who asks.
        now: microseconds since 1970.
        token: that was sent; None where the account has no such token.
        source: of that token; None where it is not known.
    """
    status = refusal.group.status
    if status == 401:
        return _advise_token(refusal, now, token, source)
    if status == 403:
        return (
            f"The token is right, and not for this. In a push, client_id has to be {account_id}, "
            "the id of the account; a webhook token fills only the tables that it was made for."
        )
    if status == 400 and refusal.group.endpoint == "push":
        return (
            "The body is not what the endpoint takes; the answer says what it found. A push is a "
            "JSON array of records, each with client_id, table_name, sequence, key_names and "
            f"data. {EXAMPLES}"
        )
    if status >= 500:
        return _SERVER.get(status, "This is a fault of the server: its log lines say what it was.")
    return _SENDER.get(status, "The sender has to change the request as the answer says.")


def _advise_token(
    refusal: KeptRefusal, now: int, token: AccessToken | None, source: Source | None
) -> str:
    if not refusal.fingerprint:
        if source is not None and not source.active:
            return _advise_source(source)
        return (
            "The request had no token. Send the header `Authorization: Bearer at_...` with an "
            "import token of the source."
        )
    if token is None and not refusal.group.token_id:
        return (
            "No token of this server is like the one that was sent. Copy it again, whole: it "
            "begins with at_. If it is lost, make another one."
        )
    if token is not None and not token.is_active(now):
        return (
            f"Token {token.id} was revoked or has expired. Give the sender another token of the "
            "source."
        )
    if token is not None and token.kind == "account":
        return (
            "This is an account token, which pushes nothing. Use an import token of a source: it "
            "begins with at_."
        )
    if source is not None and not source.active:
        return _advise_source(source)
    if NOT_ACTIVE in refusal.body:
        return "The source was paused then, and takes requests now. Send the same again."
    if "Not Authenticated" in refusal.body:
        return "The first record of the push has no client_id. Put the id of the account there."
    if "ignature" in refusal.body:
        return (
            "The signature of the sender does not fit. Both sides need the same secret, and the "
            "body has to arrive as it was signed."
        )
    return "The token does not open this endpoint. Use an import token of the source: at_..."


def _advise_source(source: Source) -> str:
    if source.deleted_at is not None:
        return f"The source {source.name} is deleted. Send with a token of another source."
    return f"The source {source.name} is paused. Unpause it, and the same request is accepted."


_SENDER: Final = {
    400: "The body or a parameter is not what the endpoint takes; the answer says what it found.",
    404: f"There is no such path. Pushes go to {PUSH}. {EXAMPLES}",
    405: "The path is right, and the method is not. Send it with POST.",
    408: "The request came too slowly and was given up. Look at the network between.",
    409: "Another request with the same name is under way. Send it again later.",
    413: "The body is too large: at most 20 MB and 20,000 records. Send it in several requests.",
    414: "The path is too long. Put what is in it into the body.",
    415: "The form of the body is not taken. Send `Content-Type: application/json`, and a body as "
    "it is or compressed with gzip or zstd.",
    422: "A record is not as the endpoint or the schema wants it; the answer names it. Or an "
    "Idempotency-Key was used for another body.",
    429: "The source has used what it may for now. Send slower, or raise its quota with "
    "`treadle source quota`.",
    431: "The headers are too large. Send fewer or shorter ones.",
}  # fmt: skip

_SERVER: Final = {
    501: "The request uses a part of HTTP that the server has not. Send it plainly, with POST.",
    503: "The server could not keep the request, and the sender may repeat it. Often the disk or "
    "the log is full: `treadle doctor` says which.",
    504: "The disk of the log did not answer in time, so nobody knows whether the request is kept. "
    "Send it again with the same Idempotency-Key, or as an upsert with the same sequence.",
    505: "Send the request with HTTP/1.1.",
}  # fmt: skip
