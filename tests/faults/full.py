"""`python -m tests.faults.full`: the disk of the data folder full, and emptied again, under load.

A cycle fills a small file system to the last byte while requests come in, waits, and makes room
again. Half of the cycles run with a reserve, so that requests are refused before the disk is full;
the others meet the full disk itself. Needs a user who may mount one.
"""

import argparse
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.command import Tally, command, folder
from tests.faults.traffic import SETTLE_SECONDS_MAX, Rig

TABLES = {"orders": True, "events": False}
MEGABYTES = 160
RESERVE = 30_000_000


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int = MEGABYTES) -> Iterator[Path]:
    """A file system of this size, mounted below a folder."""
    place = path / "disk"
    place.mkdir()
    size = f"size={megabytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", os.fspath(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", os.fspath(place)], check=True)


def fill(file: Path) -> None:
    """Take every byte that is left."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as out:
        while out.write(bytes(1 << 16)):
            pass


def cycles(path: Path, count: int, seed: int, reserve: int, tally: Tally) -> None:
    """Some cycles with one server on one small disk."""
    dice = random.Random(seed)
    title = f"reserve of {reserve} bytes"
    settings = {"disk_reserve_bytes": str(reserve), "log_level": "warning"}
    with small_disk(path) as place:
        rig = Rig(place, None, TABLES, seed=seed, settings=settings)
        rig.server.log = path / "server.log"
        ballast = place / "ballast"
        with rig.running():
            for cycle in range(count):
                rig.gate.set()
                time.sleep(dice.uniform(0.2, 0.6))
                fill(ballast)
                before = rig.witness.acknowledged
                time.sleep(dice.uniform(0.5, 1.5))
                refused = sum(one.outcome == "refused" for one in rig.witness.requests)
                tally.add(**{"acknowledged on a full disk": rig.witness.acknowledged - before})
                ballast.unlink()
                resumed = rig.witness.acknowledged
                found = ["it did not resume"]
                deadline = time.monotonic() + SETTLE_SECONDS_MAX
                while found and time.monotonic() < deadline:
                    time.sleep(0.05)
                    found = [] if rig.witness.acknowledged > resumed else found
                rig.pause()
                tally.note(f"{title}, cycle {cycle}", found + rig.violations())
            tally.add(**{f"refused, {title}": refused})
            tally.note(f"{title}, the server", [] if rig.alive() else ["it ended"])


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """Half of the cycles with a reserve."""
    for reserve in (RESERVE, 0):
        with folder() as path:
            cycles(path, max(1, arguments.cycles // 2), arguments.seed, reserve, tally)


if __name__ == "__main__":
    sys.exit(command("full", str(__doc__), run, cycles=20))
