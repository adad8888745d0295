"""What treadle knows of the providers of webhooks: their event ids and their challenges.

A provider sends an event again when it got no answer in time, or when somebody asks it to. All
copies of an event have one id, so that they become one row where the id is the key of the table.

| provider | id of an event | challenge |
|---|---|---|
| dropbox | - | GET, `challenge` |
| github | header `X-GitHub-Delivery` | - |
| meta | - | GET, `hub.challenge` |
| segment | field `messageId` | - |
| sendgrid | field `sg_event_id` | - |
| slack | field `event_id` | POST of `{"type":"url_verification","challenge":...}` |
| stripe | field `id` | - |
| trello | - | HEAD, which every webhook answers |
| twilio | header `I-Twilio-Idempotency-Token` | - |
| other | what the operator names as the key | - |
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

HEADER_PREFIX: Final = "header:"
"""Before the name of a header in a key: `header:X-GitHub-Delivery`."""

CHALLENGE_CHARACTERS_MAX: Final = 1024
"""Longest challenge that is repeated."""

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)
_CHALLENGE: Final = re.compile(r"[\x20-\x7e]+")
_VERIFICATION: Final = "url_verification"


class WebhookProvider(NamedTuple):
    """A sender of webhooks that many people use.

    Attributes:
        key: the fields, or headers with HEADER_PREFIX, that are the id of an event.
        headers: further headers that are kept as fields.
        challenge: query parameter that a GET has, and that its answer repeats.
        posts_challenge: a challenge comes by POST.
    """

    key: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    challenge: str | None = None
    posts_challenge: bool = False


PROVIDERS: Final[Mapping[str, WebhookProvider]] = {
    "dropbox": WebhookProvider(challenge="challenge"),
    "github": WebhookProvider((f"{HEADER_PREFIX}X-GitHub-Delivery",), ("X-GitHub-Event",)),
    "meta": WebhookProvider(challenge="hub.challenge"),
    "other": WebhookProvider(),
    "segment": WebhookProvider(("messageId",)),
    "sendgrid": WebhookProvider(("sg_event_id",)),
    "slack": WebhookProvider(("event_id",), posts_challenge=True),
    "stripe": WebhookProvider(("id",)),
    "trello": WebhookProvider(),
    "twilio": WebhookProvider((f"{HEADER_PREFIX}I-Twilio-Idempotency-Token",)),
}


def is_key_name(name: str) -> bool:
    """Return whether a part of a key is the name of a field, or of a header with HEADER_PREFIX."""
    if not name.startswith(HEADER_PREFIX):
        return bool(name)
    return _HEADER_NAME.fullmatch(name.removeprefix(HEADER_PREFIX)) is not None


def name_field(key_name: str) -> str:
    """Return the field of a part of a key: `header:X-GitHub-Delivery` is `x_github_delivery`."""
    if not key_name.startswith(HEADER_PREFIX):
        return key_name
    return key_name.removeprefix(HEADER_PREFIX).lower().replace("-", "_")


def read_header_fields(
    key: Iterable[str], provider: WebhookProvider | None, headers: Iterable[tuple[bytes, bytes]]
) -> dict[str, str]:
    """Return the fields that headers of a request give to each of its records.

    Args:
        key: parts of the key, some of them headers.
        provider: of the webhook; None for none.
        headers: of the request; of equal names the last counts.
    """
    wanted = [name.removeprefix(HEADER_PREFIX) for name in key if name.startswith(HEADER_PREFIX)]
    wanted += provider.headers if provider is not None else ()
    if not wanted:
        return {}
    sent = {name.lower(): value for name, value in headers}
    found = {name: sent.get(name.lower().encode()) for name in wanted}
    return {
        name_field(HEADER_PREFIX + name): value.decode("latin-1").strip(" \t")
        for name, value in found.items()
        if value is not None
    }


def read_challenge(provider: WebhookProvider | None, query: Mapping[str, str]) -> str | None:
    """Return what the answer to a GET repeats; None where there is nothing to repeat.

    Args:
        provider: of the webhook; None for none.
        query: the parameters of the URL.
    """
    if provider is None or provider.challenge is None:
        return None
    return _check_challenge(query.get(provider.challenge))


def find_posted_challenge(
    provider: WebhookProvider | None, record: Mapping[str, Any]
) -> str | None:
    """Return what the answer to a POST of one record repeats; None where it is an event."""
    if provider is None or not provider.posts_challenge or record.get("type") != _VERIFICATION:
        return None
    return _check_challenge(record.get("challenge"))


def _check_challenge(found: Any) -> str | None:
    """Return a challenge of visible characters; None for anything else."""
    if type(found) is not str or len(found) > CHALLENGE_CHARACTERS_MAX:
        return None
    return found if _CHALLENGE.fullmatch(found) else None
