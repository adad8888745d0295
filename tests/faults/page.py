"""`python -m tests.faults.page RUNS PAGE`: write what fault runs found as a page.

RUNS is the file that the commands' `--record` appended to. A line may have been given a `note` by
hand, which is printed with its violations.
"""

import json
import sys
from pathlib import Path
from typing import Any

KINDS = {
    "kill": "`kill -9` of a random process, or of all, at a random time under load",
    "hooks": "`kill -9` of the courier, the loader or all, while loads are hooked",
    "points": "death at every failpoint, alone or with all processes",
    "calls": "the n-th call of the log's disk, the destination or the store fails",
    "hang": "the n-th call of the log's disk or the destination hangs for a while",
    "commit": "the connection to PostgreSQL, MariaDB or an Iceberg catalogue cut at a commit, or "
    "to ClickHouse or a bucket for files at what commits there",
    "kill_pg": "the log on PostgreSQL: its primary killed, its connections cut, waits for a "
    "standby cancelled and terminated",
    "cluster": "three gates, three loaders, a control member, and PostgreSQL with two standbys in "
    "network namespaces: kills, stops, cuts, failovers, slow and full disks, clocks, rolling "
    "restarts, members that join and leave",
    "full": "the disk of the data folder full, and emptied again, under load",
    "soak": "much of everything: memory and open files are watched",
    "store_failover": "`kill -9` of the primary of a store on PostgreSQL under load, a standby "
    "promoted, the killed one rebuilt",
    "units": "one of three loaders that share tables: killed, killed and not started again, "
    "stopped amid a load, asked to end",
    "damage": "a flipped byte, or a cut, anywhere in the log",
    "outage": "PostgreSQL or MariaDB killed, stopped, away for ten minutes, the right to a "
    "table or a schema revoked, its schema dropped, the disk of its tables full",
    "crowd": "2,000 strangers, or a source that does all that it may, beside small pushes",
}


def page(runs: list[dict[str, Any]]) -> str:
    """The page of these runs, one line each."""
    lines = [
        "# What the fault runs found",
        "<!-- Made by `python -m tests.faults.page`; run the commands again instead. -->",
        "",
        "Each line is one run of a command of `tests/faults/`, which breaks a server on purpose",
        "and then compares every row with what was acknowledged. A violation is a record that was",
        "lost, doubled or mixed up, an entry that waits for ever, a wrong answer, or a server that",
        "does not start.",
        "",
        "| command | what is broken | seed | runs | violations | further counts |",
        "|---|---|---|---|---|---|",
    ]
    for run in runs:
        counts = ", ".join(
            f"{count} {name}" for name, count in run["counts"].items() if ":" not in name
        )
        lines.append(
            f"| `{command(run)}` | {KINDS[run['name']]} | {run['seed']} | "
            f"{run['passed'] + run['failed']} | {run['failed']} | {counts} |"
        )
    broken = [
        f"- `{run['name']}`, seed {run['seed']}: {violation}"
        for run in runs
        for violation in [*run["violations"][:10], *([run["note"]] if "note" in run else [])]
    ]
    if broken:
        lines += ["", "## Violations", "", *broken]
    lines += [
        "",
        "To repeat a line: `python -m tests.faults.COMMAND --seed SEED --cycles RUNS`, and more",
        "cycles for longer; `--minutes` ends one after the runs that fit. For `cluster` it is",
        "`--schedules RUNS`. Short forms are part of `make test` or `make release-test`.",
        "",
    ]
    return "\n".join(lines)


def command(run: dict[str, Any]) -> str:
    """Its name, and the destination where it was told one of them."""
    match run.get("destinations"):
        case [only]:
            return f"{run['name']} --destination {only}"
    return str(run["name"])


def main() -> int:
    """Write the page."""
    source, target = map(Path, sys.argv[1:3])
    runs = [json.loads(line) for line in source.read_text().splitlines()]
    target.write_text(page(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
