"""Requests for pages and their answers, as values, and the routes of pages."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from treadle.console.access import has_role, name_actor
from treadle.console.badges import BadgeCounter
from treadle.console.figures import FigureSampler
from treadle.console.first_row import FirstRowDesk
from treadle.console.guess_limit import GuessLimit
from treadle.console.page_reach import PageReach
from treadle.console.part_keeper import PartKeeper
from treadle.control.examination_operations import ExaminationRunner
from treadle.control.operations import ConnectOperations
from treadle.control.problem_operations import ProblemWatch
from treadle.control.query_routes import QueryRoom
from treadle.control.reject_preview import PlanDryRun
from treadle.control.routes import AccountCaller, OperationRunner
from treadle.control.settings import ConnectApiSettings
from treadle.control.traces import TraceFiles
from treadle.control.trials import TrialSender
from treadle.errors import TreadleError
from treadle.http.outbound_url import OutboundRules
from treadle.store.model import Account, BrowserSession, ConsoleRole
from treadle.store.store import Store
from treadle.store.trail_event import TrailAction, TrailTarget
from treadle.text import digest_text

NAME_CHARACTERS_MAX: Final = 200
"""Longest name of a table that is in a path. A name may be longer than a line of a request."""

THEMES: Final = ("auto", "light", "dark")


class PageNotFoundError(TreadleError):
    """There is no such page, or not what it is about. The text names what was looked for."""


@dataclass(frozen=True, slots=True)
class ConsolePlaces:
    """Where the console is.

    Attributes:
        path: below which the server answers, such as "/console".
        prefix: what a proxy puts before it, the path of `public_url`; empty for nothing.
        origin: of `public_url`, such as "https://data.example.com"; None where it is not set.
    """

    path: str
    prefix: str = ""
    origin: str | None = None

    @classmethod
    def parse(cls, path: str, public_url: str | None) -> "ConsolePlaces":
        """Return the places that the settings `console_path` and `public_url` name."""
        if public_url is None:
            return cls(path)
        parts = urlsplit(public_url)
        return cls(path, parts.path.rstrip("/"), f"{parts.scheme}://{parts.netloc}".lower())

    @property
    def base(self) -> str:
        """Return the path of the console as a browser sees it, without a slash at its end."""
        return self.prefix + self.path


@dataclass(frozen=True, slots=True)
class ConsoleServices:
    """What pages are made with.

    Attributes:
        work: runs changes, and knows the operations.
        sampler: of the present numbers.
        places: where the console is.
        clock: microseconds since 1970.
        version: of treadle.
        data_flag: what a command needs to find the data folder: empty, or " --data ...".
        listens_locally: only this machine reaches the server.
        push: import token and body -> status and body of the answer of `/v2/import/push`; awaited
            on the event loop.
        traces: what the server remembers of itself, and its settings.
        problems: finds problems.
        examinations: starts examinations of the server.
        badges: the numbers beside links of the navigation.
        parts: what pages showed last, for when it cannot be read.
        reach: what pages ask beside the store.
        traces: what the processes of the server leave for others to read; None for nothing.
        payloads: who sees values of records: "operators", "all" or "off".
        rows: first rows of tables.
        retention_days: how long the log keeps a request after it was loaded.
        query: runs statements; None where nothing does.
        plan_dry_run: plans what a load would do; awaited on the event loop. None for nothing.
        trials: sends deliveries and mails on trial; None where nothing is sent.
        guesses: counts wrong tokens and passwords.
        patience_seconds: how long a page waits for the end of what it asked for, such as a check.
    """

    work: OperationRunner
    sampler: FigureSampler
    places: ConsolePlaces
    clock: Callable[[], int]
    version: str
    data_flag: str
    listens_locally: bool
    push: Callable[[str, bytes], Coroutine[Any, Any, tuple[int, bytes]]]
    traces: TraceFiles
    problems: ProblemWatch
    examinations: ExaminationRunner
    badges: BadgeCounter = field(default_factory=BadgeCounter)
    parts: PartKeeper = field(default_factory=PartKeeper)
    reach: PageReach = field(default_factory=PageReach)
    payloads: str = "operators"
    rows: FirstRowDesk = field(default_factory=FirstRowDesk)
    retention_days: float = 7.0
    query: QueryRoom | None = None
    plan_dry_run: PlanDryRun | None = None
    trials: TrialSender | None = None
    guesses: GuessLimit = field(default_factory=GuessLimit)
    patience_seconds: float = 8.0

    @property
    def store(self) -> Store:
        """Return the store, for reading."""
        return self.work.operations.store

    @property
    def operations(self) -> ConnectOperations:
        """Return the operations of the Connect API, for reading."""
        return self.work.operations

    @property
    def settings(self) -> ConnectApiSettings:
        """Return the form of the API's answers."""
        return self.work.operations.settings

    @property
    def hook_rules(self) -> OutboundRules:
        """Return which URLs hooks may have."""
        return OutboundRules.from_setting(self.settings.hook_urls)

    def shows_payloads(self, session: BrowserSession) -> bool:
        """Return whether a session sees values of records (setting `console_payloads`)."""
        if self.payloads == "operators":
            return has_role(session, ConsoleRole.OPERATOR)
        return self.payloads == "all"

    def change(
        self,
        request: "PageRequest",
        action: TrailAction,
        target: TrailTarget,
        run: Callable[[ConnectOperations], Any],
    ) -> Any:
        """Run a change as the session's account token or user, and return its result.

        Raises:
            RequestRefusedError: it is refused; the trail has that.
        """
        session = request.session
        actor = name_actor(session, request.address)
        caller = AccountCaller(session.account, actor, session.token_id or 0)
        return self.work.run_change(caller, action, target, run)


