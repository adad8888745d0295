"""An upgrade of a cluster under load, member by member, from an earlier commit to today."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.servers.members import MemberCluster, MemberServer
from tests.servers.treadle import eventually
from tests.upgrade.retrying_sender import RetryingSender
from tests.upgrade.upgrade_run import await_requests, compare_rows

REQUESTS: Final = 20
"""At the least before the upgrade, after each member, and after the last one."""


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """What came of an upgrade of a cluster.

    Attributes:
        before: requests that were answered when the upgrade began.
        requests: that were answered in all.
        retries: of the sender.
        refused: a member of the earlier commit does not start after the end of the upgrade; None
            where both know the same schema, so that it may.
        faults: what is not as it should be.
    """

    before: int
    requests: int
    retries: int
    refused: bool | None
    faults: tuple[str, ...]


def upgrade_cluster_under_load(
    source: Path, folder: Path, url: str, destination: str, gates: int = 2
) -> ClusterReport:
    """Upgrade control, loader and gates while a sender pushes, and compare all rows.

    Args:
        source: of the earlier commit (`unpack_source`).
        folder: for the data folders.
        url: of an empty database, for store and log.
        destination: URL that rows are loaded into.
        gates: how many.
    """
    former = {"PYTHONPATH": os.fspath(source)}
    faults: list[str] = []
    with MemberCluster(folder, url, destination, gates, environment=former) as cluster:
        client = cluster.client
        urls = [gate.url for gate in cluster.gates]
        sender = RetryingSender(urls, client.client_id, client.create_source()[1])
        sender.start()
        await_requests(sender, REQUESTS)
        before = sender.acknowledged
        schema = _check_upgrade(cluster)["store"]["schema"]
        for member in cluster.members:
            del member.environment["PYTHONPATH"]
            member.restart()
            eventually(lambda member=member: member.find_readiness()[0] == 200)  # type: ignore[misc]  # bound now
            await_requests(sender, sender.acknowledged + REQUESTS)
        eventually(lambda: not _check_upgrade(cluster)["older"])
        cluster.treadle("upgrade", "finish")
        told = _check_upgrade(cluster)
        if not told["finished"]:
            faults.append(f"the upgrade is not finished: {told['advice']}")
        await_requests(sender, sender.acknowledged + REQUESTS)
        sender.stop()
        eventually(lambda: compare_rows(destination, sender.acknowledged) == [])
        faults += compare_rows(destination, sender.acknowledged)
        refused = None
        if schema != told["store"]["least_schema"]:
            late = MemberServer(folder, "late", "ingest", url, environment=former)
            refused = not _starts(late)
            if not refused:
                faults.append("a member of the earlier commit starts after the end of the upgrade")
    return ClusterReport(before, sender.acknowledged, sender.retries, refused, tuple(faults))


def _check_upgrade(cluster: MemberCluster) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(cluster.treadle("upgrade", "check", "--json"))
    return told


def _starts(member: MemberServer) -> bool:
    try:
        with member:
            return True
    except AssertionError:
        return False
