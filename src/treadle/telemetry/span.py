"""The spans of an entry of the log: its push, its load and the hook that is told of the load.

An entry is what one request brought for one table, and it has a trace of its own. The ids of trace
and spans are made of the log and of the position of the entry, so nothing has to be kept from the
worker that accepts it to the loader and the courier: each of them makes the same ids. The same
holds for the choice of the entries that are traced. Everything here is a function of values.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

SERVER_KIND: Final = 2
CLIENT_KIND: Final = 3
CONSUMER_KIND: Final = 5

LOAD_SPANS_MAX: Final = 200
"""Most entries of one load that are traced: a load may take 100,000."""

_RATIO_UNIT: Final = 1 << 56


class Span(NamedTuple):
    """One span, as OpenTelemetry has them.

    Attributes:
        trace_id: 16 bytes.
        span_id: 8 bytes.
        parent_id: 8 bytes; empty for the root.
        name: of what was done.
        kind: a number of OpenTelemetry.
        began, ended: microseconds since 1970.
        attributes: texts and whole numbers by name.
        error: why it failed; empty when it did not.
    """

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    kind: int
    began: int
    ended: int
    attributes: Mapping[str, str | int]
    error: str = ""


class TracedEntry(NamedTuple):
    """An entry of a load, as far as its span needs it."""

    position: int
    records: int


class TracedLoad(NamedTuple):
    """A committed load, as far as its spans need it; times are microseconds since 1970."""

    id: str
    source_id: int
    source: str
    table_name: str
    began: int
    ended: int
    rows: int
    rejected: int


@dataclass(frozen=True, slots=True)
class EntryTraces:
    """The traces of the entries of one log.

    Attributes:
        log_id: of the log.
        ratio: part of the entries that are traced, 0 to 1.
    """

    log_id: str
    ratio: float = 1.0

    def name_trace(self, position: int) -> bytes:
        """Return the id of the trace of an entry."""
        return _digest(f"trace {self.log_id} {position}")[:16]

    def is_traced(self, position: int) -> bool:
        """Return whether an entry is traced: the same in every process."""
        if self.ratio >= 1:
            return True
        return int.from_bytes(self.name_trace(position)[9:]) < self.ratio * _RATIO_UNIT

    def make_push_spans(
        self, first: int, entries: int, source_id: int, began: int, ended: int
    ) -> list[Span]:
        """Return the spans of a request that was accepted, one for each of its entries.

        Args:
            first: position of its first entry; the others follow it.
            entries: how many it has.
            source_id: who sent it.
            began: microseconds since 1970.
            ended: microseconds since 1970.
        """
        return [
            Span(
                self.name_trace(position),
                self._name_push(position),
                b"",
                "push",
                SERVER_KIND,
                began,
                ended,
                {
                    "treadle.source_id": source_id,
                    "treadle.position": position,
                    "treadle.request.position": first,
                    "treadle.request.entries": entries,
                },
            )
            for position in range(first, first + min(entries, LOAD_SPANS_MAX))
            if self.is_traced(position)
        ]

    def make_load_spans(self, load: TracedLoad, entries: Sequence[TracedEntry]) -> list[Span]:
        """Return the spans of a committed load, one in the trace of each entry that it took."""
        traced = [entry for entry in entries if self.is_traced(entry.position)]
        return [
            Span(
                self.name_trace(entry.position),
                self._name_load(load.id, entry.position),
                self._name_push(entry.position),
                f"load {load.source}",
                CONSUMER_KIND,
                load.began,
                load.ended,
                {
                    "treadle.source_id": load.source_id,
                    "treadle.source": load.source,
                    "treadle.table": load.table_name,
                    "treadle.load": load.id,
                    "treadle.position": entry.position,
                    "treadle.records": entry.records,
                    "treadle.load.rows": load.rows,
                    "treadle.load.rejected": load.rejected,
                },
            )
            for entry in traced[:LOAD_SPANS_MAX]
        ]

    def make_hook_span(
        self,
        load_id: str,
        first: int,
        hook_id: int,
        delivery_id: str,
        try_number: int,
        began: int,
        ended: int,
        status: int | None,
        error: str | None,
    ) -> Span | None:
        """Return the span of a try to tell a hook of a load; it is in the trace of its first entry.

        Args:
            load_id: of the load.
            first: position of its first entry.
            hook_id: of the hook.
            delivery_id: of the delivery.
            try_number: which try it is, from 1.
            began: microseconds since 1970.
            ended: microseconds since 1970.
            status: of the answer; None without one.
            error: why it failed; None when it did not.
        """
        if not self.is_traced(first):
            return None
        attributes: dict[str, str | int] = {
            "treadle.hook_id": hook_id,
            "treadle.delivery": delivery_id,
            "treadle.try": try_number,
            "treadle.load": load_id,
        }
        if status is not None:
            attributes["http.response.status_code"] = status
        return Span(
            self.name_trace(first),
            _digest(f"hook {delivery_id} {try_number} {began}")[:8],
            self._name_load(load_id, first),
            "hook",
            CLIENT_KIND,
            began,
            ended,
            attributes,
            error or "",
        )

    def _name_push(self, position: int) -> bytes:
        return _digest(f"push {self.log_id} {position}")[:8]

    def _name_load(self, load_id: str, position: int) -> bytes:
        return _digest(f"load {load_id} {position}")[:8]


def render_spans(spans: Sequence[Span], version: str, process: str) -> dict[str, Any]:
    """Return spans as the JSON of OTLP, version 1 of its request.

    Args:
        spans: of one process.
        version: of treadle.
        process: "worker".
    """
    return {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [
                        _render_attribute("service.name", "treadle"),
                        _render_attribute("service.version", version),
                        _render_attribute("treadle.process", process),
                    ]
                },
                "scopeSpans": [
                    {
                        "scope": {"name": "treadle", "version": version},
                        "spans": [_render_span(span) for span in spans],
                    }
                ],
            }
        ]
    }


def _render_span(span: Span) -> dict[str, Any]:
    told: dict[str, Any] = {
        "traceId": span.trace_id.hex(),
        "spanId": span.span_id.hex(),
        "parentSpanId": span.parent_id.hex(),
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.began * 1000),
        "endTimeUnixNano": str(max(span.began, span.ended) * 1000),
        "attributes": [_render_attribute(name, value) for name, value in span.attributes.items()],
    }
    if span.error:
        told["status"] = {"code": 2, "message": span.error}
    return told


def _render_attribute(name: str, value: str | int) -> dict[str, Any]:
    # Whole numbers are texts in this JSON, because they may have 64 bits.
    shown = {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}
    return {"key": name, "value": shown}


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
