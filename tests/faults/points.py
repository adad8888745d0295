"""`python -m tests.faults.points`: die at every failpoint, with and without the other processes.

A cycle is every point once, for each destination, each kind of table, and each way of dying.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.faults.command import Tally, command, destinations, folder
from tests.faults.traffic import Rig

from treadle.failpoint import (
    FAILPOINTS,
    PART_FAILPOINTS,
    SHOW_FAILPOINTS,
    STAGE_FAILPOINTS,
    STEP_FAILPOINTS,
    FailpointPlan,
)
from treadle.loader.log_trimmer import TRIM_INTERVAL_US

FIRST = "destination.prepare"
"""Passed only while the source's schema is missing, in some destinations."""

BEFORE = {"loader.recover": "loader.after-load"}
"""Points that only a loader passes that starts anew: where the one before it dies."""

TRIM = "log.trim"
TRIM_SECONDS = TRIM_INTERVAL_US / 1_000_000 + 1
"""A loader trims the log when it starts, and after so long."""

NAMES = {
    "clickhouse": "ClickHouse",
    "duckdb": "DuckDB",
    "files": "files",
    "iceberg+sql": "Iceberg",
    "mysql": "MySQL",
    "postgresql": "PostgreSQL",
    "redshift": "Redshift",
}
"""Scheme of a URL -> what it is called in a report."""

CHANGES = STEP_FAILPOINTS[:2]
"""Points of a schema change that is committed when it is made."""


def order(kind: str, keyed: bool) -> list[str]:
    """Every point, those first that are passed only at the beginning."""
    # Rows that are only added are not staged.
    staged = STAGE_FAILPOINTS if keyed else STAGE_FAILPOINTS[1:]
    further = {
        "ClickHouse": (*CHANGES, *staged),
        "MySQL": CHANGES,
        "Iceberg": PART_FAILPOINTS,
        "files": (*PART_FAILPOINTS, *SHOW_FAILPOINTS),
    }.get(kind, ())
    return [FIRST, *(point for point in FAILPOINTS if point != FIRST), *further]


def name_kind(destination: str | None) -> str:
    """What the kind of a destination is called."""
    scheme = "duckdb" if destination is None else destination.partition(":")[0]
    return NAMES[scheme]


def die(rig: Rig, point: str, *, passes: int, whole: bool) -> list[str]:
    """Die at a point, go on, and compare."""
    before = BEFORE.get(point)
    if point in CHANGES:
        rig.fields += passes
    if before is not None and not rig.kill_at(FailpointPlan(before)):
        return [f"nobody came to {before}"]
    ahead = TRIM_SECONDS if point == TRIM else 0.0
    if not rig.kill_at(FailpointPlan(point, passes, whole), ahead=ahead):
        return [f"nobody came to {point}"]
    if whole:
        rig.server.process.wait()
        rig.restart()
    rig.pause()
    return rig.violations()


def walk(path: Path, fresh: Callable[[], str | None], keyed: bool, seed: int, tally: Tally) -> None:
    """Every point once, in both ways of dying."""
    table = "orders" if keyed else "events"
    settings = {"retention_days": "0"}  # so that there is something to trim
    for whole in (False, True):
        destination = fresh()
        kind = name_kind(destination)
        place = path / ("whole" if whole else "alone")
        place.mkdir()
        rig = Rig(place, destination, {table: keyed}, seed=seed, settings=settings, clocked=True)
        with rig.running():
            for number, point in enumerate(order(kind, keyed)):
                at_once = (FIRST, TRIM, *BEFORE, *CHANGES, *PART_FAILPOINTS, *SHOW_FAILPOINTS)
                passes = 1 if point in at_once else 1 + number % 3
                found = die(rig, point, passes=passes, whole=whole)
                title = f"{kind}, {table}, {point}, {'all' if whole else 'alone'}"
                tally.note(title, found)
                if not whole and (number % 2 or point in BEFORE):
                    rig.kill("all")  # each death makes the next pause of a child longer
                    rig.restart()


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """Walk through all points as often as there are cycles."""
    with destinations(arguments.destination) as fresh:
        for cycle, kind, keyed in itertools.product(
            range(arguments.cycles), arguments.destination, (True, False)
        ):
            with folder() as path:
                walk(path, partial(fresh, kind), keyed, arguments.seed + cycle, tally)
    tally.add(points=len(FAILPOINTS))


if __name__ == "__main__":
    sys.exit(command("points", str(__doc__), run, cycles=1))
