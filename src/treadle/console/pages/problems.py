"""Problems: what somebody has to act on, and what ended in the last days (P3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from treadle.console import view
from treadle.console.figures import ServerFigures
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageRequest,
    PageRoute,
    lead_on,
    name_table_part,
)
from treadle.console.pages.regions import NO_FIGURES, RegionView
from treadle.console.part_keeper import KeptPart
from treadle.control.lookups import parse_id
from treadle.control.problem_operations import list_problems, snooze_problem
from treadle.control.times import instant
from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json
from treadle.store.model import Account, ConsoleRole
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

PAGE_SIZE: Final = 40
ENDED_SHOWN: Final = 40
SNOOZE_SECONDS: Final = 86_400

DONE: Final = {
    "snoozed": "Nobody is told of the problem for a day. It stays in the list until it ends.",
    "woken": "The problem counts again.",
}
_LEVELS: Final[Mapping[str, view.StateWord]] = {
    "critical": view.StateWord("critical", "bad", "Records are not loaded, or are refused."),
    "warning": view.StateWord("warning", "warn", "Something may soon keep records from loading."),
    "delay": view.StateWord("delay", "busy", "Records are late."),
}


@dataclass(frozen=True, slots=True)
class ProblemLine:
    """A problem as a page shows it.

    Attributes:
        id: of the problem.
        level: its level as a state.
        found: what is the matter.
        named: what it is with.
        said: what a database said, or a check found; empty for nothing.
        remedy: what to do.
        path: below the console, where it is shown.
        since: microseconds since 1970.
        snoozed_until: nobody is told of it before; None where it counts.
    """

    id: str
    level: view.StateWord
    found: str
    named: str
    said: str
    remedy: str
    path: str
    since: int | None
    snoozed_until: int | None


@dataclass(frozen=True, slots=True)
class EndedLine:
    """A problem that is over.

    Attributes:
        kind: in words.
        named: what it was with.
        began: microseconds since 1970.
        ended: the same.
    """

    kind: str
    named: str
    began: int | None
    ended: int | None


@dataclass(frozen=True, slots=True)
class ProblemBoard:
    """The problems of an account at one look.

    Attributes:
        lines: the worst first.
        ended: the last one first.
        looked_at: microseconds since 1970.
    """

    lines: tuple[ProblemLine, ...] = ()
    ended: tuple[EndedLine, ...] = ()
    looked_at: int | None = None


def read_board(services: ConsoleServices, account: Account) -> KeptPart[ProblemBoard]:
    """Return the problems of an account, or those of the last look that was possible."""

    def read() -> ProblemBoard:
        return make_board(list_problems(services.store, services.problems, account))

    return services.parts.read(("problems", account.id), read, services.clock())


def make_board(told: Mapping[str, Any]) -> ProblemBoard:
    """Return the problems that the operation tells. Pure."""
    return ProblemBoard(
        tuple(map(make_line, told["problems"])),
        tuple(
            EndedLine(
                view.format_words(one["kind"]),
                one["named"],
                instant(one["began_at"]),
                instant(one["ended_at"]),
            )
            for one in told["ended"]
        ),
        instant(told["looked_at"]),
    )


def make_line(told: Mapping[str, Any]) -> ProblemLine:
    """Return a problem that the operation tells. Pure."""
    snoozed = told["snoozed_until"]
    return ProblemLine(
        told["problem_id"],
        _LEVELS[told["level"]],
        told["found"].removesuffix(":"),
        told["named"],
        told["said"] or "",
        told["remedy"],
        find_path(told),
        instant(told["since"]),
        None if snoozed is None else instant(snoozed),
    )


def find_path(told: Mapping[str, Any]) -> str:
    """Return the path below the console of the page that shows what a problem is with. Pure."""
    source, table = told["source_id"], told["table"]
    if told["destination_id"] is not None:
        return f"/destinations/{told['destination_id']}"
    if told["hook_id"] is not None:
        return f"/hooks/{told['hook_id']}"
    if source is None:
        return "/health"
    if told["token_id"] is not None:
        return f"/sources/{source}/tokens"
    if told["kind"] == "records_rejected":
        named = {} if table is None else {"table": table[: view.TEXT_CHARACTERS_MAX]}
        query = urlencode({"source": source, **named}, errors="surrogatepass")
        return f"/rejects?{query}"
    return f"/sources/{source}" + ("" if table is None else f"/tables/{name_table_part(table)}")


def get_problems(
    services: ConsoleServices, account: Account, _: ServerFigures, page: int = 1
) -> Mapping[str, Any]:
    """Return the values of the region."""
    part = read_board(services, account)
    board = part.value or ProblemBoard()
    pages = max(1, -(-len(board.lines) // PAGE_SIZE))
    number = min(page, pages)
    return {
        "part": part,
        "board": board,
        "lines": board.lines[(number - 1) * PAGE_SIZE : number * PAGE_SIZE],
        "ended": board.ended[:ENDED_SHOWN],
        "ended_left": max(0, len(board.ended) - ENDED_SHOWN),
        "number": number,
        "pages": pages,
    }


def show_problems(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the problems of the account, 40 a page; the first page follows what happens."""
    return _render(services, request)


def change_problem(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Let nobody be told of a problem for a day, or end that."""
    wake = request.get_text("wake")
    problem_id = wake or request.get_text("snooze")
    raw = encode_json({"seconds": 0 if wake else SNOOZE_SECONDS})
    try:
        services.change(
            request,
            TrailAction.SNOOZE_PROBLEM,
            TrailTarget(TargetKind.PROBLEM, problem_id),
            lambda bound: snooze_problem(
                bound.store, services.problems, request.account, problem_id, raw
            ),
        )
    except RequestRefusedError as refused:
        return _render(services, request, view.describe_refusal(refused.body), refused.status)
    return lead_on("/problems", done="woken" if wake else "snoozed")


def _render(
    services: ConsoleServices, request: PageRequest, error: str | None = None, status: int = 200
) -> PageAnswer:
    page = parse_id(request.query.get("page", "1")) or 1
    values = get_problems(services, request.account, NO_FIGURES, page)
    return PageAnswer(
        "problems.html",
        {
            "title": "Problems",
            "section": "problems",
            "topics": "problems" if values["number"] == 1 else "",
            "command": f"treadle problems{services.data_flag}",
            "notice": DONE.get(request.query.get("done", "")),
            "error": error,
            "machine": services.traces.machine,
            **values,
        },
        status,
    )


ROUTES: Final = (
    PageRoute("/problems", show_problems, change_problem, act_role=ConsoleRole.OPERATOR),
)
REGIONS: Final = {
    "problems": RegionView("regions/problems.html", get_problems, needs_figures=False)
}
