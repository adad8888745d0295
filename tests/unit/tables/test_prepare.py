"""What a load that was prepared leaves behind: nothing."""

import gc
import sys

import pytest
from tests.unit.tables.executor import batch

from treadle.tables.model import TableOptions
from treadle.tables.prepare.prepare import LogBatch, prepare_load
from treadle.tables.profile import DestinationProfile
from treadle.tables.profiles import DUCKDB, POSTGRES


@pytest.mark.parametrize("profile", [DUCKDB, POSTGRES], ids=["duckdb", "postgres"])
def test_records_are_let_go_of_without_a_collection(profile: DestinationProfile) -> None:
    entries = [
        batch(
            [
                (n, {"id": 1000 * entry + n, "object": {"a": n}, "parts": [{"b": n}]})
                for n in range(100)
            ]
        )
        for entry in range(4)
    ]
    arrivals = [LogBatch(entry, n, 1) for n, entry in enumerate(entries)]
    before = sys.getrefcount(arrivals)
    gc.disable()  # as the loader does
    try:
        prepared = prepare_load(arrivals, profile=profile, options=TableOptions(), schema="s")
        assert prepared.received == 400
        del prepared
        assert sys.getrefcount(arrivals) == before
    finally:
        gc.enable()
