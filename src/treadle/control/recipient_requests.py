"""Parses requests about custom e-mails into values, or refuses them (connect-api.md 2.13)."""

from typing import Any

import msgspec

from treadle.control import errors
from treadle.control.times import instant
from treadle.store.recipients import is_mail_address


def parse_recipient_creation(raw: bytes) -> str:
    """Parse the body of `POST .../custom-emails` into the address; other keys mean nothing.

    Raises:
        RequestRefusedError: with the documented answer.
    """
    address = _parse_object(raw).get("email_address")
    if not isinstance(address, str) or not is_mail_address(address):
        raise errors.invalid_email_address()
    return address


def parse_recipient_change(raw: bytes) -> int | None:
    """Parse the body of `PUT .../custom-emails/{id}` into `disabled_at`; other keys mean nothing.

    Returns:
        Microseconds since 1970; None to enable it.

    Raises:
        RequestRefusedError: with the documented answer.
    """
    body = _parse_object(raw)
    if "disabled_at" not in body:
        raise errors.invalid_disabled_at("")
    found = body["disabled_at"]
    if found is None:
        return None
    disabled_at = instant(found) if isinstance(found, str) else None
    if disabled_at is None:
        raise errors.invalid_disabled_at(found)
    return disabled_at


def _parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; one without keys for any other body."""
    try:
        value = msgspec.json.decode(raw)
    except (ValueError, RecursionError):  # bytes that are not UTF-8 are a ValueError, too
        return {}
    return value if isinstance(value, dict) else {}
