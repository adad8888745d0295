"""The small form of `python -m tests.faults.cluster`: without namespaces, so without cuts."""

from pathlib import Path

import pytest
from tests.faults.cluster.installation import RigPlan
from tests.faults.cluster.rig import ClusterRig
from tests.faults.cluster.schedule import make_schedule

KINDS = ("kill", "kill-child", "kill-supervisor", "stop", "leave", "join")
SMALL = RigPlan(gates=1, loaders=2, controls=1, standbys=1, networked=False, logs=1)


@pytest.mark.slow
@pytest.mark.release
def test_a_small_cluster_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with ClusterRig(tmp_path, SMALL) as rig:
        for number in range(2):
            schedule = make_schedule(5, number, rig.topology, seconds=5.0, kinds=KINDS, pace=3.0)
            result = rig.run_schedule(schedule)
            assert result.violations == [], schedule.describe()
            assert result.counts["requests acknowledged"] > 10
