"""Parses the body of `POST /v3/accounts` into values, or refuses it (connect-api.md 2.1)."""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from treadle.control import errors
from treadle.control.partner import PartnerCredentials
from treadle.store.model import AccountOwner

ACCOUNT_BODY_BYTES_MAX: Final = 4096
"""Largest body in bytes. It is a stranger's until its credentials were read, so it is as large as
the longest useful one and no larger."""

TEXT_CHARACTERS_MAX: Final = 255
ADDRESS_CHARACTERS_MAX: Final = 254  # RFC 5321 4.5.3.1.3, without the angle brackets

REGIONS: Final = ("us-east-1", "eu-central-1")
"""The regions of Stitch. The first one is meant where none is named."""

_NEEDED: Final = ("company", "email", "first_name", "last_name")


@dataclass(frozen=True, slots=True)
class AccountCreation:
    """A request of the partner to make an account.

    Attributes:
        company: the name of the account.
    """

    company: str
    owner: AccountOwner


def parse_partner_body(raw: bytes, credentials: PartnerCredentials) -> dict[str, Any]:
    """Return the JSON object of a body that has the partner's credentials.

    Raises:
        RequestRefusedError: the body is no object, or the id or the secret is missing or wrong.
    """
    try:
        body = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise errors.invalid_form()
    sent = [_read_text(body.get(name)) for name in ("partner_id", "partner_secret")]
    is_partner, has_secret = credentials.compare(*sent)
    if not is_partner:
        raise errors.invalid_form("partner_id")
    if not has_secret:
        raise errors.invalid_form("partner_secret")
    return body


def parse_account_creation(body: dict[str, Any]) -> AccountCreation:
    """Return what is asked for.

    Raises:
        RequestRefusedError: a field is missing, or has a value that it cannot have.
    """
    missing = [name for name in _NEEDED if body.get(name) is None or body[name] == ""]
    if missing:
        raise errors.invalid_form(*missing)
    region = body.get("region")
    region = REGIONS[0] if region is None else region
    texts = [body[name] for name in _NEEDED]
    if not all(map(_is_storable, texts)) or region not in REGIONS or not is_address(texts[1]):
        raise errors.invalid_form()
    company, email, first_name, last_name = texts
    return AccountCreation(company, AccountOwner(email, first_name, last_name, region))


def is_address(text: str) -> bool:
    """Return whether a text is like an e-mail address: one `@`, and a dot behind it."""
    name, at, host = text.partition("@")
    if not (name and at) or "@" in host or len(text) > ADDRESS_CHARACTERS_MAX:
        return False
    return "." in host.strip(".") and text.isprintable() and " " not in text


def _read_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _is_storable(value: object) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_CHARACTERS_MAX and "\0" not in value
