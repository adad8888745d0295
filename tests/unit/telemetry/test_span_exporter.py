import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

from treadle.telemetry import span_exporter
from treadle.telemetry.span import Span
from treadle.telemetry.span_exporter import BATCH_MAX, LINE_SECONDS, CollectorError, SpanExporter

SPAN = Span(b"\1" * 16, b"\2" * 8, b"", "push", 2, 1, 2, {})


class Collector:
    def __init__(self) -> None:
        self.batches: list[int] = []
        self.fails: Exception | None = None
        self.seconds = 0.0
        self.exporter = SpanExporter(self.take, lambda: self.seconds)

    def take(self, spans: Sequence[Span]) -> None:
        if self.fails is not None:
            raise self.fails
        self.batches.append(len(spans))


def test_spans_are_sent_in_batches() -> None:
    its = Collector()
    its.exporter.add([SPAN] * (BATCH_MAX + 3))
    assert its.exporter.send_waiting()
    assert not its.exporter.send_waiting()
    assert not its.exporter.send_waiting()
    assert its.batches == [BATCH_MAX, 3]


@pytest.mark.parametrize("error", [CollectorError("it answered 500"), ConnectionRefusedError("no")])
def test_what_the_collector_does_not_take_is_left_out_and_told_once_a_minute(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    its = Collector()
    its.fails = error
    for _ in range(3):
        its.exporter.add([SPAN])
        assert not its.exporter.send_waiting()
    assert caplog.text.count("the collector of spans does not take them") == 1
    its.seconds += LINE_SECONDS
    its.exporter.add([SPAN])
    its.exporter.send_waiting()
    assert caplog.records[-1].getMessage().endswith("; 3 left out")
    its.fails = None
    its.exporter.add([SPAN])
    its.exporter.send_waiting()
    assert its.batches == [1]


def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_exporter, "QUEUE_MAX", 5)
    its = Collector()
    its.exporter.add([SPAN] * 4)
    its.exporter.add([SPAN] * 4)
    its.exporter.add([SPAN] * 4)
    its.exporter.send_waiting()
    assert its.batches == [5]


def test_the_last_spans_are_sent_at_the_end() -> None:
    its = Collector()
    its.exporter.start()
    its.exporter.add([SPAN])
    its.exporter.close()
    assert its.batches == [1]


@pytest.mark.parametrize("role", ["worker_process", "loader_process", "courier_process"])
def test_a_server_without_a_collector_imports_nothing_of_it(role: str) -> None:
    path = Path(span_exporter.__file__).parents[1] / "server" / f"{role}.py"
    imported = [
        node.module or ""
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ImportFrom)
    ]
    assert imported
    assert not [name for name in imported if "telemetry" in name]
