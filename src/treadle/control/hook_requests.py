"""Parses requests about post-load hooks into values, or refuses them (connect-api.md 2.13)."""

import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from treadle.control import errors
from treadle.control.lookups import ID_MAX, parse_id
from treadle.http.outbound_url import OutboundRules, UrlRefusedError
from treadle.store.deliveries import STATES
from treadle.store.hooks import POST_LOAD
from treadle.store.sources import UNSET, Unset

CREATE_KEYS: Final = frozenset({"type", "destination_id", "config"})
CONFIG_KEYS: Final = frozenset({"url", "destination_id"})

SECRET: Final = re.compile(r"[!-~]{16,256}")
"""The form of a secret that deliveries are signed with."""

DELIVERIES_DEFAULT: Final = 100
DELIVERIES_MAX: Final = 1000

_NAMED_DESTINATION: Final = re.compile(r"destination_([1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class HookCreation:
    """A request to create a hook.

    Attributes:
        destination_id: None for the account's only or default one.
    """

    url: str
    destination_id: int | None


@dataclass(frozen=True, slots=True)
class HookChange:
    """The changes of a hook that a client asks for; everything may be left out.

    Attributes:
        secret: None for no signature.
    """

    enabled: bool | Unset = UNSET
    paused: bool | Unset = UNSET
    url: str | Unset = UNSET
    secret: str | Unset | None = UNSET


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """A page of deliveries that a client asks for.

    Attributes:
        state: only in this state; None for any.
        before: only those before the one with this id; None for the newest.
        limit: how many at most.
    """

    state: str | None
    before: str | None
    limit: int


class HookChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PUT /v1/hooks/{hook_id}`; what is left out stays."""

    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    paused: bool | msgspec.UnsetType = msgspec.UNSET
    url: str | msgspec.UnsetType = msgspec.UNSET
    secret: str | msgspec.UnsetType | None = msgspec.UNSET


def parse_hook_creation(raw: bytes, rules: OutboundRules) -> HookCreation:
    """Parse the body of `POST .../hooks`, with its destination in any of the documented forms.

    These are no destination, `config.destination_id` as `"destination_12345"`, and a top-level
    integer (connect-api.md Q15). Two of them have to agree.

    Raises:
        RequestRefusedError: with the documented answer.
    """
    body = _parse_object(raw)
    config = None if body is None else body.get("config")
    if (
        body is None
        or not body.keys() <= CREATE_KEYS
        or body.get("type") != POST_LOAD
        or not isinstance(config, dict)
        or not config.keys() <= CONFIG_KEYS
    ):
        raise errors.invalid_hook_creation()
    url = config.get("url")
    if not isinstance(url, str):
        raise errors.invalid_hook_creation()
    named = {_parse_integer(body.get("destination_id")), _parse_name(config.get("destination_id"))}
    named.discard(None)
    if len(named) > 1:
        raise errors.invalid_hook_creation()
    try:
        rules.parse(url)
    except UrlRefusedError as error:
        raise errors.invalid_hook_uri() from error
    return HookCreation(url, next(iter(named), None))


def parse_enable(raw: bytes) -> bool:
    """Parse the body of `PUT .../hooks/{id}`.

    Raises:
        RequestRefusedError: with the documented answer.
    """
    body = _parse_object(raw)
    enable = None if body is None else body.get("enable")
    if body is None or len(body) != 1 or not isinstance(enable, bool):
        raise errors.invalid_hook_update()
    return enable


def parse_hook_change(raw: bytes, rules: OutboundRules) -> HookChange:
    """Parse the body of `PUT /v1/hooks/{hook_id}`.

    Raises:
        RequestRefusedError: with what was expected.
    """
    try:
        body = msgspec.json.decode(raw, type=HookChangeBody)
    except (ValueError, RecursionError) as error:  # bytes that are not UTF-8 are a ValueError, too
        raise errors.invalid_hook_change(f"the body does not fit: {error}") from error
    given = {name: getattr(body, name) for name in body.__struct_fields__}
    change = HookChange(
        **{name: value for name, value in given.items() if value is not msgspec.UNSET}
    )
    if isinstance(change.url, str):
        try:
            rules.parse(change.url)
        except UrlRefusedError as error:
            raise errors.invalid_hook_change(str(error)) from error
    if isinstance(change.secret, str) and not SECRET.fullmatch(change.secret):
        raise errors.invalid_hook_change(
            "secret has 16 to 256 printable ASCII characters without blanks, or is null"
        )
    return change


def parse_delivery_page(state: str | None, before: str | None, limit: str | None) -> DeliveryPage:
    """Parse the query of `GET /v1/hooks/{hook_id}/deliveries`.

    Raises:
        RequestRefusedError: with what was expected.
    """
    if state is not None and state not in STATES:
        raise errors.invalid_hook_change(f"state is one of {', '.join(STATES)}")
    count = DELIVERIES_DEFAULT if limit is None else parse_id(limit)
    if count is None or count > DELIVERIES_MAX:
        raise errors.invalid_hook_change(f"limit is a number from 1 to {DELIVERIES_MAX}")
    return DeliveryPage(state, before, count)


def _parse_integer(value: object) -> int | None:
    """Return a top-level destination; None where there is none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise errors.invalid_hook_creation()
    if not 1 <= value <= ID_MAX:
        raise errors.hook_destination_not_found(value)
    return value


def _parse_name(value: object) -> int | None:
    """Return the destination of a `config`; None where there is none."""
    if value is None:
        return None
    found = _NAMED_DESTINATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise errors.invalid_hook_creation()
    return _parse_integer(int(found[1]))


def _parse_object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
