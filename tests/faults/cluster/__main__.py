"""`python -m tests.faults.cluster`: a cluster under schedules of faults, and what they break.

Three gates, three loaders, one control member and a PostgreSQL cluster with two standbys, each in a
network namespace (root), or fewer of them on this machine itself. A schedule breaks something every
2 to 10 seconds and heals it 1 to 20 seconds later; then everything is compared (cluster.md 15.4).
Each line that begins with `seed` can be run again: `--seed S --first N --schedules 1`.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from tests.faults.cluster.checks import find_unmet
from tests.faults.cluster.installation import RigPlan
from tests.faults.cluster.rig import MET, ClusterRig, ScheduleResult
from tests.faults.cluster.schedule import FAULTS, make_schedule
from tests.faults.command import Tally, end_after, folder

from treadle.failpoint import FAILPOINTS, POSTGRES_LOG_FAILPOINTS, UNIT_FAILPOINTS

POINTS = tuple(
    point
    for point in (*FAILPOINTS, *POSTGRES_LOG_FAILPOINTS, *UNIT_FAILPOINTS)
    # Those of SQLite's log are passed nowhere here, and those of the keeper seldom.
    if point in POSTGRES_LOG_FAILPOINTS or not point.startswith("log.")
)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.cluster", description=__doc__)
    parser.add_argument("--schedules", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--seed", type=int, default=1, help="of the dice")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each schedule")
    parser.add_argument("--only", help=f"kinds of faults, with commas: {', '.join(FAULTS)}")
    parser.add_argument("--gates", type=int, default=3)
    parser.add_argument("--loaders", type=int, default=3, help="0: each gate does everything")
    parser.add_argument("--controls", type=int, default=1)
    parser.add_argument("--apart", action="store_true", help="servers of its own for the store")
    parser.add_argument("--here", action="store_true", help="without namespaces, so without cuts")
    parser.add_argument("--renew", type=int, default=20, help="schedules of one cluster")
    parser.add_argument("--minutes", type=float, default=0.0, help="end after so long; 0 for never")
    parser.add_argument("--record", type=Path, help="append the counts to this file, as JSON")
    parser.add_argument("--keep", type=Path, help="keep the members' log lines in this folder")
    return parser


def main() -> int:
    """Run the schedules; returns 1 when one of them found something."""
    arguments = make_parser().parse_args()
    tally = Tally("cluster")
    worst = {"silence of acceptance": 0.0, "stall of a table": 0.0, "acceptance resumed": 0.0}
    began = time.monotonic()
    try:
        end_after(60 * arguments.minutes)
        run(arguments, tally, worst)
    except KeyboardInterrupt:
        print("ended early, with these")
    for title, count in sorted(tally.counts.items()):
        print(f"{count} {title}")
    for title, seconds in worst.items():
        print(f"{seconds:.2f} s: longest {title}")
    print(f"{tally.passed} passed, {tally.failed} failed, {time.monotonic() - began:.0f} s")
    if arguments.record is not None:
        write_record(arguments, tally, worst, time.monotonic() - began)
    return 1 if tally.failed or not tally.passed else 0


def run(arguments: argparse.Namespace, tally: Tally, worst: dict[str, float]) -> None:
    """Run all schedules, with a new cluster after some of them."""
    plan = RigPlan(
        gates=arguments.gates,
        loaders=arguments.loaders,
        controls=arguments.controls if arguments.loaders else 0,
        networked=not arguments.here,
        apart=arguments.apart,
        points=POINTS,
        destinations=2,
    )
    numbers = range(arguments.first, arguments.first + arguments.schedules)
    for begin in range(0, len(numbers), arguments.renew):
        with folder() as path, ClusterRig(path, plan, say) as rig:
            try:
                for number in numbers[begin : begin + arguments.renew]:
                    run_one(rig, number, arguments, tally, worst)
            finally:
                tally.add(**rig.count_met())
                if arguments.keep is not None:
                    keep_lines(rig, arguments.keep)
    if len(numbers) >= arguments.renew and not arguments.only:
        tally.note("the whole run", find_unmet(tally.counts, MET))


def run_one(
    rig: ClusterRig,
    number: int,
    arguments: argparse.Namespace,
    tally: Tally,
    worst: dict[str, float],
) -> ScheduleResult:
    """Run one schedule and count what it found."""
    schedule = make_schedule(
        arguments.seed,
        number,
        rig.topology,
        seconds=arguments.seconds,
        kinds=arguments.only.split(",") if arguments.only else (),
    )
    say(schedule.describe())
    result = rig.run_schedule(schedule)
    tally.note(f"schedule {number}", result.violations)
    tally.add(**result.counts)
    tally.add(**{"bounds exceeded on a busy machine": len(result.late)})
    for text in result.late:
        say(f"  schedule {number}, on a busy machine: {text}")
    found = (result.silence, result.stall, max(result.resumed, default=0.0))
    for name, seconds in zip(worst, found, strict=True):
        worst[name] = max(worst[name], seconds)
    say(
        f"schedule {number}: {len(result.violations)} violations, "
        f"{result.counts['requests acknowledged']} acknowledged, silence {result.silence:.1f} s, "
        f"stall {result.stall:.1f} s"
    )
    return result


def say(text: str) -> None:
    """Print a line of the journal at once."""
    print(text, flush=True)


def keep_lines(rig: ClusterRig, target: Path) -> None:
    """Copy the log lines of members, for who looks for a cause."""
    target.mkdir(parents=True, exist_ok=True)
    for member in rig.members.values():
        (target / f"{member.name}.log").write_text("\n".join(member.read_lines()))


def write_record(
    arguments: argparse.Namespace, tally: Tally, worst: dict[str, float], seconds: float
) -> None:
    """Append the figures of the run for the page of fault runs."""
    line = {
        "name": "cluster",
        "seed": arguments.seed,
        "destinations": ["postgres"],
        "passed": tally.passed,
        "failed": tally.failed,
        "counts": {
            **tally.counts,
            **{f"ms, longest {name}": round(1000 * value) for name, value in worst.items()},
        },
        "violations": tally.violations,
        "seconds": round(seconds),
    }
    with arguments.record.open("a") as out:
        out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    sys.exit(main())
