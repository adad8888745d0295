"""Parses requests about tokens and webhooks into values, or refuses them."""

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from treadle.control import errors
from treadle.control.lookups import ID_MAX, parse_id
from treadle.control.times import instant
from treadle.records.field_check import are_table_names
from treadle.records.limits import TABLE_CHARACTERS_MAX
from treadle.records.webhook_provider import HEADER_PREFIX, PROVIDERS, is_key_name
from treadle.store.model import SenderSignature
from treadle.store.token_rules import ACCOUNT, IMPORT, PLAIN_HEADER, WEBHOOK, TokenRequest

API_KINDS: Final = (ACCOUNT, IMPORT, WEBHOOK)
"""The kinds of tokens that an account has. Others belong to the whole server."""

OVERLAP_SECONDS_DEFAULT: Final = 86_400
OVERLAP_SECONDS_MAX: Final = 366 * 86_400
WEBHOOK_KEYS_MAX: Final = 20

T = TypeVar("T")


class SignatureBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The scheme and the secret by which a sender signs, as a request has them."""

    scheme: str
    secret: str
    header: str | None = None
    encoding: str = "hex"


class TokenBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/tokens`."""

    kind: str
    source_id: int | None = None
    description: str = ""
    expires_at: str | None = None
    tables: tuple[str, ...] = ()
    signature: SignatureBody | None = None


class TokenChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PUT /v1/tokens/{token_id}`; what is left out stays."""

    expires_at: str | msgspec.UnsetType | None = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET


class AccountTokenBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/account-tokens`."""

    description: str = ""
    expires_at: str | None = None


class AccountTokenChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PUT /v1/account-tokens/{token_id}`; what is left out stays."""

    disabled: bool | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class TokenChange:
    """A change of a token that a client asks for.

    Attributes:
        description: its new note; None to keep it.
        expires: whether `expires_at` is to be set.
        expires_at: microseconds since 1970; None for never.
        disabled: whether it is refused from now on; None to keep that.
    """

    description: str | None = None
    expires: bool = False
    expires_at: int | None = None
    disabled: bool | None = None


class ReplacementBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/tokens/{token_id}/replace`."""

    overlap_seconds: int = OVERLAP_SECONDS_DEFAULT


class WebhookBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PUT /v1/sources/{source_id}/webhook`; what is left out stays."""

    table: str | msgspec.UnsetType = msgspec.UNSET
    key: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    upsert: bool | msgspec.UnsetType = msgspec.UNSET
    import_tokens: bool | msgspec.UnsetType = msgspec.UNSET
    provider: str | msgspec.UnsetType | None = msgspec.UNSET


def parse_token_creation(raw: bytes) -> tuple[TokenRequest, int | None]:
    """Parse the body of `POST /v1/tokens` into what is asked for, and the id of its source.

    Raises:
        RequestRefusedError: with what was expected.
    """
    body = _parse_body(raw, TokenBody)
    if body.kind not in API_KINDS:
        raise errors.invalid_token_body(f"kind is one of {', '.join(API_KINDS)}")
    if (body.source_id is None) != (body.kind == ACCOUNT):
        needs = "no source_id" if body.kind == ACCOUNT else "the source_id of its source"
        raise errors.invalid_token_body(f"a token of the kind {body.kind} has {needs}")
    if body.source_id is not None and not 1 <= body.source_id <= ID_MAX:
        raise errors.source_not_found(str(body.source_id))
    asked = TokenRequest(
        body.kind,
        body.description,
        _parse_expiry(body.expires_at),
        body.tables,
        None if body.signature is None else _make_signature(body.signature),
    )
    return asked, body.source_id


def parse_token_change(raw: bytes) -> TokenChange:
    """Parse the body of `PUT /v1/tokens/{token_id}`.

    Raises:
        RequestRefusedError: with what was expected.
    """
    body = _parse_body(raw, TokenChangeBody)
    description = None if isinstance(body.description, msgspec.UnsetType) else body.description
    if isinstance(body.expires_at, msgspec.UnsetType):
        if description is None:
            raise errors.invalid_token_body("the body has a description or expires_at")
        return TokenChange(description)
    return TokenChange(description, expires=True, expires_at=_parse_expiry(body.expires_at))


def parse_account_token(raw: bytes) -> TokenRequest:
    """Parse the body of `POST /v1/account-tokens`, which may be empty.

    Raises:
        RequestRefusedError: with what was expected.
    """
    body = _parse_body(raw or b"{}", AccountTokenBody)
    return TokenRequest(ACCOUNT, body.description, _parse_expiry(body.expires_at))


def parse_account_token_change(raw: bytes) -> TokenChange:
    """Parse the body of `PUT /v1/account-tokens/{token_id}`.

    Raises:
        RequestRefusedError: with what was expected.
    """
    body = _parse_body(raw, AccountTokenChangeBody)
    description = None if isinstance(body.description, msgspec.UnsetType) else body.description
    disabled = None if isinstance(body.disabled, msgspec.UnsetType) else body.disabled
    if description is None and disabled is None:
        raise errors.invalid_token_body("the body has a description or disabled")
    return TokenChange(description, disabled=disabled)


def parse_overlap(raw: bytes) -> int:
    """Parse the body of `POST /v1/tokens/{token_id}/replace`, which may be empty, into seconds.

    Raises:
        RequestRefusedError: with what was expected.
    """
    seconds = _parse_body(raw or b"{}", ReplacementBody).overlap_seconds
    if not 0 <= seconds <= OVERLAP_SECONDS_MAX:
        raise errors.invalid_token_body(
            f"overlap_seconds is a number of seconds from 0 to {OVERLAP_SECONDS_MAX}"
        )
    return seconds


def parse_webhook_change(raw: bytes) -> dict[str, Any]:
    """Parse the body of `PUT /v1/sources/{source_id}/webhook` into a merge patch of its settings.

    Raises:
        RequestRefusedError: with what was expected.
    """
    body = _parse_body(raw, WebhookBody)
    given = {name: getattr(body, name) for name in body.__struct_fields__}
    change = {name: value for name, value in given.items() if value is not msgspec.UNSET}
    if "table" in change and not are_table_names((change["table"],)):
        raise errors.invalid_token_body(
            f"table is the name of a table, at most {TABLE_CHARACTERS_MAX} characters"
        )
    if "key" in change:
        change["key"] = list(change["key"])
        if len(change["key"]) > WEBHOOK_KEYS_MAX or not all(map(is_key_name, change["key"])):
            raise errors.invalid_token_body(
                f"key is a list of at most {WEBHOOK_KEYS_MAX} names of fields, or of headers such"
                f" as {HEADER_PREFIX}X-Request-Id"
            )
    if change.get("provider") not in (None, *PROVIDERS):
        raise errors.invalid_token_body(f"provider is null or one of {', '.join(PROVIDERS)}")
    return change


def parse_kinds(asked: str | None) -> tuple[str, ...]:
    """Return the kinds of tokens that a query asks for: one, or all that an account has.

    Raises:
        RequestRefusedError: it is no such kind.
    """
    if asked is None:
        return API_KINDS
    if asked not in API_KINDS:
        raise errors.invalid_token_body(f"kind is one of {', '.join(API_KINDS)}")
    return (asked,)


def parse_source_id(asked: str | None) -> int | None:
    """Return the source that a query asks for; None for all.

    Raises:
        RequestRefusedError: it is no id.
    """
    if asked is None:
        return None
    number = parse_id(asked)
    if number is None:
        raise errors.source_not_found(asked)
    return number


def _make_signature(body: SignatureBody) -> SenderSignature:
    header = body.header
    if header is None:
        header = PLAIN_HEADER if body.scheme == "plain" else ""
    return SenderSignature(body.scheme, body.secret, header, body.encoding)


def _parse_expiry(text: str | None) -> int | None:
    if text is None:
        return None
    found = instant(text)
    if found is None:
        raise errors.invalid_token_body(
            f"expires_at is a time such as 2027-01-01T00:00:00Z, or null, not {text[:40]!r}"
        )
    return found


def _parse_body(raw: bytes, form: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=form)
    except (ValueError, RecursionError) as error:  # bytes that are not UTF-8 are a ValueError, too
        raise errors.invalid_token_body(f"the body does not fit: {error}") from error
