"""What a body of /v2/import/batch must look like around its records (import-api.md 9.1, 10.6)."""

from typing import Any

from treadle.errors import Refused
from treadle.records.limits import RECORDS, SEQUENCE_MAX, SEQUENCE_MIN
from treadle.records.validation import java
from treadle.records.validation.loading import load

UPSERT = "upsert"
ACTIVATE = "activate_version"

_TEXT = {"type": "string"}
_INTEGER = {"type": "integer"}
_NAMES = {"type": "array", "items": _TEXT}
_ACTIVATION = {
    "type": "object",
    "required": ["action", "sequence"],
    "additionalProperties": False,
    "properties": {"action": _TEXT, "sequence": _INTEGER},
}
_UPSERT = {
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
_ENVELOPE = load(
    {
        "type": "object",
        "required": ["table_name", "schema", "messages"],
        "additionalProperties": False,
        "properties": {
            # A table needs a name (loading.md 6.5); the original's own text for this is not known.
            "table_name": {"type": "string", "pattern": r"\S"},
            "table_version": {"type": "integer", "minimum": 0, "maximum": SEQUENCE_MAX},
            "schema": {"type": "object"},
            "key_names": _NAMES,
            "bookmark_names": _NAMES,
            "messages": {
                "type": "array",
                "minItems": 1,
                "maxItems": RECORDS,
                "items": {"oneOf": [_ACTIVATION, _UPSERT]},
            },
        },
    }
)


def refusal(text: str) -> Refused:
    """The answer to a body that is refused with a text."""
    return Refused(400, {"error": text})


def check(body: Any) -> None:
    """Check everything but what the schema and the key names say about records.

    Args:
        body: the decoded body.

    Raises:
        Refused: 400 with the text of the original.
    """
    # Clients send null for no key names; to the original's schema that would be wrong.
    checked = body
    if type(body) is dict and "key_names" in body and body["key_names"] is None:
        checked = {name: value for name, value in body.items() if name != "key_names"}
    failure = _ENVELOPE.check(checked)
    if failure is not None:
        raise _failed("".join(failure.lines()))
    for index, message in enumerate(body["messages"]):
        expected = UPSERT if "data" in message else ACTIVATE
        action = message["action"]
        if action == expected:
            continue
        if action == UPSERT:
            raise _failed(f"#/messages/{index}: required key [data] not found\n")
        raise _failed(
            f"#/messages/{index}/action: {java.shown(action)} is not a valid enum value\n"
        )
    sequences = [message["sequence"] for message in body["messages"]]
    if max(sequences) > SEQUENCE_MAX:
        raise _failed(f"#: sequence can not be above {SEQUENCE_MAX}")
    if min(sequences) < SEQUENCE_MIN:
        raise _failed(f"#: sequence can not be below {SEQUENCE_MIN}")


def _failed(lines: str) -> Refused:
    return refusal(f"Request failed validation:{lines}")
