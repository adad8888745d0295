"""Validation of the fields of a push record (import-api.md 7.3)."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from types import NoneType
from typing import Any, Final, NamedTuple, NoReturn

from treadle.errors import RequestRefusedError
from treadle.records.data_points import count_data_points
from treadle.records.limits import (
    DATA_POINTS_MAX,
    KEY_CHARACTERS_MAX,
    SEQUENCE_MAX,
    SEQUENCE_MIN,
    TABLE_CHARACTERS_MAX,
)

KNOWN_FIELDS = frozenset(
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
NOT_A_STRING = "should be a string"
NAME_LONG = f"cannot be longer than {TABLE_CHARACTERS_MAX} characters"
NOT_AN_ACTION = "must be one of: switch_view, upsert"
NOT_A_NUMBER = "should be a number"
NOT_AN_INTEGER = "should be an integer"
NOT_KEY_NAMES = "should be an array of strings"
NOT_AN_OBJECT = "data must be an object"
KEYS_MISSING = "data must include keys"
KEYS_NULL = "keys cannot not be null in data"
KEYS_LONG = f"String keys cannot be longer than {KEY_CHARACTERS_MAX} characters"
TOO_MANY_POINTS = f"data cannot contain more than {DATA_POINTS_MAX} data points"
UNKNOWN_KEY = "unknown key"

UNKNOWN_KEYS_MAX = 1000
"""Most unknown keys of one record that an answer names."""

QUOTED_CHARACTERS_MAX = 1024
"""Most characters of an unknown key that an answer repeats."""

UNKNOWN_CHARACTERS_MAX = 1024 * 1024
"""Characters of an answer that unknown keys may take before it names only one of each record."""

LATE_CHARACTERS_MAX = 64
"""Most characters of an unknown key that an answer repeats after that."""

_NAME_CHARACTERS = len(f'"":["{UNKNOWN_KEY}"],')
"""What an unknown key takes of an answer beside its name."""


class KeyAllowance:
    """What is left of an answer for the unknown keys of the records of one request.

    A request may have 20,000 records with 1,000 unknown keys each. Without a common bound their
    names take 30 times the memory of its body, and three times its size in the answer.
    """

    __slots__ = ("_left",)

    def __init__(self, characters: int = UNKNOWN_CHARACTERS_MAX) -> None:
        """Begin with so many characters of the answer."""
        self._left = characters

    def choose_names(self, unknown: Iterable[str]) -> Iterator[str]:
        """Yield those of the unknown keys of a record that the answer names, as it quotes them.

        One is named of every record, so that there is a reason why it is refused.
        """
        for place, name in enumerate(islice(unknown, UNKNOWN_KEYS_MAX)):
            if self._left <= 0:
                if place == 0:
                    yield _shorten_name(name, LATE_CHARACTERS_MAX)
                return
            shown = _shorten_name(name, QUOTED_CHARACTERS_MAX)
            self._left -= len(shown) + _NAME_CHARACTERS
            yield shown


def find_field_errors(
    record: dict[str, Any], size: int, allowance: KeyAllowance
) -> dict[str, list[str]]:
    """Return what is wrong with a record: field -> messages in alphabetical order; empty for none.

    `client_id` is not checked here: it belongs to the request (import-api.md 7.2 steps 8, 9).

    Args:
        record: decoded.
        size: bytes of its data in the batch. A data point takes at least one, so that only a long
            record needs to be counted.
        allowance: of the request, for the names of unknown keys.
    """
    if _is_common_upsert(record, size):
        return {}
    found: dict[str, list[str]] = {}
    action = record.get("action")
    _add_errors(found, "table_name", _check_table_name(record.get("table_name")))
    _add_errors(found, "action", _check_action(action))
    _add_errors(
        found, "sequence", _check_integer(record.get("sequence"), SEQUENCE_MIN, required=True)
    )
    if action != SWITCH_VIEW:
        key_names = record.get("key_names")
        wrong_names = _check_key_names(key_names, required=action == UPSERT)
        _add_errors(found, "key_names", wrong_names)
        _add_errors(
            found,
            "data",
            _check_data(record.get("data"), [] if wrong_names else key_names or [], size),
        )
    version = _check_integer(record.get("table_version"), 0, required=action == SWITCH_VIEW)
    _add_errors(found, "table_version", version)
    unknown = (name for name in record if name not in KNOWN_FIELDS)
    for name in allowance.choose_names(unknown):
        found[name] = [UNKNOWN_KEY]
    return found


def _shorten_name(name: str, most: int) -> str:
    """Return a name as an answer quotes it: the first part of one that has too many characters."""
    return name if len(name) <= most else f"{name[:most]}..."


RECORDS_HEADER: Final = "Treadle-Records"
"""Names the records because of which a request is refused, by their indices from 0."""

RECORDS_NAMED_MAX: Final = 20
"""Most records that the header names: the first ones."""


class RecordsRefusedError(RequestRefusedError):
    """A request is refused because of some of its records (import-api.md 7.3).

    Attributes:
        records: their indices in the body, from 0, in order.
    """

    def __init__(self, reasons: Sequence[Any], records: Sequence[int]) -> None:
        """Answer with the documented body, which names reasons, and a header that names records."""
        named = ",".join(map(str, records[:RECORDS_NAMED_MAX]))
        self._answer = {
            "status": "ERROR",
            "error": "Request cannot be processed; see errors.",
            "errors": [{"reason": reason} for reason in reasons],
        }
        super().__init__(422, self._answer, ((RECORDS_HEADER, named),))
        self.records = tuple(records)

    def name_all_records(self) -> RequestRefusedError:
        """Return the refusal as a dry run answers it: its body names all records."""
        answer = {**self._answer, "records": self.records}
        return RequestRefusedError(self.status, answer, self.headers)


def refuse_records(reasons: Sequence[Any], records: Sequence[int]) -> NoReturn:
    """Refuse records, with a reason for each that is wrong (import-api.md 7.3).

    Args:
        reasons: in the order of the records.
        records: indices of the records in the body, from 0.

    Raises:
        RecordsRefusedError: 422, always.
    """
    raise RecordsRefusedError(reasons, records)


_COMMON_FIELDS = frozenset(("client_id", "table_name", "sequence", "action", "key_names", "data"))


def _is_common_upsert(record: dict[str, Any], size: int) -> bool:
    """Return whether a record is an ordinary upsert without faults; False when unsure."""
    if record.keys() != _COMMON_FIELDS or size > DATA_POINTS_MAX or record["action"] != UPSERT:
        return False
    table_name, sequence, data = record["table_name"], record["sequence"], record["data"]
    key_names = record["key_names"]
    if not (
        type(table_name) is str
        and table_name.strip()
        and len(table_name) <= TABLE_CHARACTERS_MAX
        and type(sequence) is int
        and SEQUENCE_MIN <= sequence <= SEQUENCE_MAX
        and type(data) is dict
        and type(key_names) is list
    ):
        return False
    for name in key_names:
        value = data.get(name) if type(name) is str else None
        if value is None or (type(value) is str and len(value) > KEY_CHARACTERS_MAX):
            return False
    return True


class FieldColumns(NamedTuple):
    """Fields of the records of a push as columns: lists with one value per record."""

    table_names: list[str]
    key_names: list[tuple[str, ...]]
    sequences: list[int]
    versions: list[int]
    data: list[dict[str, Any]]


def read_common_fields(records: list[Any], account_id: int) -> FieldColumns | None:
    """Return the fields of records that are all upserts; None when any of them may be wrong.

    All records are checked together, one field at a time, which is several times faster than one
    record at a time. Data points are not counted here.

    Args:
        records: decoded, at least one.
        account_id: the client that they must name.

    Raises:
        KeyError: a field is missing.
        TypeError: a record is not an object.
    """
    if set(map(type, records)) != {dict}:
        return None
    # Records of six fields have exactly those that are read below, or a KeyError tells otherwise.
    if set(map(len, records)) != {6} and not KNOWN_FIELDS.issuperset(chain.from_iterable(records)):
        return None
    clients = [record["client_id"] for record in records]
    tables = [record["table_name"] for record in records]
    sequences = [record["sequence"] for record in records]
    names = [record["key_names"] for record in records]
    data = [record["data"] for record in records]
    versions = [record.get("table_version") or 0 for record in records]
    # Types are compared first, because True and the decimal 1 are equal to 1 in Python.
    if not (
        (
            (_all_of_type(clients, int) and set(clients) == {account_id})
            or (_all_of_type(clients, str) and set(clients) == {str(account_id)})
        )
        and _all_of_type(tables, str)
        and are_table_names(set(tables))
        and {record["action"] for record in records} == {UPSERT}
        and _all_of_type(sequences, int)
        and min(sequences) >= SEQUENCE_MIN
        and max(sequences) <= SEQUENCE_MAX
        and _all_of_type(versions, int)
        and min(versions) >= 0
        and max(versions) <= SEQUENCE_MAX
        and _all_of_type(names, list)
        and _all_of_type(data, dict)
    ):
        return None
    key_names = list(map(tuple, names))
    if not _have_key_values(data, key_names):
        return None
    return FieldColumns(tables, key_names, sequences, versions, data)


def are_table_names(names: Collection[str]) -> bool:
    """Return whether all of these, at least one, can name a table."""
    return all(map(str.strip, names)) and max(map(len, names)) <= TABLE_CHARACTERS_MAX


def _all_of_type(values: list[Any], kind: type) -> bool:
    return set(map(type, values)) == {kind}


def _have_key_values(data: list[dict[str, Any]], key_names: list[tuple[Any, ...]]) -> bool:
    distinct = set(key_names)
    if not all(type(name) is str for names in distinct for name in names):
        return False
    if len(distinct) == 1:
        [names] = distinct
        return all(_are_usable_keys([record.get(name) for record in data]) for name in names)
    return _are_usable_keys(
        [record.get(name) for record, names in zip(data, key_names, strict=True) for name in names]
    )


def _are_usable_keys(keys: list[Any]) -> bool:
    kinds = set(map(type, keys))
    return NoneType not in kinds and not (
        str in kinds and any(type(key) is str and len(key) > KEY_CHARACTERS_MAX for key in keys)
    )


def _add_errors(found: dict[str, list[str]], field: str, messages: list[str]) -> None:
    if messages:
        found[field] = sorted(messages)


def _check_table_name(value: Any) -> list[str]:
    if value is None or (type(value) is str and not value.strip()):
        return [BLANK]
    if type(value) is not str:
        return [NOT_A_STRING]
    return [NAME_LONG] if len(value) > TABLE_CHARACTERS_MAX else []


def _check_action(value: Any) -> list[str]:
    if value is None or (type(value) is str and not value.strip()):
        return [BLANK]
    return [] if value in (UPSERT, SWITCH_VIEW) else [NOT_AN_ACTION]


def _is_number(value: Any) -> bool:
    # Decimal, int and float have no common base class, but all of them convert to float.
    return type(value) is not bool and hasattr(value, "__float__")


def _check_integer(value: Any, least: int, *, required: bool) -> list[str]:
    if value is None:
        return [BLANK] if required else []
    if not _is_number(value):
        return [NOT_AN_INTEGER, NOT_A_NUMBER]
    if not isinstance(value, int):
        return [NOT_AN_INTEGER]
    if value > SEQUENCE_MAX:
        return [f"should be less than or equal to {SEQUENCE_MAX}"]
    return [f"should be greater than or equal to {least}"] if value < least else []


def _check_key_names(value: Any, *, required: bool) -> list[str]:
    if value is None:
        return [BLANK] if required else []
    if type(value) is list and all(type(name) is str for name in value):
        return []
    return [NOT_KEY_NAMES]


def _check_data(data: Any, key_names: list[str], size: int) -> list[str]:
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
        elif type(value) is str and len(value) > KEY_CHARACTERS_MAX:
            messages.add(KEYS_LONG)
    if size > DATA_POINTS_MAX and count_data_points(data) > DATA_POINTS_MAX:
        messages.add(TOO_MANY_POINTS)
    return list(messages)
