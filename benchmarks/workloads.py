"""The inputs, made from a seed: requests for treadle, Singer messages for others, and the model.

A record is a tuple of values in the order of `FIELDS`. What a table must hold at the end is worked
out here, by plain Python, and compared with what each contender left (`model.py`).
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

SEED = 20_240_229
CLIENT = "@CLIENT@"
"""Stands in a push body for the client id, which is known once treadle runs."""

SCHEMA: dict[str, Any] = {
    "properties": {
        "id": {"type": "integer"},
        "name": {"type": "string"},
        "email": {"type": "string"},
        "amount": {"type": "number"},
        "quantity": {"type": "integer"},
        "active": {"type": "boolean"},
        "created_at": {"type": "string", "format": "date-time"},
        "note": {"type": "string"},
    }
}
FIELDS = tuple(SCHEMA["properties"])
NESTED: dict[str, Any] = {
    "address": {
        "type": "object",
        "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
    },
    "items": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"sku": {"type": "string"}, "pieces": {"type": "integer"}},
        },
    },
}
CITIES = ("Oslo", "Turin", "Lyon", "Graz", "Porto", "Ghent", "Malmö", "Brno")
WORDS = ("warp", "weft", "loom", "reed", "heddle", "shuttle", "bobbin", "selvage")

Record = dict[str, Any]
Message = tuple[str, int, Record]
"""(table, sequence, record)"""


def flat(number: int, version: int = 0) -> Record:
    """One of the records: about 220 bytes of JSON in 8 fields."""
    mixed = (number * 2_654_435_761 + version * 40_503 + SEED) & 0xFFFFFFFF
    second = mixed % 86_400
    return {
        "id": number,
        "name": f"{WORDS[mixed & 7]} {WORDS[mixed >> 3 & 7]} {mixed:08x}",
        "email": f"{WORDS[mixed >> 6 & 7]}.{number}@{WORDS[mixed >> 9 & 7]}.example",
        "amount": (mixed >> 4) % 1_000_000 / 100 + 0.001,
        "quantity": mixed >> 7 & 0x3FF,
        "active": mixed & 64 == 0,
        "created_at": f"2024-{mixed % 12 + 1:02}-{mixed % 28 + 1:02}"
        f"T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z",
        "note": f"{WORDS[mixed >> 12 & 7]} of {CITIES[mixed >> 15 & 7]}, version {version}",
    }


def nested(number: int) -> Record:
    """A record with an object and an array of three children."""
    record = flat(number)
    mixed = (number * 40_503 + SEED) & 0xFFFFFF
    record["address"] = {"street": f"{WORDS[mixed & 7]} {mixed}", "city": CITIES[mixed >> 3 & 7]}
    record["items"] = [
        {"sku": f"{WORDS[mixed >> 6 & 7]}-{number}-{at}", "pieces": (mixed + at) % 90}
        for at in range(3)
    ]
    return record


@dataclass
class Workload:
    """One input.

    Attributes:
        name, title: "W1" and what it is.
        scale: which part of the full size it has, by contender's choice.
        messages: makes them anew each time, in order.
        expected: table -> key -> the record that must be there, made anew each time.
        form: the endpoint used with treadle, "batch" (with a schema) or "push" (without).
        schema: of each message for Singer; a tap says it again when it changes.
    """

    name: str
    title: str
    records: int
    messages: Callable[[], Iterator[Message]]
    expected: Callable[[], Iterator[tuple[str, Record]]]
    form: str = "batch"
    schema: dict[str, Any] = field(default_factory=lambda: SCHEMA)
    per_request: int = 1000
    tables: int = 1

    @cached_property
    def requests(self) -> list[bytes]:
        """Bodies for treadle, encoded."""
        make = _batches if self.form == "batch" else _pushes
        return list(make(self))

    @property
    def path(self) -> str:
        return f"/v2/import/{self.form}"

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """(table, record as JSON) in order."""
        for table, _, record in self.messages():
            yield table, _encoded(record)

    def singer(self) -> Iterator[bytes]:
        """The same as a tap would write it."""
        said: dict[str, Any] = {}
        shape: dict[str, tuple[Any, ...]] = {}
        for table, _, record in self.messages():
            wanted = tuple((key, type(value)) for key, value in record.items())
            if shape.get(table) != wanted:
                shape[table] = wanted
                schema = _singer_schema(said.get(table, self.schema), record)
                if said.get(table) != schema:
                    said[table] = schema
                    yield _encoded(
                        {
                            "type": "SCHEMA",
                            "stream": table,
                            "schema": {"type": "object", **schema},
                            "key_properties": ["id"],
                        }
                    )
            yield _encoded({"type": "RECORD", "stream": table, "record": record})
        yield _encoded({"type": "STATE", "value": {"done": True}})


def _singer_schema(known: dict[str, Any], record: Record) -> dict[str, Any]:
    """The schema with the columns and types a tap would have found."""
    properties = {key: dict(value) for key, value in known["properties"].items()}
    for key, value in record.items():
        name = {int: "integer", float: "number", bool: "boolean", str: "string"}.get(type(value))
        if key not in properties:
            properties[key] = {"type": ["null", name]}
        elif name is not None:
            types = properties[key]["type"]
            types = [types] if isinstance(types, str) else types
            if name not in types:
                properties[key] = {**properties[key], "type": [*types, name]}
    return {"properties": properties}


_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _encoded(value: Any) -> bytes:
    return _dump(value).encode()


def _groups(workload: Workload) -> Iterator[list[Message]]:
    group: list[Message] = []
    for message in workload.messages():
        group.append(message)
        if len(group) == workload.per_request:
            yield group
            group = []
    if group:
        yield group


def _batches(workload: Workload) -> Iterator[bytes]:
    for group in _groups(workload):
        yield _encoded(
            {
                "table_name": group[0][0],
                "schema": workload.schema,
                "key_names": ["id"],
                "messages": [
                    {"action": "upsert", "sequence": sequence, "data": record}
                    for _, sequence, record in group
                ],
            }
        )


def _pushes(workload: Workload) -> Iterator[bytes]:
    for group in _groups(workload):
        yield _encoded(
            [
                {
                    "client_id": CLIENT,
                    "table_name": table,
                    "sequence": sequence,
                    "action": "upsert",
                    "key_names": ["id"],
                    "data": record,
                }
                for table, sequence, record in group
            ]
        )


# --- the workloads --------------------------------------------------------------------------------


def w1(count: int) -> Workload:
    def messages() -> Iterator[Message]:
        return (("orders", number, flat(number)) for number in range(count))

    return Workload(
        "W1", "flat records, all new", count, messages, lambda: ((t, r) for t, _, r in messages())
    )


def w2(count: int) -> Workload:
    half = count // 2
    order = list(range(half))
    random.Random(SEED).shuffle(order)

    def messages() -> Iterator[Message]:
        for number in range(half):
            yield "orders", number, flat(number)
        for place, number in enumerate(order):
            yield "orders", half + place, flat(number, 1)

    def expected() -> Iterator[tuple[str, Record]]:
        return (("orders", flat(number, 1)) for number in range(half))

    return Workload("W2", "half of them updates", 2 * half, messages, expected)


def w3(count: int) -> Workload:
    def messages() -> Iterator[Message]:
        return (("orders", number, nested(number)) for number in range(count))

    return Workload(
        "W3",
        "nested: an object and three children",
        count,
        messages,
        lambda: ((t, r) for t, _, r in messages()),
        schema={"properties": {**SCHEMA["properties"], **NESTED}},
    )


def w4(count: int, column_each: int = 10_000, conflict_each: int = 50_000) -> Workload:
    def record(number: int) -> Record:
        made = flat(number)
        if number >= column_each:
            made[f"extra_{number // column_each:03}"] = number
        if number and number % conflict_each == 0:
            made["quantity"] = f"{number} pieces"
        return made

    def messages() -> Iterator[Message]:
        return (("orders", number, record(number)) for number in range(count))

    return Workload(
        "W4",
        f"drift: a column each {column_each:,}, a type conflict each {conflict_each:,}",
        count,
        messages,
        lambda: ((t, r) for t, _, r in messages()),
        form="push",
    )


def w5(count: int) -> Workload:
    third = count // 3
    order = [number for number in range(third) for _ in range(3)]
    random.Random(SEED).shuffle(order)

    def messages() -> Iterator[Message]:
        return (("orders", number, flat(number)) for number in order)

    return Workload(
        "W5",
        "every record three times, shuffled",
        3 * third,
        messages,
        lambda: (("orders", flat(number)) for number in range(third)),
    )


def w6(tables: int, each: int = 100) -> Workload:
    def messages() -> Iterator[Message]:
        for table in range(tables):
            for number in range(each):
                yield f"table_{table:05}", number, flat(table * each + number)

    return Workload(
        "W6",
        f"tables of {each} records",
        tables * each,
        messages,
        lambda: ((t, r) for t, _, r in messages()),
        form="push",
        tables=tables,
    )


LOADS: dict[str, Callable[[int], Workload]] = {
    "W1": w1,
    "W2": w2,
    "W3": w3,
    "W4": w4,
    "W5": w5,
    "W6": lambda count: w6(max(1, count // 100)),
}
"""Workloads that end in tables, by name, for a number of records."""


def singles(count: int, first: int = 0) -> Sequence[bytes]:
    """Bodies of one record each (W7, W8)."""
    return [
        _encoded(
            [
                {
                    "client_id": CLIENT,
                    "table_name": "events",
                    "sequence": number,
                    "action": "upsert",
                    "key_names": ["id"],
                    "data": flat(number),
                }
            ]
        )
        for number in range(first, first + count)
    ]


def one_for_each(tables: int, sequence: int) -> bytes:
    """A body with a record for each of so many small tables."""
    return _encoded(
        [
            {
                "client_id": CLIENT,
                "table_name": f"small_{table:04}",
                "sequence": sequence,
                "action": "upsert",
                "key_names": ["id"],
                "data": flat(sequence),
            }
            for table in range(tables)
        ]
    )
