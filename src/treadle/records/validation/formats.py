"""String formats that are checked, and the fast validator's words for them (import-api.md 10.4).

Everything here is asked of the fast validator, so that it and the nodes cannot disagree.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jsonschema_rs

_DATE = (
    r"(?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
    r"|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
_TIME = r"(?:(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?|24:00:00(?:\.0+)?)"
_ZONE = r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):?[0-5]\d)?"

DATE_TIME = f"^{_DATE}[Tt ]{_TIME}{_ZONE}$"
"""Every text that loading takes (loading.md 3.4, L19), which is more than the original's: that one
wants `T`, a zone and at most nine digits of a fraction, and yet has `+0000` in its own example."""

_URI_PART = r"(?:[^\x00-\x20\x7f\"<>\\^`{|}%#]|%[0-9a-fA-F]{2})*"
_URI = f"^{_URI_PART}(?:#{_URI_PART})?$"
"""Relative references count, as in Java."""

_EMAIL = r"^[^\s@]{1,64}@(?:\[[0-9a-fA-F.:]+\]|[^\s@.]+(?:\.[^\s@.]+)+)$"

_LABEL_CHAR = r"[A-Za-z0-9_\u0080-\uffff]"
_LABEL = rf"{_LABEL_CHAR}(?:[A-Za-z0-9_\-\u0080-\uffff]{{0,61}}{_LABEL_CHAR})?"
_HOSTNAME = rf"^(?:{_LABEL}\.)*(?!\d){_LABEL}\.?$"


class StringFormat(NamedTuple):
    """A checked format.

    Attributes:
        schema: what the fast validator is asked.
        noun: what a text that fails is not, for the error text.
    """

    schema: dict[str, str]
    noun: str


FORMATS = {
    "date-time": StringFormat(
        {"pattern": DATE_TIME},
        "date-time. Expected [yyyy-MM-dd'T'HH:mm:ssZ, yyyy-MM-dd'T'HH:mm:ss.[0-9]{1,9}Z]",
    ),
    "email": StringFormat({"pattern": _EMAIL}, "email address"),
    "hostname": StringFormat({"pattern": _HOSTNAME}, "hostname"),
    "ipv4": StringFormat({"format": "ipv4"}, "ipv4 address"),
    "ipv6": StringFormat({"format": "ipv6"}, "ipv6 address"),
    "uri": StringFormat({"pattern": _URI}, "URI"),
}


@lru_cache(maxsize=256)
def get_format_test(name: str) -> Callable[[Any], bool]:
    """Whether a string is of a format of `FORMATS`."""
    schema = FORMATS[name].schema
    return jsonschema_rs.Draft4Validator(schema, validate_formats=True).is_valid


@lru_cache(maxsize=128)
def get_pattern_test(pattern: str) -> Callable[[Any], bool]:
    """Whether a string matches a regular expression somewhere.

    The engine gives up on expressions that would take for ever, so no schema can hold a process.

    Raises:
        ValueError: it is no regular expression that JSON schema knows (ECMA 262).
    """
    try:
        return jsonschema_rs.Draft4Validator({"pattern": pattern}).is_valid
    except (jsonschema_rs.ValidationError, ValueError) as error:
        raise ValueError(f"{pattern} is not a regular expression of ECMA 262") from error
