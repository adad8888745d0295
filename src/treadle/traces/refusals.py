"""Refused requests as they are kept: each of the latest ones whole, and all of them counted.

Nothing here asks anything.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

import msgspec

BODY_BYTES_MAX: Final = 500
"""Bytes of an answer that are kept."""

REASON_CHARACTERS_MAX: Final = 100
ADDRESS_CHARACTERS_MAX: Final = 45
"""Characters of an address: as many as IPv6 has at most."""

MINUTES: Final = 60
"""Minutes for which refusals are counted one by one."""

STRANGERS: Final = 0
"""Stands for the account of requests without a token that the store knows."""

HIDDEN: Final = "***"
"""What stands for a token in the text of an answer."""

_NAMED: Final = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`")
_NUMBER: Final = re.compile(r"\d+")


class RefusalGroup(msgspec.Struct, frozen=True, array_like=True):
    """What refusals have in common that are counted together.

    Attributes:
        endpoint: as in the metrics: a name such as "push", never a path, which may hold a token.
        status: of the answer.
        reason: the answer's sentence without names and numbers.
        account_id: whose token was sent; 0 for strangers.
        source_id: of the token; 0 for none.
        token_id: the id of the token; 0 for none that the store knows.
    """

    endpoint: str
    status: int
    reason: str
    account_id: int = STRANGERS
    source_id: int = 0
    token_id: int = 0


class KeptRefusal(msgspec.Struct, frozen=True, array_like=True):
    """One refused request.

    Attributes:
        at: microseconds since 1970.
        group: with what it is counted.
        fingerprint: the first eight hexadecimal digits of the token's SHA-256; empty for no token.
        address: of the client; empty where it is not known.
        bytes: of the body, as the request declared them.
        body: the beginning of the answer, without any token.
        id: of the request: the worker and a number, "1-1042".
    """

    at: int
    group: RefusalGroup
    fingerprint: str
    address: str
    bytes: int
    body: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """The refusals of one group.

    Attributes:
        first, last: times of the first and the last one, microseconds since 1970.
        total: all of them, since the group was first seen.
        minutes: those of each of the last 60 minutes, the present one last.
        latest: the last one, where it is still kept.
    """

    group: RefusalGroup
    first: int
    last: int
    total: int
    minutes: tuple[int, ...]
    latest: KeptRefusal | None = None


def name_reason(status: int, body: bytes) -> str:
    """Return why a request was refused, in words that are the same for all refusals of a kind.

    Names in quotes and numbers are left out of the answer's sentence.

    Args:
        status: of the answer.
        body: of the answer; JSON or text.
    """
    said = _find_sentence(body).strip() or _name_status(status)
    return _NUMBER.sub("N", _NAMED.sub('"…"', said))[:REASON_CHARACTERS_MAX]


def _find_sentence(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return text
    if isinstance(value, dict):
        for name in ("message", "error", "status"):
            if isinstance(value.get(name), str):
                return str(value[name])
    return value if isinstance(value, str) else text


def _name_status(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"status {status}"


def keep_body(body: bytes, token: str | None) -> str:
    """Return the beginning of an answer as it is kept: without the token that was sent."""
    text = body[: 4 * BODY_BYTES_MAX].decode("utf-8", "replace")
    if token:
        text = text.replace(token, HIDDEN)
    return text.encode()[:BODY_BYTES_MAX].decode("utf-8", "ignore")


def merge_counts(counts: Iterable[RefusalCount]) -> list[RefusalCount]:
    """Return one count for each group, those of several workers together; the latest first."""
    merged: dict[RefusalGroup, RefusalCount] = {}
    for one in counts:
        known = merged.get(one.group)
        if known is None:
            merged[one.group] = one
            continue
        newer = max(known, one, key=lambda count: count.last)
        merged[one.group] = replace(
            newer,
            first=min(known.first, one.first),
            total=known.total + one.total,
            minutes=tuple(map(sum, zip(known.minutes, one.minutes, strict=True))),
        )
    return sorted(merged.values(), key=lambda count: count.last, reverse=True)


def shift_minutes(counted: Sequence[int], newest: int, now: int) -> tuple[int, ...]:
    """Return the counts of the last 60 minutes, the present one last.

    Args:
        counted: by minute since 1970 modulo 60, up to the minute `newest`.
        newest: the last minute that was counted.
        now: the present minute.
    """
    return tuple(
        counted[minute % MINUTES] if newest - MINUTES < minute <= newest else 0
        for minute in range(now - MINUTES + 1, now + 1)
    )
