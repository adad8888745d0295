"""What was sent and answered, and what the tables must therefore hold.

Two tables are pushed to. `orders` has a key: requests without an answer are repeated, and of each
id the row with the highest sequence is there. `events` has none: a request is sent once, and its
rows are there once if it was acknowledged, not at all if it was refused, and either way, but all
or none, if no answer came.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

RECORDS = 20
"""In each request."""

Outcome = Literal["acknowledged", "refused", "unknown"]


@dataclass(slots=True)
class Request:
    """Records of one request, all for one table.

    Attributes:
        number: of the request; in every row of it.
        records: (id, sequence).
    """

    number: int
    table: str
    keyed: bool
    records: list[tuple[int, int]]
    outcome: Outcome = "unknown"
    receipt: str | None = None

    def body(self, client_id: int, fields: int = 0, *, items: bool = False) -> list[dict[str, Any]]:
        """As the Import API takes it, with so many further fields, and with a subtable."""
        further: dict[str, Any] = {f"field_{number}": number for number in range(fields)}
        if items:
            further["items"] = [{"request": self.number}, {"request": self.number}]
        return [
            {
                "client_id": client_id,
                "table_name": self.table,
                "sequence": sequence,
                "action": "upsert",
                "key_names": ["id"] if self.keyed else [],
                "data": {
                    "id": number,
                    "request": self.number,
                    "note": f"{number}/{sequence}",
                    **further,
                },
            }
            for number, sequence in self.records
        ]


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it was found."""

    id: int
    sequence: int
    request: int
    note: str


@dataclass(slots=True)
class Witness:
    """Everything that was sent. For several threads."""

    requests: list[Request] = field(default_factory=list)
    _sequence: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def request(self, table: str, ids: Sequence[int] | None) -> Request:
        """A new request: upserts of these ids, or, with None, records that only append."""
        with self._lock:
            number = len(self.requests)
            first = self._sequence + 1
            chosen = ids if ids is not None else range(first, first + RECORDS)
            self._sequence += len(chosen)
            records = list(zip(chosen, range(first, first + len(chosen)), strict=True))
            made = Request(number, table, ids is not None, records)
            self.requests.append(made)
            return made

    def fresh(self) -> "Witness":
        """One that has seen nothing; its sequences are higher."""
        return Witness(_sequence=self._sequence)

    @property
    def acknowledged(self) -> int:
        """Requests answered 201."""
        with self._lock:
            return sum(request.outcome == "acknowledged" for request in self.requests)

    @property
    def unanswered(self) -> int:
        """Requests whose outcome nobody knows."""
        with self._lock:
            return sum(request.outcome == "unknown" for request in self.requests)

    def violations(self, table: str, rows: Sequence[Row]) -> list[str]:
        """How the rows of a table differ from what was promised; empty when they do not."""
        requests = [request for request in self.requests if request.table == table]
        if any(request.keyed for request in requests):
            return _keyed(requests, rows)
        return _appended(requests, rows)


def _keyed(requests: Sequence[Request], rows: Sequence[Row]) -> list[str]:
    acknowledged: dict[int, int] = {}
    sent: dict[tuple[int, int], Request] = {}
    for request in requests:
        for number, sequence in request.records:
            if request.outcome != "refused":
                sent[number, sequence] = request
            if request.outcome == "acknowledged":
                acknowledged[number] = max(acknowledged.get(number, 0), sequence)
    found: list[str] = []
    seen: set[int] = set()
    for row in rows:
        where = f"id {row.id}, sequence {row.sequence}"
        if row.id in seen:
            found.append(f"doubled: {where}")
        seen.add(row.id)
        source = sent.get((row.id, row.sequence))
        if source is None:
            found.append(f"never accepted: {where}")
        elif row.request != source.number or row.note != f"{row.id}/{row.sequence}":
            found.append(f"mixed up: {where} has the values {row.request} and {row.note!r}")
        elif row.sequence < acknowledged.get(row.id, 0):
            found.append(f"lost: {where}, but {acknowledged[row.id]} was acknowledged")
    missing = acknowledged.keys() - seen
    return found + [f"lost: id {number}, sequence {acknowledged[number]}" for number in missing]


def _appended(requests: Sequence[Request], rows: Sequence[Row]) -> list[str]:
    there: dict[tuple[int, int], int] = {}
    for row in rows:
        there[row.request, row.id] = there.get((row.request, row.id), 0) + 1
    found: list[str] = []
    for request in requests:
        times = [there.pop((request.number, number), 0) for number, _ in request.records]
        name = f"request {request.number} ({request.outcome})"
        if any(count > 1 for count in times):
            found.append(f"doubled: {sum(count > 1 for count in times)} records of {name}")
        elif request.outcome == "acknowledged" and not all(times):
            found.append(f"lost: {times.count(0)} records of {name}")
        elif request.outcome == "refused" and any(times):
            found.append(f"never accepted: {sum(times)} records of {name}")
        elif len(set(times)) > 1:
            found.append(f"torn: {times.count(0)} records of {name} are missing")
    return found + [f"unknown row: request {number}, id {one}" for number, one in there]


def totals(counts: Mapping[str, int]) -> str:
    """Counts on one line."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())
