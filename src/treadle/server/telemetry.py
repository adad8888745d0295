"""Makes what tells a collector of spans, in each process that has some to tell.

It is imported only where the setting `otel_endpoint` names a collector.
"""

from collections.abc import Callable, Sequence

from treadle import __version__
from treadle.config import Config
from treadle.errors import TreadleError
from treadle.loader.chunk import EntryChunk
from treadle.store.model import DueDelivery, LoadReport, RecordedTry
from treadle.store.store import Store
from treadle.telemetry.span import EntryTraces, TracedEntry, TracedLoad
from treadle.telemetry.span_exporter import SpanExporter, make_sender


def start_exporter(config: Config, process: str) -> SpanExporter:
    """Start what sends the spans of this process; the caller closes it."""
    exporter = SpanExporter(make_sender(config.otel_endpoint or "", __version__, process))
    exporter.start()
    return exporter


def make_push_teller(
    exporter: SpanExporter,
    choose_traces: Callable[[int], EntryTraces],
    clock: Callable[[], int],
) -> Callable[[int, int, int, float], None]:
    """Make what tells of accepted requests: source, first position, entries, seconds.

    Args:
        exporter: of the spans.
        choose_traces: source id -> the traces of its log.
        clock: microseconds since 1970.
    """

    def tell(source_id: int, first: int, entries: int, seconds: float) -> None:
        now = clock()
        began = now - int(seconds * 1_000_000)
        traces = choose_traces(source_id)
        exporter.add(traces.make_push_spans(first, entries, source_id, began, now))

    return tell


def make_load_teller(
    exporter: SpanExporter, ratio: float
) -> Callable[[str, str, EntryChunk, LoadReport], None]:
    """Make what tells of loads: log, name of the source, entries, report."""

    def tell(log_id: str, source: str, chunk: EntryChunk, load: LoadReport) -> None:
        traced = TracedLoad(
            load.id,
            load.source_id,
            source,
            load.table_name,
            load.started_at,
            load.finished_at,
            load.rows_received - load.rows_discarded - load.rows_rejected,
            load.rows_rejected,
        )
        entries = [TracedEntry(entry.position, entry.records) for entry in chunk.entries]
        exporter.add(EntryTraces(log_id, ratio).make_load_spans(traced, entries))

    return tell


def make_try_teller(
    exporter: SpanExporter, store: Store, ratio: float
) -> Callable[[Sequence[tuple[DueDelivery, RecordedTry]]], None]:
    """Make what tells of tries to send deliveries."""

    def tell(tries: Sequence[tuple[DueDelivery, RecordedTry]]) -> None:
        try:
            numbers = [delivery.number for delivery, _ in tries]
            origins = store.deliveries.find_origins(numbers)
        except TreadleError:  # the tries are recorded; only their spans are missing
            return
        for delivery, judged in tries:
            origin = origins.get(delivery.number)
            if origin is None:
                continue
            load_id, first, log_id = origin
            span = EntryTraces(log_id, ratio).make_hook_span(
                load_id,
                first,
                delivery.hook_id,
                delivery.id,
                delivery.tries + 1,
                judged.at - judged.took_us,
                judged.at,
                judged.status,
                judged.error,
            )
            if span is not None:
                exporter.add([span])

    return tell
