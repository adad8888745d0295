"""Checked string formats, and their schemas for the fast validator (import-api.md 10.4).

The fast validator checks all of them, also for the nodes, so that the two cannot disagree.
"""

from collections.abc import Callable
from functools import cache
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
"""Matches every text that loading accepts (loading.md 3.4, L19).

The original accepts less: it wants `T`, a zone and at most nine digits of a fraction, and yet has
`+0000` in its own example.
"""

_URI_PART = r"(?:[^\x00-\x20\x7f\"<>\\^`{|}%#]|%[0-9a-fA-F]{2})*"
_URI = f"^{_URI_PART}(?:#{_URI_PART})?$"
"""Matches relative references, too, as in Java."""

_EMAIL = r"^[^\s@]{1,64}@(?:\[[0-9a-fA-F.:]+\]|[^\s@.]+(?:\.[^\s@.]+)+)$"

_LABEL_CHAR = r"[A-Za-z0-9_\u0080-\uffff]"
_LABEL = rf"{_LABEL_CHAR}(?:[A-Za-z0-9_\-\u0080-\uffff]{{0,61}}{_LABEL_CHAR})?"
_HOSTNAME = rf"^(?:{_LABEL}\.)*(?!\d){_LABEL}\.?$"


class StringFormat(NamedTuple):
    """A checked format.

    Attributes:
        schema: the format for the fast validator.
        noun: the format's name in the error text.
    """

    schema: dict[str, str]
    noun: str


FORMAT_STATES = 2
"""Cost of a format, as the number of states of a pattern that is matched in one pass. The real
number of states does not matter: the engine follows all of them at once."""

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


@cache
def get_format_test(name: str) -> Callable[[Any], bool]:
    """Return the test of a format in `FORMATS`."""
    schema = FORMATS[name].schema
    return jsonschema_rs.Draft4Validator(schema, validate_formats=True).is_valid
