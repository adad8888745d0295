"""Upgrades a server of an earlier commit under load, and compares every row.

    python -m tests.upgrade                        # from the newest release
    python -m tests.upgrade --from 324e21d         # from a commit
    python -m tests.upgrade --from HEAD~50 --destination postgres --ending kill
    python -m tests.upgrade --cluster --from HEAD~1  # member by member

It needs a clone with that commit in its history.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import get_args

from tests.servers.postgres import PostgresServer
from tests.upgrade.cluster_run import upgrade_cluster_under_load
from tests.upgrade.former_release import (
    NoHistoryError,
    find_former_revision,
    name_revision,
    unpack_source,
)
from tests.upgrade.upgrade_run import Ending, upgrade_under_load

KINDS = ("duckdb", "postgres")
ENDINGS: tuple[Ending, ...] = get_args(Ending)


def main() -> int:
    """Run the upgrades; the exit code is 1 where a record was lost or doubled."""
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade", description=__doc__)
    parser.add_argument("--from", dest="revision", help="the earlier commit, branch or tag")
    parser.add_argument("--destination", choices=KINDS, action="append", help="only into this")
    parser.add_argument("--ending", choices=ENDINGS, action="append", help="only so")
    parser.add_argument("--cluster", action="store_true", help="a cluster, without a stop")
    parser.add_argument("--runs", type=int, default=1, help="of a cluster, how often")
    arguments = parser.parse_args()
    try:
        revision = arguments.revision or find_former_revision()
        print(f"from {name_revision(revision)}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            source = unpack_source(revision, Path(folder))
            if arguments.cluster:
                return upgrade_clusters(source, arguments.runs)
            return run_all(source, arguments.destination or KINDS, arguments.ending or ENDINGS)
    except NoHistoryError as error:
        print(error, file=sys.stderr)
        return 2


def run_all(source: Path, kinds: tuple[str, ...], endings: tuple[Ending, ...]) -> int:
    """Upgrade into each kind of destination after each ending; returns the exit code."""
    wrong = 0
    with PostgresServer() as postgres:
        for kind in kinds:
            for ending in endings:
                destination = None if kind == "duckdb" else postgres.create_database()
                with tempfile.TemporaryDirectory() as folder:
                    report = upgrade_under_load(source, Path(folder), destination, ending)
                print(
                    f"{kind}, {ending}: store {report.migrated[0]} to {report.migrated[1]}, "
                    f"{report.before} requests before, {report.requests} in all, "
                    f"{report.retries} repeated, restored: {report.restored}; "
                    f"{'; '.join(report.faults) or 'nothing lost, nothing doubled'}",
                    flush=True,
                )
                wrong += bool(report.faults)
    return 1 if wrong else 0


def upgrade_clusters(source: Path, runs: int) -> int:
    """Upgrade clusters member by member; returns the exit code."""
    wrong = 0
    with PostgresServer(settings={"max_connections": "200"}) as postgres:
        for number in range(1, runs + 1):
            urls = postgres.create_database(), postgres.create_database()
            with tempfile.TemporaryDirectory() as folder:
                report = upgrade_cluster_under_load(source, Path(folder), *urls)
            print(
                f"cluster, run {number}: {report.before} requests before, {report.requests} in "
                f"all, {report.retries} repeated, the former release refused: {report.refused}; "
                f"{'; '.join(report.faults) or 'nothing lost, nothing doubled'}",
                flush=True,
            )
            wrong += bool(report.faults)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
