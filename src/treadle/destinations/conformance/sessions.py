"""Sessions of several processes: who was lost must not keep its locks."""

import pytest

from treadle.destinations.conformance.builders import ORDERS, TableLoads, table, upsert
from treadle.destinations.protocol import Destination, DestinationUnavailableError, NamedSessions
from treadle.tables.model import CreateRelation


def test_sessions_of_a_lost_process_are_ended_and_no_others(
    destination: Destination, same_destination: Destination
) -> None:
    if not destination.capabilities.evictable:
        pytest.skip("its sessions cannot be ended by another process")
    assert isinstance(destination, NamedSessions)
    assert isinstance(same_destination, NamedSessions)
    destination.name_sessions("b0a8f1de-0000-4000-8000-000000000001")
    same_destination.name_sessions("b0a8f1de-0000-4000-8000-000000000002")
    with destination.open() as ours, same_destination.open() as theirs, same_destination.open():
        theirs.prepare("web")
        assert ours.evict("b0a8f1de-0000-4000-8000-000000000003") == 0
        assert ours.evict("b0a8f1de-0000-4000-8000-000000000002") == 2
        assert ours.evict("b0a8f1de-0000-4000-8000-000000000002") == 0
        ours.prepare("web")
        loads = TableLoads(theirs)
        plan = loads.plan(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        with pytest.raises(DestinationUnavailableError):
            theirs.load(plan)
        TableLoads(ours).run(plan)
    with same_destination.open() as again:
        assert TableLoads(again).orders() == [(1, "x", 1)]
