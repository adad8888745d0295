"""Health: disk, logs, processes, members, clock, and examinations of the server (P15)."""

from collections.abc import Mapping
from typing import Any, Final

from treadle.console import view
from treadle.console.cluster_view import ClusterView, make_cluster_view
from treadle.console.figures import ServerFigures
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageRequest,
    PageRoute,
    lead_on,
)
from treadle.console.pages.regions import NO_FIGURES, RegionView
from treadle.control.health_operations import look_at_installation, show_health
from treadle.control.times import instant
from treadle.control.traces import ONE_OF_SEVERAL, sees_installation
from treadle.errors import RequestRefusedError
from treadle.store.model import Account, ConsoleRole
from treadle.traces.examination import ExaminationKind, ExaminationNote, ExaminedFinding

SOURCES_SHOWN: Final = 20
FINDINGS_SHOWN: Final = 50

ORDERS: Final = {
    "quick": (ExaminationKind.DOCTOR, False),
    "whole": (ExaminationKind.DOCTOR, True),
    "counts": (ExaminationKind.COUNTS, False),
}
"""Name of a button -> what it starts."""

_LEVELS: Final[Mapping[str, view.StateWord]] = {
    "good": view.StateWord("good", "good"),
    "odd": view.StateWord("odd", "warn"),
    "bad": view.StateWord("bad", "bad"),
}
_RANKS: Final = ("bad", "odd", "good")

UNBOUNDED: Final = view.StateWord("not known", "off", "The servers of the logs do not say it.")
"""When logs are full that are on servers, without a bound of treadle's own."""


