"""A check as the desk orders it from a task process, and its result: values and their bytes."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from treadle.destinations.rehearsal_result import RehearsalResult, describe_rehearsal
from treadle.http.address_policy import AddressPolicy
from treadle.tables.schema_owner import SchemaOwner

HIDDEN: Final = "***"
SECRET_CHARACTERS_MIN: Final = 6
"""A shorter password is hidden only where it is a word: it may be a part of many."""
_SECRET_WORDS: Final = ("password", "secret", "token", "key")
"""Words in the names of parameters of a URL whose values are secrets."""


@dataclass(frozen=True, slots=True)
class CheckOrder:
    """What a check needs to know.

    Attributes:
        url: of the destination, with credentials.
        schemas: of the sources that load into it, with their owners.
        now: microseconds since 1970.
        data: the data folder.
        turns: the folder of claims, see `LoaderPriority`.
        store_url: of the store, by which rehearsals are locked.
        policy: which addresses are connected to, since an account named the destination; None for
            any.
    """

    url: str = field(repr=False)
    schemas: tuple[tuple[str, SchemaOwner], ...]
    now: int
    data: Path
    turns: Path
    store_url: str = field(repr=False)
    policy: AddressPolicy | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found.

    Attributes:
        error: why no load is possible, without secrets; None if one is.
        phases: JSON values of `PhaseResult`, in order.
    """

    error: str | None
    phases: tuple[dict[str, Any], ...] = ()


def encode_order(order: CheckOrder) -> bytes:
    """Encode an order for a task process."""
    return msgspec.json.encode(order, enc_hook=str)  # of paths


def decode_order(payload: bytes) -> CheckOrder:
    """Decode what `encode_order` encoded."""
    return msgspec.json.decode(payload, type=CheckOrder, dec_hook=lambda kind, value: kind(value))


def encode_result(found: RehearsalResult, url: str) -> bytes:
    """Encode what a rehearsal found in the destination of a URL."""
    error = None if found.fault is None else hide_secrets(describe_rehearsal(found), url)
    phases = tuple(
        {"phase": each.phase, "milliseconds": each.milliseconds, "failed": each.failed}
        for each in found.phases
    )
    return msgspec.json.encode(CheckResult(error, phases))


def decode_result(payload: bytes) -> CheckResult:
    """Decode what `encode_result` encoded."""
    return msgspec.json.decode(payload, type=CheckResult)


def hide_secrets(text: str, url: str) -> str:
    """Return a text, often a database's, without the passwords of a URL that it may repeat."""
    for secret in _list_secrets(url):
        if len(secret) >= SECRET_CHARACTERS_MIN:
            text = text.replace(secret, HIDDEN)
        else:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return text


def _list_secrets(url: str) -> list[str]:
    """Return the passwords in a URL, as they are written there and decoded; the longest first."""
    try:
        parts = urlsplit(url)
        password = parts.password or ""
    except ValueError:
        return []
    found = {password, unquote(password)}
    found |= {
        value
        for name, value in parse_qsl(parts.query)
        if any(word in name.lower() for word in _SECRET_WORDS)
    }
    return sorted(found - {""}, key=len, reverse=True)