@dataclass(frozen=True, slots=True)
class PagePreferences:
    """What a browser wants of every page; kept in cookies.

    Attributes:
        theme: one of THEMES.
        live: numbers follow what happens.
        keys: shortcuts are on.
    """

    theme: str = "auto"
    live: bool = True
    keys: bool = True


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for a page, read.

    Attributes:
        path: below the console, such as "/sources/7".
        parts: the named parts of the path.
        query: of the URL; the last one of equal names.
        form: of the body.
        session: of who asks.
        csrf: the token that forms of this session carry.
        address: of the client.
        origin: of the server as the browser sees it, such as "http://127.0.0.1:8484".
        now: microseconds since 1970.
    """

    path: str
    parts: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]
    session: BrowserSession
    csrf: str
    address: str
    origin: str
    now: int
    preferences: PagePreferences = PagePreferences()

    @property
    def account(self) -> Account:
        """Return the account that the session opens."""
        return self.session.account

    def get_text(self, name: str) -> str:
        """Return a field of the form without blanks around it; empty where there is none."""
        return self.form.get(name, "").strip()


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """The answer to a request for a page: a template with its values, another place, or a file.

    Attributes:
        template: name of the template; empty to lead on.
        values: of the template.
        location: path below the console to lead on to.
        cookies: values of `Set-Cookie`.
        response: a whole answer that is no page, such as a file; None for a page.
    """

    template: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    location: str | None = None
    cookies: tuple[str, ...] = ()
    response: Response | None = None


PageHandler = Callable[[ConsoleServices, PageRequest], PageAnswer]
PageTask = Callable[[ConsoleServices, PageRequest, Request], Awaitable[PageAnswer]]
"""Answers on the event loop, and holds none of the places for pages: for what takes its time. The
last argument is the connection, which tells when the browser goes away."""


def lead_on(path: str, **query: str) -> PageAnswer:
    """Return an answer that leads to another page of the console.

    Args:
        path: below the console.
        query: of the URL.
    """
    return PageAnswer(status=303, location=path + (f"?{urlencode(query)}" if query else ""))


def quote_part(text: str) -> str:
    """Return a text as one part of a path; a slash in it does not part it."""
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def name_table_part(table_name: str) -> str:
    """Return the part of a path that names a table: its name, or a digest of it.

    A name may be too long for a path, and browsers leave `.` and `..` out of one, however they are
    quoted.
    """
    if _fits_path(table_name):
        return quote_part(table_name)
    return f"~{digest_text(table_name).hex()}"


def is_named_by(part: str, table_name: str) -> bool:
    """Return whether a part of a path, as `name_table_part` makes it, names a table."""
    if _fits_path(table_name):
        return part == table_name
    return part == f"~{digest_text(table_name).hex()}"


def _fits_path(table_name: str) -> bool:
    return len(table_name) <= NAME_CHARACTERS_MAX and table_name not in (".", "..")


@dataclass(frozen=True, slots=True)
class PageRoute:
    """A path with its page.

    Attributes:
        pattern: such as "/sources/{source}/tokens".
        show: answers GET; None where there is nothing to get.
        act: answers POST; None where nothing can be changed.
        role: who may see it.
        act_role: who may change something; None for `role`.
        task: answers POST in place of `act`.
    """

    pattern: str
    show: PageHandler | None = None
    act: PageHandler | None = None
    role: ConsoleRole = ConsoleRole.VIEWER
    act_role: ConsoleRole | None = None
    task: PageTask | None = None

    def match(self, parts: list[str]) -> dict[str, str] | None:
        """Return the named parts of a path; None for a path of another form."""
        wanted = split_path(self.pattern)
        if len(wanted) != len(parts):
            return None
        found = {}
        for form, part in zip(wanted, parts, strict=True):
            if form.startswith("{"):
                found[form[1:-1]] = part
            elif form != part:
                return None
        return found


def find_page_above(routes: Iterable[PageRoute], route: PageRoute, raw_path: str) -> str | None:
    """Return the path of the nearest page above one that only takes forms; None for none.

    A form that is refused there, or whose answer is a page, leaves that address in the browser.

    Args:
        routes: of all pages.
        route: of the path.
        raw_path: as it was sent, below the console.
    """
    shown = {one.pattern for one in routes if one.show is not None}
    pattern = route.pattern.split("/")[1:]
    sent = [part for part in raw_path.split("/")[1:] if part]
    for length in range(len(pattern) - 1, 0, -1):
        if f"/{'/'.join(pattern[:length])}" in shown:
            return f"/{'/'.join(sent[:length])}"
    return None


def split_path(raw: str) -> list[str]:
    """Return the decoded parts of a path as it was sent: a `%2F` is in a part."""
    return [unquote(part, errors="surrogateescape") for part in raw.split("/")[1:] if part]


def find_route(
    routes: Iterable[PageRoute], raw_path: str
) -> tuple[PageRoute, dict[str, str]] | None:
    """Return the route of a path below the console, and its named parts."""
    parts = split_path(raw_path)
    for route in routes:
        found = route.match(parts)
        if found is not None:
            return route, found
    return None
