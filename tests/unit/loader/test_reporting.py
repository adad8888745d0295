import logging

import pytest
from tests.loads import load
from tests.unit.loader.doubles import MemoryStore, as_store

from treadle.errors import OperatorError, RetriableError, TableStoppedError
from treadle.loader.reporting import SILENCE_US_MAX, LoadReporting, PendingReport
from treadle.loader.schedule import LoadHistory, RetrySchedule, TableKey
from treadle.log.protocol import TableBacklog

NOW = 1_800_000_000_000_000
Positions = list[tuple[TableKey, int]]


def make() -> tuple[LoadReporting, MemoryStore, Positions]:
    store, positions = MemoryStore(), Positions()
    reporting = LoadReporting(
        9,
        as_store(store),
        lambda key, position: positions.append((key, position)),
        lambda: "the warehouse",
    )
    return reporting, store, positions


def pending(table: str = "t", position: int = 5) -> PendingReport:
    return PendingReport((1, table), position, load(1, table, position), [])


def test_the_log_is_told_after_the_store() -> None:
    reporting, store, positions = make()
    reporting.record([pending()])
    assert store.calls == [("load", "t", 5, [])]
    assert positions == [((1, "t"), 5)]
    assert reporting.pending_tables == ()


def test_a_report_that_the_store_does_not_take_is_kept_and_the_log_not_told() -> None:
    reporting, store, positions = make()
    store.fails = RetriableError("locked")
    with pytest.raises(RetriableError):
        reporting.record([pending()])
    assert (reporting.pending_tables, positions) == (((1, "t"),), [])
    with pytest.raises(ValueError, match="is not recorded yet"):
        reporting.record([pending("other")])
    reporting.flush()
    assert store.calls == [("load", "t", 5, [])]
    assert (reporting.pending_tables, positions) == ((), [((1, "t"), 5)])
    reporting.flush()
    assert len(store.calls) == 1


def test_the_log_is_told_again_of_what_it_lost_once_the_store_knows_it() -> None:
    reporting, store, positions = make()
    history = LoadHistory({(1, "t"): 5}, {}, RetrySchedule())
    waiting = [TableBacklog(1, "t", last=5, entries=1, records=1, size=1, oldest=0)]
    store.fails = RetriableError("locked")
    with pytest.raises(RetriableError):
        reporting.record([pending()])
    reporting.retell(waiting, {1}, history, NOW)
    assert positions == []
    reporting.flush()
    positions.clear()
    for _ in range(2):  # the same list says nothing new
        reporting.retell(waiting, {1}, history, NOW)
    assert positions == [((1, "t"), 5)]
    reporting.retell(list(waiting), {1}, history, NOW)
    assert positions == [((1, "t"), 5)] * 2


def test_a_thread_that_ends_says_what_it_could_not_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reporting, store, _ = make()
    reporting.flush_if_possible()
    store.fails = RetriableError("locked")
    with pytest.raises(RetriableError):
        reporting.record([pending()])
    store.fails = RetriableError("still locked")
    reporting.flush_if_possible()
    assert "loads into the warehouse cannot be noted now: still locked" in caplog.text


@pytest.mark.parametrize(
    ("error", "stopped"),
    [(TableStoppedError("the key changed"), True), (OperatorError("no"), False)],
)
def test_a_failure_says_whether_somebody_has_to_act(
    error: Exception, stopped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    reporting, store, positions = make()
    reporting.record_failure(load(1, "t", 5, error=str(error)), error, 2_000_000)
    assert store.calls == [("failure", "t", str(error), stopped)]
    assert positions == []
    assert f"'t' of source 1 cannot be loaded, its records wait: {error}; retrying" in caplog.text


def test_trouble_is_noted_until_it_is_over() -> None:
    reporting, store, _ = make()
    reporting.clear_trouble()  # an earlier loader may have noted some
    reporting.clear_trouble()
    reporting.report_trouble("gone", 250_000, NOW)
    reporting.clear_trouble()
    assert store.calls == [("trouble", 9, None), ("trouble", 9, "gone"), ("trouble", 9, None)]


def test_trouble_that_cannot_be_noted_holds_up_nothing(caplog: pytest.LogCaptureFixture) -> None:
    reporting, store, _ = make()
    store.fails = RetriableError("disk full")
    with caplog.at_level(logging.WARNING, "treadle.loader"):
        reporting.report_trouble("gone", 250_000, NOW)
    assert "the store cannot note it now: disk full" in caplog.text
    assert "the warehouse cannot be used, records wait: gone; retrying in 0.2 s" in caplog.text


def test_silence_is_told_once_and_only_while_it_lasts() -> None:
    reporting, store, _ = make()
    for silent_us in (None, SILENCE_US_MAX):
        reporting.report_silence(lambda silent_us=silent_us: silent_us)  # type: ignore[misc]
    assert store.calls == []
    for _ in range(2):
        reporting.report_silence(lambda: SILENCE_US_MAX + 1)
    assert store.calls == [("trouble", 9, "it has not answered for 120 s")]


def test_one_reason_is_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    reporting, _, _ = make()

    def lines(why: str, seconds: float) -> int:
        caplog.clear()
        with caplog.at_level(logging.INFO, "treadle.loader"):
            reporting.report_trouble(why, 250_000, NOW + round(seconds * 1e6))
        return len(caplog.records)

    held = "warehouse.duckdb is held by python3.11 (PID 14950)"
    # A reader holds the file for 75 seconds.
    tries = (0, 0.25, 0.75, 1.75, 3.75, 7.75, 15.75, 30.75, 45.75, 60.75, 75.75)
    assert [lines(held, at) for at in tries] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    assert [lines(why, 76) for why in ("no room", "no room", held)] == [1, 0, 1]
    assert lines(held, -5) == 1  # the clock was set back
    reporting.clear_trouble()
    assert lines(held, -4) == 1


def test_a_retired_loader_says_nothing_of_the_destination() -> None:
    reporting, store, positions = make()
    reporting.retire()
    reporting.report_trouble("gone", 250_000, NOW)
    reporting.report_silence(lambda: SILENCE_US_MAX + 1)
    reporting.clear_trouble()
    assert store.calls == []
    reporting.record([pending()])  # of loads it does: nobody else knows of them
    assert positions == [((1, "t"), 5)]


def test_a_load_is_one_line_with_names_and_fields(caplog: pytest.LogCaptureFixture) -> None:
    reporting, _, _ = make()
    reporting.name_source = {1: "rej"}.__getitem__
    bad = load(1, "orders", 5, rows_received=3, rows_rejected=2)
    with caplog.at_level(logging.INFO, "treadle.loader"):
        reporting.record([PendingReport((1, "orders"), 5, bad, [])])
    [line] = caplog.records
    assert line.getMessage().startswith("loaded rej.orders: 1 row, 2 rejected, ")
    assert line.levelno == logging.WARNING
    fields = line.__dict__["fields"]
    assert {name: fields[name] for name in ("source", "table", "rows", "rejected")} == {
        "source": "rej",
        "table": "orders",
        "rows": 1,
        "rejected": 2,
    }
    assert fields["seconds"] >= 0


def test_trouble_says_where_as_fields(caplog: pytest.LogCaptureFixture) -> None:
    reporting, _, _ = make()
    reporting.report_trouble("gone", 250_000, NOW)
    assert caplog.records[0].__dict__["fields"] == {
        "destination": "the warehouse",
        "destination_id": 9,
        "reason": "gone",
        "retry_seconds": 0.25,
    }