def show_page(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show how the server is."""
    return _render(services, request)


def start_examination(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Start an examination, which goes on when its page is left."""
    order = ORDERS.get(request.get_text("examine"))
    if order is None:
        return _render(services, request, "The page knows no such examination.", 400)
    kind, whole = order
    try:
        services.examinations.start(request.account, kind, whole=whole)
    except RequestRefusedError as refused:
        return _render(services, request, view.describe_refusal(refused.body), refused.status)
    return lead_on("/health")


def _render(
    services: ConsoleServices, request: PageRequest, error: str | None = None, status: int = 200
) -> PageAnswer:
    return PageAnswer(
        "health.html",
        {
            "title": "Health",
            "section": "health",
            "topics": "health,examinations",
            "command": f"treadle doctor --quick{services.data_flag}",
            "error": error,
            **get_health(services, request.account, NO_FIGURES),
            **get_examinations(services, request.account, NO_FIGURES),
        },
        status,
    )


def get_health(services: ConsoleServices, account: Account, _: ServerFigures) -> Mapping[str, Any]:
    """Return the values of the region with disk, log, processes and clock."""
    if not sees_installation(services.store, account):
        return {"refused": ONE_OF_SEVERAL, "health": None}
    now = services.clock()

    def read() -> tuple[dict[str, Any], ClusterView]:
        look = look_at_installation(services.store, services.traces, services.reach.waiting)
        told = show_health(services.store, services.traces, account, look)
        return told, make_cluster_view(look.members, look.logs)

    part = services.parts.read(("health", account.id), read, now)
    machine = services.traces.machine
    if part.value is None:
        return {
            "refused": None,
            "health": part,
            "log": None,
            "processes": (),
            "members": (),
            "cluster": ClusterView(),
            "machine": machine,
            "at": None,
        }
    told, cluster = part.value
    log = told["log"]
    return {
        "refused": None,
        "health": part,
        "log": log,
        "oldest_kept": instant(log["oldest_kept_at"]) if log["oldest_kept_at"] else None,
        "full_in": describe_full(log["full_in_seconds"])
        if machine is None or log["disk_free_bytes"] is not None or log["log_bytes_max"]
        else UNBOUNDED,
        "fsync": describe_fsync(log["fsync"]),
        "failures": view.StateWord("none", "good")
        if not log["append_failures"]
        else view.StateWord(view.format_count(log["append_failures"]), "bad"),
        "waiting": log["waiting"][:SOURCES_SHOWN],
        "waiting_left": max(0, len(log["waiting"]) - SOURCES_SHOWN),
        "processes": [
            (one, describe_process(one), instant(one["since"])) for one in told["processes"]
        ],
        "members": [(one, describe_member(one), instant(one["since"])) for one in told["members"]],
        "cluster": cluster,
        "machine": machine,
        "at": instant(told["at"]),
    }


def describe_member(told: Mapping[str, Any]) -> view.StateWord:
    """Return the state of a process that shares the work of one machine. Pure."""
    if not told["is_live"]:
        return view.StateWord("lost", "bad", "It did not end in order.")
    return view.StateWord("live", "good")


def describe_full(seconds: int | None) -> view.StateWord:
    """Return when the log is full, as a state. Pure.

    Args:
        seconds: until then, at the rate of the last day; None for a log that does not grow.
    """
    if seconds is None:
        return view.StateWord("not in sight", "good", "It did not grow in the last day.")
    days = seconds // 86_400
    word = view.count_words(days, "day") if days else view.format_age(seconds * view.SECOND_US)
    detail = "If it goes on growing as in the last day."
    return view.StateWord(word, "bad" if days < 1 else "warn" if days < 7 else "good", detail)


def describe_fsync(told: Mapping[str, Any]) -> tuple[str, str]:
    """Return how long commits took: the median, and a text with the rest. Pure."""
    p50, p99 = told["p50_seconds"], told["p99_seconds"]
    if p50 is None or p99 is None:
        return "-", "nothing was written in the last hour"
    most = view.format_duration(int(p99 * view.SECOND_US))
    last = view.count_words(told["commits"], "commit")
    return (
        view.format_duration(int(p50 * view.SECOND_US)),
        f"99 of 100 below {most}, of the last {last}",
    )


def describe_process(told: Mapping[str, Any]) -> view.StateWord:
    """Return the state of a process. Pure."""
    if not told["is_running"]:
        return view.StateWord("not running", "bad")
    return view.StateWord("running", "good")


def get_examinations(
    services: ConsoleServices, account: Account, _: ServerFigures
) -> Mapping[str, Any]:
    """Return the values of the region with the last examinations."""
    if not sees_installation(services.store, account):
        return {"doctor": None, "counts": None}
    now = services.clock()
    return {
        name: describe_examination(services.examinations.read(kind), now)
        for name, kind in (("doctor", ExaminationKind.DOCTOR), ("counts", ExaminationKind.COUNTS))
    }


def describe_examination(note: ExaminationNote | None, now: int) -> Mapping[str, Any] | None:
    """Return an examination as a page shows it; None for none. Pure."""
    if note is None:
        return None
    if note.is_going_on(now):
        state = view.StateWord("going on", "busy")
    elif note.finished_at is None:
        state = view.StateWord("ended without a result", "bad")
    elif note.failure:
        state = view.StateWord("failed", "bad")
    else:
        state = view.StateWord("done", "good")
    found = sorted(note.findings, key=lambda one: _RANKS.index(one.level))
    return {
        "note": note,
        "state": state,
        "progress": describe_progress(note) if note.is_going_on(now) else "",
        "findings": [(one, _LEVELS[one.level]) for one in found[:FINDINGS_SHOWN]],
        "left": max(0, len(found) - FINDINGS_SHOWN),
        "summary": summarize(found),
    }


def describe_progress(note: ExaminationNote) -> str:
    """Return how far an examination is. Pure."""
    parts = []
    if note.total:
        parts.append(f"{note.done} of {note.total} checks")
    elif note.done:
        parts.append(view.count_words(note.done, "table"))
    if note.step:
        parts.append(f"now {view.show_text(note.step, 100)}")
    if note.entries:
        parts.append(f"{view.count_words(note.entries, 'entry', 'entries')} of the log read")
    return ", ".join(parts)


def summarize(found: list[ExaminedFinding]) -> str:
    """Return how many findings there are of each level, as the command does. Pure."""
    counts = {level: sum(one.level == level for one in found) for level in _RANKS}
    told = (
        view.count_words(counts["good"], "ok", "ok"),
        view.count_words(counts["odd"], "warning"),
        view.count_words(counts["bad"], "problem"),
    )
    return ", ".join(told)


ROUTES: Final = (PageRoute("/health", show_page, start_examination, act_role=ConsoleRole.OPERATOR),)
REGIONS: Final = {
    "health": RegionView("regions/health.html", get_health, seconds=5.0, needs_figures=False),
    "examinations": RegionView("regions/examinations.html", get_examinations, needs_figures=False),
}
