"""What checks of the doctor make of what was measured."""

from typing import Any

import pytest

from treadle.config import Config
from treadle.maintenance.doctor import checks, measurements
from treadle.maintenance.doctor.findings import StoreMeasurement

NOW = 1_800_000_000_000_000
HOUR_US = 3_600_000_000


def not_asked(*_: Any) -> Any:
    raise AssertionError("the log is not asked for the time")


@pytest.mark.parametrize(
    ("now", "ahead", "levels"),
    [
        (NOW, None, ["good"]),  # a store in a file
        (NOW - HOUR_US, None, ["bad"]),
        # What is newest was noted by the server's clock, by which this process may go, too.
        (NOW, -HOUR_US, ["good", "odd"]),
        (NOW + HOUR_US, -HOUR_US, ["good", "odd"]),
    ],
)
def test_the_newest_time_of_a_store_is_compared_with_the_clock_that_noted_it(
    now: int, ahead: int | None, levels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = StoreMeasurement(exists=True, clock_ahead=ahead), None, NOW
    monkeypatch.setattr(checks, "read_system_clock", lambda: NOW - (ahead or 0))
    monkeypatch.setattr(measurements, "measure_store", lambda config: measured)
    examination = checks.Examination(Config(), not_asked, not_asked, whole=False, now=now)
    [clock] = [one for one in checks.CHECKS if one.name == "clock"]
    assert [one.level for one in clock.run(examination)] == levels
