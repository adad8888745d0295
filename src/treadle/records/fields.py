"""What a record of a push must look like: its fields, one by one (import-api.md 7.3)."""

from typing import Any

from treadle.records.limits import DATA_POINTS, KEY_CHARACTERS, SEQUENCE_MAX, SEQUENCE_MIN
from treadle.records.points import data_points

KNOWN = frozenset(
    (
        "client_id",
        "table_name",
        "sequence",
        "action",
        "key_names",
        "data",
        "table_version",
        "namespace",
    )
)
UPSERT = "upsert"
SWITCH_VIEW = "switch_view"

BLANK = "can't be blank"
NOT_TEXT = "should be a string"
NOT_AN_ACTION = "must be one of: switch_view, upsert"
NOT_A_NUMBER = "should be a number"
NOT_AN_INTEGER = "should be an integer"
NOT_KEY_NAMES = "should be an array of strings"
NOT_AN_OBJECT = "data must be an object"
KEYS_MISSING = "data must include keys"
KEYS_NULL = "keys cannot not be null in data"
KEYS_LONG = f"String keys cannot be longer than {KEY_CHARACTERS} characters"
TOO_MANY_POINTS = f"data cannot contain more than {DATA_POINTS} data points"
UNKNOWN = "unknown key"


def faults(record: dict[str, Any], size: int) -> dict[str, list[str]]:
    """What is wrong with a record: field -> messages in alphabetical order; empty when nothing.

    `client_id` is not looked at: it belongs to the request (import-api.md 7.2 steps 8, 9).

    Args:
        record: decoded.
        size: bytes of its data in the batch; no data point takes less than one.
    """
    if _usual(record, size):
        return {}
    found: dict[str, list[str]] = {}
    action = record.get("action")
    _note(found, "table_name", _table_name(record.get("table_name")))
    _note(found, "action", _action(action))
    _note(found, "sequence", _integer(record.get("sequence"), SEQUENCE_MIN, required=True))
    if action != SWITCH_VIEW:
        key_names = record.get("key_names")
        wrong_names = _key_names(key_names, required=action == UPSERT)
        _note(found, "key_names", wrong_names)
        _note(
            found, "data", _data(record.get("data"), [] if wrong_names else key_names or [], size)
        )
    version = _integer(record.get("table_version"), 0, required=action == SWITCH_VIEW)
    _note(found, "table_version", version)
    for name in record:
        if name not in KNOWN:
            found[name] = [UNKNOWN]
    return found


_USUAL = frozenset(("client_id", "table_name", "sequence", "action", "key_names", "data"))


def _usual(record: dict[str, Any], size: int) -> bool:
    """Whether a record is what nearly all are, without anything wrong; False when unsure."""
    if record.keys() != _USUAL or size > DATA_POINTS or record["action"] != UPSERT:
        return False
    table_name, sequence, data = record["table_name"], record["sequence"], record["data"]
    key_names = record["key_names"]
    if not (
        type(table_name) is str
        and table_name.strip()
        and type(sequence) is int
        and SEQUENCE_MIN <= sequence <= SEQUENCE_MAX
        and type(data) is dict
        and type(key_names) is list
    ):
        return False
    for name in key_names:
        value = data.get(name) if type(name) is str else None
        if value is None or (type(value) is str and len(value) > KEY_CHARACTERS):
            return False
    return True


def _note(found: dict[str, list[str]], field: str, messages: list[str]) -> None:
    if messages:
        found[field] = sorted(messages)


def _table_name(value: Any) -> list[str]:
    if value is None or (type(value) is str and not value.strip()):
        return [BLANK]
    return [] if type(value) is str else [NOT_TEXT]


def _action(value: Any) -> list[str]:
    if value is None or (type(value) is str and not value.strip()):
        return [BLANK]
    return [] if value in (UPSERT, SWITCH_VIEW) else [NOT_AN_ACTION]


def _is_number(value: Any) -> bool:
    # A Decimal has no base class in common with int and float, but all have a conversion to float.
    return type(value) is not bool and hasattr(value, "__float__")


def _integer(value: Any, least: int, *, required: bool) -> list[str]:
    if value is None:
        return [BLANK] if required else []
    if not _is_number(value):
        return [NOT_AN_INTEGER, NOT_A_NUMBER]
    if not isinstance(value, int):
        return [NOT_AN_INTEGER]
    if value > SEQUENCE_MAX:
        return [f"should be less than or equal to {SEQUENCE_MAX}"]
    return [f"should be greater than or equal to {least}"] if value < least else []


def _key_names(value: Any, *, required: bool) -> list[str]:
    if value is None:
        return [BLANK] if required else []
    if type(value) is list and all(type(name) is str for name in value):
        return []
    return [NOT_KEY_NAMES]


def _data(data: Any, key_names: list[str], size: int) -> list[str]:
    if type(data) is not dict:
        return [NOT_AN_OBJECT]
    messages = set()
    for name in key_names:
        if name not in data:
            messages.add(KEYS_MISSING)
            continue
        value = data[name]
        if value is None:
            messages.add(KEYS_NULL)
        elif type(value) is str and len(value) > KEY_CHARACTERS:
            messages.add(KEYS_LONG)
    if size > DATA_POINTS and data_points(data) > DATA_POINTS:
        messages.add(TOO_MANY_POINTS)
    return list(messages)
