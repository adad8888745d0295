from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.metrics.histograms import (
    LOAD_SECONDS,
    REQUEST_SECONDS,
    DurationHistogram,
    HistogramForm,
    label_destination,
    sum_histogram,
)
from treadle.shared_counters import SharedCounters, sum_counters

FORM = HistogramForm("t", ("a", "b"), (0.1, 1.0))


class Board:
    def __init__(self, form: HistogramForm) -> None:
        self.names = form.counter_names
        self.counts = [0] * len(self.names)

    def get_slot(self, name: str) -> int:
        return self.names.index(name)

    def named(self) -> dict[str, int]:
        return dict(zip(self.names, self.counts, strict=True))


def test_a_bound_belongs_to_its_bucket_and_the_last_has_all() -> None:
    board = Board(FORM)
    histogram = DurationHistogram(FORM, board)
    for seconds in (0.05, 0.1, 0.2, 5.0):
        histogram.note("a", seconds)
    [found] = sum_histogram(FORM, board.named())
    assert found.label == "a"
    assert found.buckets == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    assert found.sum_seconds == 5.35


@pytest.mark.parametrize(
    ("type_", "label"),
    [
        ("bigquery_v2", "bigquery"),
        ("clickhouse", "clickhouse"),
        ("duckdb", "duckdb"),
        ("iceberg", "iceberg"),
        ("mysql_destination", "mysql"),
        ("postgres", "postgres"),
        ("redshift", "redshift"),
        ("s3", "files"),
    ],
)
def test_each_type_of_destination_has_a_label(type_: str, label: str) -> None:
    assert label_destination(type_) == label
    assert label in LOAD_SECONDS.labels


def test_an_unknown_label_makes_no_series_and_no_time_is_taken_away() -> None:
    board = Board(FORM)
    DurationHistogram(FORM, board).note("zzz", -3.0)
    [found] = sum_histogram(FORM, board.named())
    assert (found.label, found.sum_seconds) == ("b", 0)


@given(st.lists(st.floats(0, 100), max_size=50))
def test_buckets_only_grow(durations: list[float]) -> None:
    board = Board(LOAD_SECONDS)
    histogram = DurationHistogram(LOAD_SECONDS, board)
    for seconds in durations:
        histogram.note("duckdb", seconds)
    for found in sum_histogram(LOAD_SECONDS, board.named()):
        counts = [count for _, count in found.buckets]
        assert counts == sorted(counts)
        assert counts[-1] == len(durations)


def test_processes_are_summed(tmp_path: Path) -> None:
    for process in ("worker 1", "worker 2"):
        board = SharedCounters(tmp_path, process, REQUEST_SECONDS.counter_names)
        DurationHistogram(REQUEST_SECONDS, board).note("push", 0.002)
    counts = sum_counters(tmp_path, REQUEST_SECONDS.counter_names)
    [found] = sum_histogram(REQUEST_SECONDS, counts)
    assert (found.label, found.buckets[-1], found.sum_seconds) == ("push", ("+Inf", 2), 0.004)
