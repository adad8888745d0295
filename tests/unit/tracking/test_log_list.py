"""The logs of an installation as people see them."""

from typing import Any

import pytest

from treadle.errors import InternalError, OperatorError, RetriableError
from treadle.log.joined import JoinedReader, SourceNumbers
from treadle.log.protocol import LogState, TableBacklog
from treadle.log.quota import LogSpace
from treadle.traces.log_server_note import LogServerSight
from treadle.tracking.log_list import (
    NOTHING_KEPT,
    BacklogTotal,
    LogMeasure,
    PlacedLog,
    describe_logs,
    measure_log,
    measure_logs,
    read_backlogs,
    sum_log,
)

PLACE = "postgresql://h1/d"


def waits(table: str, records: int, oldest: int) -> TableBacklog:
    return TableBacklog(7, table, 9, 2, records, 100, oldest)


def log(number: int, state: LogState = LogState.OPEN, *, is_remote: bool = True) -> PlacedLog:
    return PlacedLog(number, "postgres", state, PLACE, is_remote)


class Reader:
    """A log in which something waits, or that fails."""

    def __init__(self, error: Exception | None = None, used: int = 50) -> None:
        self.error = error
        self.used = used
        self.statistics = self
        self.log_id = "one"

    def list_backlogs(self) -> list[TableBacklog]:
        if self.error is not None:
            raise self.error
        return [waits("a", 3, 80), waits("b", 4, 70)]

    def measure_space(self) -> LogSpace:
        return LogSpace(self.used, None)


WAITING = BacklogTotal(2, 4, 7, 200, 70)


def test_what_waits_in_a_log_is_summed() -> None:
    assert sum_log([]) == BacklogTotal()
    assert sum_log([waits("a", 3, 80), waits("b", 4, 70)]) == WAITING


@pytest.mark.parametrize("error", [RetriableError("away"), OperatorError("away")])
def test_a_log_that_cannot_be_asked_says_why(error: Exception) -> None:
    reader: Any = Reader(error)
    assert measure_log(lambda: reader) == LogMeasure(trouble="away")

    def fail() -> Any:
        raise error

    assert measure_log(fail) == LogMeasure(trouble="away")


def test_a_defect_is_no_trouble_of_a_log() -> None:
    reader: Any = Reader(InternalError("a defect"))
    with pytest.raises(InternalError):
        measure_log(lambda: reader)


def test_each_log_is_measured_by_itself() -> None:
    parts: Any = {1: Reader(), 2: Reader(RetriableError("away"))}
    reader = JoinedReader(parts, SourceNumbers(lambda source_id: 1))
    found = measure_logs(reader, [log(1), log(2), log(3), log(4, LogState.CLOSED)])
    assert found[1] == LogMeasure(WAITING, 50)
    assert found[2] == LogMeasure(trouble="away")
    assert "log 3 is not open in this process" in str(found[3].trouble)
    assert found[4] == NOTHING_KEPT
    alone: Any = Reader()
    assert measure_logs(alone, [log(0)]) == {0: LogMeasure(WAITING, 50)}


def test_logs_that_cannot_be_read_are_named_beside_what_waits_in_others() -> None:
    parts: Any = {1: Reader(), 2: Reader(OperatorError("another log"))}
    reader = JoinedReader(parts, SourceNumbers(lambda source_id: 1))
    found = read_backlogs(reader, [log(1), log(2), log(3), log(4, LogState.CLOSED)])
    assert [one.table_name for one in found.backlogs] == ["a", "b"]
    assert sorted(found.troubles) == [2, 3]
    assert found.troubles[2] == "another log"


def test_logs_are_listed_with_sources_and_servers() -> None:
    sight = LogServerSight(PLACE, "replicated", "ANY 1 (b)", 1)
    measures = {1: LogMeasure(WAITING, 50), 0: LogMeasure(WAITING, 1)}
    one, two, file = describe_logs(
        [log(1), log(2), log(0, is_remote=False)], {1: 4}, measures, [sight]
    )
    assert (one.sources, one.measure, one.server) == (4, LogMeasure(WAITING, 50), sight)
    assert (two.sources, two.measure.waiting, two.server) == (0, None, sight)
    assert two.measure.trouble == "it was added a moment ago"
    assert file.server is None
