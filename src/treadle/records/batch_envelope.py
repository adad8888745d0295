"""Validation of a /v2/import/batch body, except its records (import-api.md 9.1, 10.6)."""

from typing import Any

from treadle.errors import RequestRefusedError
from treadle.records.field_check import UPSERT
from treadle.records.limits import RECORDS_MAX, SEQUENCE_MAX, SEQUENCE_MIN, TABLE_CHARACTERS_MAX
from treadle.records.validation import java_format
from treadle.records.validation.effort import ENDLESS, Effort
from treadle.records.validation.failure import TEXT_BYTES_MAX, cut_text
from treadle.records.validation.schema_loader import load_schema

_REFUSAL_BYTES_MAX = TEXT_BYTES_MAX + 1024
"""Most bytes of a refusal. The 1,024 are for the text before the lines of a failure, and for the
line that counts those left out."""

ACTIVATE_VERSION = "activate_version"

_TEXT = {"type": "string"}
_INTEGER = {"type": "integer"}
_NAMES = {"type": "array", "items": _TEXT}
_ACTIVATION_SCHEMA = {
    "type": "object",
    "required": ["action", "sequence"],
    "additionalProperties": False,
    "properties": {"action": _TEXT, "sequence": _INTEGER},
}
_UPSERT_SCHEMA = {
    "type": "object",
    "required": ["action", "sequence", "data"],
    "additionalProperties": False,
    "properties": {
        "action": _TEXT,
        "sequence": _INTEGER,
        "data": {"type": "object"},
        "time_extracted": _TEXT,
        "vintage": _TEXT,
    },
}
_ENVELOPE_NODE = load_schema(
    {
        "type": "object",
        "required": ["table_name", "schema", "messages"],
        "additionalProperties": False,
        "properties": {
            # A table needs a name (loading.md 6.5). The text of the original service for a missing
            # one is not known.
            "table_name": {"type": "string", "pattern": r"\S", "maxLength": TABLE_CHARACTERS_MAX},
            "table_version": {"type": "integer", "minimum": 0, "maximum": SEQUENCE_MAX},
            "schema": {"type": "object"},
            "key_names": _NAMES,
            "bookmark_names": _NAMES,
            "messages": {
                "type": "array",
                "minItems": 1,
                "maxItems": RECORDS_MAX,
                "items": {"oneOf": [_ACTIVATION_SCHEMA, _UPSERT_SCHEMA]},
            },
        },
    }
)


def make_refusal(text: str) -> RequestRefusedError:
    """Make the answer of status 400 with an error text, or with the beginning of a long one."""
    return RequestRefusedError(400, {"error": cut_text(text, _REFUSAL_BYTES_MAX)})


def check_envelope(body: Any, effort: Effort = ENDLESS) -> None:
    """Check all of a body but what its schema and key names require of records.

    Args:
        body: the decoded body.
        effort: what may be spent.

    Raises:
        RequestRefusedError: 400 with the text of the original service.
        EffortSpentError: it takes more than that.
    """
    # Some clients send null instead of no key names, which the original's schema would refuse.
    checked = body
    if type(body) is dict and "key_names" in body and body["key_names"] is None:
        checked = {name: value for name, value in body.items() if name != "key_names"}
    failure = _ENVELOPE_NODE.check(checked, effort)
    if failure is not None:
        raise _make_validation_refusal("".join(failure.format_lines()))
    for index, message in enumerate(body["messages"]):
        expected = UPSERT if "data" in message else ACTIVATE_VERSION
        action = message["action"]
        if action == expected:
            continue
        if action == UPSERT:
            raise _make_validation_refusal(f"#/messages/{index}: required key [data] not found\n")
        raise _make_validation_refusal(
            f"#/messages/{index}/action: {java_format.format_value(action)} is not a valid enum "
            f"value\n"
        )
    sequences = [message["sequence"] for message in body["messages"]]
    if max(sequences) > SEQUENCE_MAX:
        raise _make_validation_refusal(f"#: sequence can not be above {SEQUENCE_MAX}")
    if min(sequences) < SEQUENCE_MIN:
        raise _make_validation_refusal(f"#: sequence can not be below {SEQUENCE_MIN}")


def _make_validation_refusal(lines: str) -> RequestRefusedError:
    return make_refusal(f"Request failed validation:{lines}")
