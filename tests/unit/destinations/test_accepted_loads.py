"""Loads without the records that a database refuses, over a session in memory."""

from typing import cast

import pytest

from treadle.destinations.conformance.planning import LOG, NOW, prepared
from treadle.destinations.planning import execute_accepted
from treadle.destinations.protocol import LoadResult, LoadSession, RowRefusedError
from treadle.errors import TableStoppedError
from treadle.tables.model import LoadPlan, OffsetCommit, TableState
from treadle.tables.profiles import DUCKDB
from treadle.tables.schema_owner import UNOWNED, SchemaOwner


class CommitRefusingSession:
    """Takes each load in a rehearsal, and refuses it at COMMIT."""

    def prepare(self, schema: str, owner: SchemaOwner = UNOWNED) -> None:
        """Nothing is made."""

    def check_owner(self, schema: str, owner: SchemaOwner = UNOWNED) -> None:
        """It is the owner's."""

    def state(self, schema: str, table: str) -> TableState:
        return TableState(0, None, {})

    def load(self, plan: LoadPlan, *, rehearse: bool = False) -> LoadResult:
        if rehearse:
            return LoadResult({}, {})
        raise RowRefusedError("constraint violated")


def test_a_load_that_no_rehearsal_is_refused_stops_its_table() -> None:
    noted: list[bool] = []
    with pytest.raises(TableStoppedError, match="takes each of its records: constraint violated"):
        execute_accepted(
            cast(LoadSession, CommitRefusingSession()),
            prepared(DUCKDB, 1, (1, {"id": 1}), (2, {"id": 2})),
            offset=OffsetCommit(LOG, 7, "t", -1, 1),
            now=NOW,
            note=lambda: noted.append(True),
        )
    assert noted == [True, True]
