"""What is told of the server's health: disk, logs, processes, members; and of its settings."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from treadle.control.traces import TraceFiles, require_installation
from treadle.control.waiting_view import WaitingView
from treadle.errors import TreadleError
from treadle.log.quota import LogSpace
from treadle.store.model import Account
from treadle.store.store import Store
from treadle.store.unit_name import EXCLUSIVE_UNITS, LOG_UNITS
from treadle.timestamps import format_microseconds
from treadle.traces.append_trace import read_commit_times
from treadle.traces.log_server_note import read_server_note
from treadle.traces.process_board import ProcessState, list_processes
from treadle.traces.series_file import read_series
from treadle.traces.series_layout import LENGTHS, SERVER_FIGURES, STATUS_CLASSES, SeriesStep
from treadle.tracking.log_list import ListedLog, LogMeasure, describe_logs
from treadle.tracking.member_list import ListedMember, MemberLook, UnitGroup, look_at_members
from treadle.waiting_rows import read_waiting

DAY_SECONDS: Final = 86_400

SOURCES_MAX: Final = 100
"""Sources of one answer, of those with something that waits."""

_LOG: Final = SERVER_FIGURES.index("log_bytes")
_FREE: Final = SERVER_FIGURES.index("disk_free_bytes")


@dataclass(frozen=True, slots=True)
class InstallationLook:
    """What several machines have in common, at one look.

    Attributes:
        members: the processes that share the work; none where the store is a file.
        logs: all logs; none where the store is a file, and the log with it.
    """

    members: MemberLook
    logs: Sequence[ListedLog] = ()


def look_at_installation(store: Store, files: TraceFiles, waiting: WaitingView) -> InstallationLook:
    """Look at the members and the logs of an installation.

    Args:
        store: knows members, units and logs.
        files: of the server.
        waiting: reads the logs.
    """
    members = look_at_members(store)
    if not files.shares_store:
        return InstallationLook(members)
    logs = files.list_logs()
    note = read_server_note(files.counters, files.clock())
    try:
        measures = waiting.measure_logs(logs)
    except TreadleError as error:  # none of them can be opened
        measures = {one.number: LogMeasure(trouble=str(error)) for one in logs}
    servers = () if note is None else note.servers
    return InstallationLook(
        members, describe_logs(logs, store.logs.count_sources(), measures, servers)
    )


def show_health(
    store: Store, files: TraceFiles, account: Account, look: InstallationLook
) -> dict[str, Any]:
    """Return how the server is.

    Args:
        store: knows the accounts and sources.
        files: of the server.
        account: who asks.
        look: at the installation.

    Raises:
        RequestRefusedError: 403, the account does not see the whole server.
    """
    require_installation(store, account)
    now = files.clock()
    seconds = now // 1_000_000
    shortest, _, hours = LENGTHS
    recent = read_series(files.series, shortest, seconds - 60, seconds, ())
    day = read_series(files.series, hours, seconds - DAY_SECONDS - 3600, seconds + 1, ())
    names = {one.id: one.name for one in store.sources.list_sources()}
    waiting = read_waiting(files.counters)
    looked = None
    with contextlib.suppress(TreadleError):  # the rest can be told all the same
        looked = files.look_at_log()
    space = _read_space(recent) if looked is None else looked.space
    oldest = None if looked is None else looked.oldest
    quota = files.log_quota
    return {
        "at": format_microseconds(now),
        "log": {
            "bytes": None if space is None else space.used_bytes,
            "disk_free_bytes": None if space is None else space.free_bytes,
            "log_bytes_max": quota.bytes_max or None,
            "disk_reserve_bytes": quota.disk_reserve_bytes,
            "shortage": None if space is None else quota.find_shortage(space),
            "full_in_seconds": None
            if space is None
            else estimate_full(day, quota.compute_room(space)),
            "append_failures": files.count_append_failures(),
            "fsync": _render_commits(files, now),
            "oldest_kept_at": None if oldest is None else format_microseconds(oldest),
            "waiting": [
                {
                    "source_id": source_id,
                    "name": names.get(source_id),
                    "waiting_bytes": row.size,
                    "waiting_records": row.records,
                }
                for source_id, row in sorted(
                    waiting.items(), key=lambda one: (-one[1].size, one[0])
                )[:SOURCES_MAX]
                if row.size
            ],
        },
        "processes": [_render_process(one) for one in list_processes(files.processes)],
        "machine": files.machine,
        "members": [render_member(one) for one in look.members.members],
        "units_free": [render_units(one) for one in look.members.free],
        "logs": [render_log(one) for one in look.logs],
    }


def tell_health(
    store: Store, files: TraceFiles, account: Account, waiting: WaitingView
) -> dict[str, Any]:
    """Look at the installation, and return how the server is; see `show_health`."""
    require_installation(store, account)
    return show_health(store, files, account, look_at_installation(store, files, waiting))


def render_log(one: ListedLog) -> dict[str, Any]:
    """Return a log as a JSON value. Pure."""
    log, waiting, server = one.log, one.measure.waiting, one.server
    oldest = None if waiting is None else waiting.oldest
    return {
        "number": log.number,
        "kind": log.kind,
        "state": log.state.value,
        "place": log.place,
        "sources": one.sources,
        "tables_waiting": None if waiting is None else waiting.tables,
        "entries_waiting": None if waiting is None else waiting.entries,
        "records_waiting": None if waiting is None else waiting.records,
        "bytes_waiting": None if waiting is None else waiting.size,
        "oldest_waiting_at": None if oldest is None else format_microseconds(oldest),
        "bytes": one.measure.used_bytes,
        "trouble": one.measure.trouble,
        "durability": None if server is None else server.durability,
        "commits_wait_for": None if server is None else server.waits_for,
        "standbys_connected": None if server is None else server.standbys,
    }


def render_member(one: ListedMember) -> dict[str, Any]:
    """Return a member as a JSON value. Pure."""
    return {
        "member": one.member,
        "process": one.process,
        "role": one.role,
        "host": one.host,
        "version": one.version,
        "units": one.units,
        "since": format_microseconds(one.since),
        "beat_seconds": round(one.beat_seconds, 1),
        "is_live": one.is_live,
        "state": one.phase.value,
        "address": one.address or None,
        "answers": None
        if one.answers is None
        else dict(zip(STATUS_CLASSES, one.answers, strict=True)),
        "unit_groups": [render_units(group) for group in one.groups],
    }


def render_units(one: UnitGroup) -> dict[str, Any]:
    """Return units of one log or destination as a JSON value. Pure."""
    return {
        "log": one.number if one.kind == LOG_UNITS else None,
        "destination_id": one.number if one.kind == EXCLUSIVE_UNITS else None,
        "units": one.count,
        "of": one.total,
        "since": format_microseconds(one.taken_first),
        "last_taken_at": format_microseconds(one.taken_last),
    }


def _render_commits(files: TraceFiles, now: int) -> dict[str, Any]:
    times = read_commit_times(files.counters, now)
    return {
        "commits": times.commits,
        "p50_seconds": None if times.p50_us is None else times.p50_us / 1e6,
        "p99_seconds": None if times.p99_us is None else times.p99_us / 1e6,
    }


def show_settings(store: Store, files: TraceFiles, account: Account) -> dict[str, Any]:
    """Return the settings in force, without secrets.

    Raises:
        RequestRefusedError: 403, the account does not see the whole server.
    """
    require_installation(store, account)
    return {
        "settings": [
            {"name": one.name, "value": one.value, "origin": one.origin, "help": one.help}
            for one in files.settings
        ]
    }


def _read_space(recent: Sequence[SeriesStep]) -> LogSpace | None:
    if not recent:
        return None
    used, free = recent[-1].server[_LOG], recent[-1].server[_FREE]
    return None if used is None else LogSpace(int(used), None if free is None else int(free))


def estimate_full(hours: Sequence[SeriesStep], room_bytes: int | None) -> int | None:
    """Return the seconds until the log is full if it goes on growing as in the last day.

    Args:
        hours: the steps of the last day, in order.
        room_bytes: that the log may have in all; None for no known bound.

    Returns:
        None for a log that does not grow, or of which too little is known.
    """
    sizes = [(step.at, size) for step in hours if (size := step.server[_LOG]) is not None]
    if len(sizes) < 2 or room_bytes is None:
        return None
    (began, before), (ended, after) = sizes[0], sizes[-1]
    if after <= before or room_bytes <= after:
        return None if after <= before else 0
    return int((room_bytes - after) * (ended - began) / (after - before))


def _render_process(state: ProcessState) -> dict[str, Any]:
    return {
        "name": state.note.name,
        "pid": state.note.pid,
        "since": format_microseconds(state.note.since),
        "restarts": state.note.starts - 1,
        "is_running": state.is_running,
        "memory_bytes": state.memory_bytes,
    }
