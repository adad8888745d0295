"""`treadle status`: everything at one look."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from treadle.cli.command import Arguments, CliCommand, parse_positive
from treadle.cli.folder_server import find_folder_server
from treadle.cli.output import clear_screen, print_json, print_text
from treadle.cli.store_access import open_existing_store
from treadle.config import Config
from treadle.errors import OperatorError, RetriableError, TreadleError

if TYPE_CHECKING:
    from treadle.store.store import Store
    from treadle.tracking.log_list import ReadBacklogs

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
    from treadle.waiting_rows import sum_by_source

    with open_existing_store(config) as store:
        files = make_trace_files(config, store)
        read = _read_logs(config, store) if files.shares_store else None
        waiting = None if read is None else sum_by_source(read.backlogs)
        seen = read_status(store, files, None, read_clock(), waiting)
        told: dict[str, Any] = {
            **render_records(seen),
            "destinations": render_destinations(store.destinations.list_destinations()),
            **_tell_problems(config, store, is_shared=files.shares_store),
            "members": [render_member(one) for one in list_members(store)],
        }
        share = store.units.count_units()
    told["logs_unread"] = {} if read is None else dict(read.troubles)
    told["machine"] = files.machine
    told["loaders"] = {
        "live": share.loaders,
        "units": share.units,
        "units_unheld": share.unheld,
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


def _read_logs(config: Config, store: "Store") -> "ReadBacklogs":
    """Return what waits in all logs: the processes of this machine may know of a part, or nothing.

    A log that cannot be read is told, and the others are counted.
    """
    from treadle.log.registry import has_log, open_glance
    from treadle.tracking.log_list import ReadBacklogs, place_logs, read_backlogs

    if not has_log(config, store.logs):
        return ReadBacklogs()  # no server was started yet
    logs = place_logs(config, store.logs)
    try:
        with closing(open_glance(config, store.logs)) as reader:
            return read_backlogs(reader, logs)
    except (OperatorError, RetriableError) as error:
        return ReadBacklogs((), {one.number: str(error) for one in logs})


def _read_published(config: Config) -> dict[str, Any] | None:
    from treadle.clock import read_clock
    from treadle.traces.publication_note import read_publication

    # Of the running server, whose settings this command need not have.
    note = read_publication(config.publication_path)
    if note is None:
        return None
    age = None if note.at is None else max(0, read_clock() - note.at) / 1e6
    return {"file": note.target, "age_seconds": age, "bytes": note.bytes, "error": note.error}


def _tell_problems(config: Config, store: "Store", *, is_shared: bool) -> dict[str, Any]:
    """Return how many problems there are, or why nobody can look for them.

    Args:
        config: the settings.
        store: open.
        is_shared: one of several logs may be away, and the rest is told all the same.

    Raises:
        TreadleError: nobody can look for them on a single machine.
    """
    try:
        return {"problems": _count_problems(config, store), "problems_unknown": None}
    except TreadleError as error:
        if not is_shared:
            raise
        return {"problems": None, "problems_unknown": str(error)}


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
    lines += [
        f"{'':12}without log {number}, which cannot be read: {why}"
        for number, why in told.get("logs_unread", {}).items()
    ]
    oldest = told["oldest_waiting_seconds"]
    lines.append(f"{'oldest':12}{'-' if oldest is None else f'{oldest:.1f} s':>16}")
    p50, p99 = told["freshness"]["p50_seconds"], told["freshness"]["p99_seconds"]
    fresh = "-" if p50 is None or p99 is None else f"{p50:.1f} s, 99 percent below {p99:.1f} s"
    lines += [
        "",
        f"freshness     {fresh}",
        *_list_figure_notes(told),
        "tables        {known:,}, {failing:,} failing, {stopped:,} stopped".format(**tables),
    ]
    lines += [
        f"destination   {one['name']}: {one['state']}{_format_said(one['said'])}"
        for one in told["destinations"]
    ]
    if told.get("published"):
        lines.append(f"published     {_format_published(told['published'])}")
    loaders = told["loaders"]
    if loaders["live"] > 1 or (loaders["live"] and loaders["units_unheld"]):
        without = f"{loaders['units_unheld']} of {loaders['units']} parts have none"
        lines.append(f"loaders       {loaders['live']} share the tables, {without}")
    lines.append(f"problems      {_format_problems(told)}")
    processes = told["processes"]
    shown = ", ".join(f"{name} {state}" for name, state in processes.items()) or "none was started"
    server = told["server"]
    lines.append(
        "server        not running, or it does not take requests yet"
        if server is None
        else f"server        {server['address']}, process {server['process']}"
    )
    lines.append(f"processes     {shown}")
    if told.get("machine") is not None:
        lines[-2:] = [f"{line}, on this machine" for line in lines[-2:]]
    if told.get("members"):
        lines.append(f"members       {_format_members(told['members'])}")
    return "\n".join(lines)


def _format_problems(told: dict[str, Any]) -> str:
    if told["problems"] is None:
        return f"cannot be looked for now: {told['problems_unknown']}"
    named = ", ".join(f"{count} {level}" for level, count in sorted(told["problems"].items()))
    return f"{named}; see `treadle problems`" if named else "none"


def _list_figure_notes(told: dict[str, Any]) -> list[str]:
    """Return why a machine of a cluster knows no rates and no freshness; nothing where it does."""
    if told.get("machine") is None or told["sampled_at"] is not None:
        return []
    return ["              rates and freshness are kept by members with the role control"]


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
