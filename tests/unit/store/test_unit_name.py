"""Names of units are read as they are made."""

import pytest

from treadle.loader.share import name_exclusive_unit, name_unit
from treadle.server.courier_turn import COURIER_UNIT
from treadle.store.unit_name import (
    COURIER_UNITS,
    EXCLUSIVE_UNITS,
    LOG_UNITS,
    UnitName,
    parse_unit_name,
)


def test_what_makers_name_is_read() -> None:
    assert parse_unit_name(name_unit(12, 63)) == UnitName(LOG_UNITS, 12, 63)
    assert parse_unit_name(name_exclusive_unit(3)) == UnitName(EXCLUSIVE_UNITS, 3)
    assert parse_unit_name(COURIER_UNIT) == UnitName(COURIER_UNITS, 0)


@pytest.mark.parametrize("unit", ["", "log", "log:", "log:1:2:3", "log:a:1", "x:1:2", "log:1:-2"])
def test_another_form_is_no_name(unit: str) -> None:
    assert parse_unit_name(unit) is None
