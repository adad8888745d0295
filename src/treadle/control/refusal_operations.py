"""What is told of refused requests: the latest ones whole, and all of them counted by cause."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from treadle.control.load_operations import invalid_parameter
from treadle.control.lookups import parse_id
from treadle.control.traces import TraceFiles, sees_installation
from treadle.store.model import Account
from treadle.store.store import Store
from treadle.timestamps import format_microseconds
from treadle.traces.refusal_file import read_counts, read_refusals
from treadle.traces.refusals import (
    STRANGERS,
    KeptRefusal,
    RefusalCount,
    RefusalGroup,
    merge_counts,
)

REFUSALS_MAX: Final = 100
"""Refusals of one answer."""

GROUPS_MAX: Final = 200
"""Groups of one answer."""

STATUSES: Final = range(400, 600)


@dataclass(frozen=True, slots=True)
class RefusalFilter:
    """A choice of refusals. None stands for any.

    Attributes:
        account_id: of this account; None for all, strangers included.
        fingerprint: of the token.
        address: of the client.
    """

    account_id: int | None = None
    source_id: int | None = None
    token_id: int | None = None
    fingerprint: str | None = None
    endpoint: str | None = None
    status: int | None = None
    address: str | None = None

    def matches_group(self, group: RefusalGroup) -> bool:
        """Return whether refusals of a group may be chosen."""
        return (
            self.account_id in (None, group.account_id)
            and self.source_id in (None, group.source_id)
            and self.token_id in (None, group.token_id)
            and self.endpoint in (None, group.endpoint)
            and self.status in (None, group.status)
        )

    def matches(self, refusal: KeptRefusal) -> bool:
        """Return whether a refusal is chosen."""
        return (
            self.matches_group(refusal.group)
            and self.fingerprint in (None, refusal.fingerprint)
            and self.address in (None, refusal.address)
        )


def list_refusals(
    store: Store,
    files: TraceFiles,
    account: Account,
    source: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    status: str | None = None,
    address: str | None = None,
    before: str | None = None,
) -> dict[str, Any]:
    """Return the refused requests that an account may see, newest first, and their groups.

    Raises:
        RequestRefusedError: 400 for a parameter that is wrong.
    """
    wanted = RefusalFilter(
        account_id=None if sees_installation(store, account) else account.id,
        source_id=_parse_number("source", "the id of a source", source),
        token_id=_parse_number("token", "the id of a token", token),
        endpoint=endpoint,
        status=parse_status(status),
        address=address,
    )
    place = None if before is None else parse_place(before)
    found = [one for one in read_refusals(files.refusals) if wanted.matches(one)]
    if place is not None:
        found = [one for one in found if (one.at, one.id) < place]
    shown = found[:REFUSALS_MAX]
    counts = merge_counts(
        one for one in read_counts(files.refusals, files.clock()) if wanted.matches_group(one.group)
    )
    return {
        "refusals": [render_refused_request(one) for one in shown],
        "groups": render_groups(counts),
        "next": name_place(shown[-1]) if len(found) > REFUSALS_MAX else None,
    }


def parse_status(text: str | None) -> int | None:
    """Return the status that a parameter names.

    Raises:
        RequestRefusedError: 400, it is none of a refusal.
    """
    if text is None:
        return None
    number = parse_id(text)
    if number is None or number not in STATUSES:
        raise invalid_parameter("status", "a number from 400 to 599")
    return number


def _parse_number(name: str, expected: str, text: str | None) -> int | None:
    if text is None:
        return None
    number = parse_id(text)
    if number is None:
        raise invalid_parameter(name, expected)
    return number


def name_place(refusal: KeptRefusal) -> str:
    """Return the text that names the place of a refusal in the list."""
    return f"{refusal.at}.{refusal.id}"


def parse_place(text: str) -> tuple[int, str]:
    """Return the time and the id of a place.

    Raises:
        RequestRefusedError: 400, it is none.
    """
    at, dot, name = text.partition(".")
    number = parse_id(at)
    if number is None or not dot:
        raise invalid_parameter("before", "`next` of an answer")
    return number, name


def render_refused_request(refusal: KeptRefusal) -> dict[str, Any]:
    """Return a refused request as JSON."""
    group = refusal.group
    return {
        "request_id": refusal.id,
        "at": format_microseconds(refusal.at),
        "endpoint": group.endpoint,
        "status": group.status,
        "reason": group.reason,
        "source_id": group.source_id or None,
        "token_id": group.token_id or None,
        "token_fingerprint": refusal.fingerprint or None,
        "is_stranger": group.account_id == STRANGERS and not group.token_id,
        "address": refusal.address or None,
        "bytes": refusal.bytes,
        "answer": refusal.body,
    }


def render_groups(counts: Iterable[RefusalCount]) -> list[dict[str, Any]]:
    """Return the counts of refusals as JSON, at most so many as an answer has."""
    return [_render_group(one) for one in list(counts)[:GROUPS_MAX]]


def _render_group(count: RefusalCount) -> dict[str, Any]:
    group, latest = count.group, count.latest
    return {
        "endpoint": group.endpoint,
        "status": group.status,
        "reason": group.reason,
        "source_id": group.source_id or None,
        "token_id": group.token_id or None,
        "is_stranger": group.account_id == STRANGERS and not group.token_id,
        "first_at": format_microseconds(count.first),
        "last_at": format_microseconds(count.last),
        "total": count.total,
        "minutes": list(count.minutes),
        "latest_request_id": None if latest is None else latest.id,
        "latest_answer": None if latest is None else latest.body,
    }
