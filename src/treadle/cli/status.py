"""`treadle status`: everything at one look."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from treadle.cli.command import Arguments, CliCommand, parse_positive
from treadle.cli.folder_server import find_folder_server
from treadle.cli.output import clear_screen, print_json, print_text
from treadle.cli.store_access import open_existing_store
from treadle.config import Config
from treadle.errors import TreadleError

WATCH_SECONDS: Final = "2"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        const=WATCH_SECONDS,
        help=f"print it again and again, every {WATCH_SECONDS} seconds or as many as given, until "
        "Ctrl-C",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def print_status(config: Config, arguments: Arguments) -> int:
    """Print the status of the whole server, once or again and again."""
    if arguments.watch is None:
        _print_once(config, as_json=arguments.json)
        return 0
    seconds = parse_positive("--watch", arguments.watch)
    _repeat(lambda: _print_once(config, as_json=arguments.json), seconds)
    return 0


def _repeat(show: Callable[[], None], seconds: int) -> None:
    """Show something until Ctrl-C; what cannot be read now is said, and tried again."""
    while True:
        clear_screen()
        try:
            show()
        except TreadleError as error:
            print_text(f"The status cannot be read now: {error}")
        time.sleep(seconds)


def _print_once(config: Config, *, as_json: bool) -> None:
    # Imported here: they take as long as all else that the command does.
    from treadle.clock import read_clock
    from treadle.control.health_operations import render_member
    from treadle.control.status_operations import read_status, render_destinations, render_records
    from treadle.server.trace_files import make_trace_files
    from treadle.traces.process_board import list_processes
    from treadle.tracking.member_list import list_members

    with open_existing_store(config) as store:
        files = make_trace_files(config, store)
        seen = read_status(store, files, None, read_clock())
        told: dict[str, Any] = {
            **render_records(seen),
            "destinations": render_destinations(store.destinations.list_destinations()),
            "problems": _count_problems(config, store),
            "members": [render_member(one) for one in list_members(store)],
        }
    told["published"] = _read_published(config)
    server = find_folder_server(config)
    told["server"] = (
        None if server.process is None else {"process": server.process, "address": server.shown}
    )
    told["processes"] = {
        one.note.name: "running" if one.is_running else "stopped"
        for one in list_processes(files.processes)
    }
    if as_json:
        print_json(told)
    else:
        print_text(format_status(told))


def _read_published(config: Config) -> dict[str, Any] | None:
    from treadle.clock import read_clock
    from treadle.traces.publication_note import read_publication

    # Of the running server, whose settings this command need not have.
    note = read_publication(config.publication_path)
    if note is None:
        return None
    age = None if note.at is None else max(0, read_clock() - note.at) / 1e6
    return {"file": note.target, "age_seconds": age, "bytes": note.bytes, "error": note.error}


def _count_problems(config: Config, store: Any) -> dict[str, int]:
    from treadle.cli.problems import find_all_problems
    from treadle.tracking.problem_kinds import SHOWN_KINDS

    counts: dict[str, int] = {}
    for one in find_all_problems(config, store):
        level = SHOWN_KINDS[one.kind].level
        counts[level] = counts.get(level, 0) + 1
    return counts


def format_status(told: dict[str, Any]) -> str:
    """Return the status as one screen of text."""
    totals, tables = told["totals"], told["tables"]
    ten, minute = told["rates"]
    lines = [f"{'records':12}{'in all':>16}{'a second, 10 s':>18}{'1 min':>12}"]
    lines += [
        f"{name:12}{totals[name]:>16,}{_format_rate(ten[name]):>18}{_format_rate(minute[name]):>12}"
        for name in ("accepted", "loaded", "superseded", "rejected")
    ]
    lines.append(f"{'waiting':12}{totals['waiting']:>16,}")
    oldest = told["oldest_waiting_seconds"]
    lines.append(f"{'oldest':12}{'-' if oldest is None else f'{oldest:.1f} s':>16}")
    p50, p99 = told["freshness"]["p50_seconds"], told["freshness"]["p99_seconds"]
    fresh = "-" if p50 is None or p99 is None else f"{p50:.1f} s, 99 percent below {p99:.1f} s"
    lines += [
        "",
        f"freshness     {fresh}",
        "tables        {known:,}, {failing:,} failing, {stopped:,} stopped".format(**tables),
    ]
    lines += [
        f"destination   {one['name']}: {one['state']}{_format_said(one['said'])}"
        for one in told["destinations"]
    ]
    if told.get("published"):
        lines.append(f"published     {_format_published(told['published'])}")
    problems = told["problems"]
    named = ", ".join(f"{count} {level}" for level, count in sorted(problems.items()))
    lines.append(f"problems      {f'{named}; see `treadle problems`' if named else 'none'}")
    processes = told["processes"]
    shown = ", ".join(f"{name} {state}" for name, state in processes.items()) or "none was started"
    server = told["server"]
    lines.append(
        "server        not running, or it does not take requests yet"
        if server is None
        else f"server        {server['address']}, process {server['process']}"
    )
    lines.append(f"processes     {shown}")
    if told.get("members"):
        lines.append(f"members       {_format_members(told['members'])}")
    return "\n".join(lines)


def _format_members(members: Sequence[dict[str, Any]]) -> str:
    """Return how many processes of each role are there, and how many were lost."""
    live = Counter(one["role"] for one in members if one["is_live"])
    lost = sum(not one["is_live"] for one in members)
    parts = [f"{count} {role}" for role, count in sorted(live.items())]
    parts += [f"{lost} lost lately"] if lost else []
    return f"{', '.join(parts)}; see `treadle members`"


def _format_rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _format_published(published: dict[str, Any]) -> str:
    age, why = published["age_seconds"], published["error"]
    told = "not yet" if age is None else f"rows as they were {age:.0f} s ago"
    return f"{published['file']}: {told}{'' if why is None else f', no newer copy: {why}'}"


def _format_said(said: str | None) -> str:
    return "" if said is None else f", {said}"


COMMAND = CliCommand(
    words=("status",),
    help="show everything at one look: records, what waits, destinations, problems",
    run=print_status,
    arguments=_arguments,
)
