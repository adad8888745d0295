"""The console over a real store, and a visitor that does what a browser without scripts does."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
from tests.work_turns import ALONE

from treadle.console.app import ConsoleApp
from treadle.console.badges import BadgeCounter
from treadle.console.figures import FigureSampler
from treadle.console.guess_limit import GuessLimit
from treadle.console.page_reach import PageReach
from treadle.console.page_request import ConsolePlaces, ConsoleServices
from treadle.control.app import ConnectApiSettings, create_control_app
from treadle.control.examination_operations import ExaminationRunner
from treadle.control.problem_operations import ProblemWatch
from treadle.control.traces import ShownSetting, TraceFiles
from treadle.control.trials import TrialResult
from treadle.http.hosts import AllowedHosts
from treadle.ingest.dry_run import DryRunPlanner, open_anywhere
from treadle.log.protocol import EntryNote, LogEntry, TableBacklog
from treadle.log.quota import LogSpace
from treadle.store.model import ConsoleRole, MailRecipient, PostLoadHook
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

__all__ = ["Console", "Page", "Visitor"]


class EmptyLog:
    """A reader of a log in which nothing waits."""

    log_id = "log"

    def __init__(self) -> None:
        self.statistics = self

    def list_backlogs(self) -> list[TableBacklog]:
        return []

    def measure_space(self) -> LogSpace:
        return LogSpace(0, 10**9)

    def list_entries_below(self, *_: object) -> list[EntryNote]:
        return []

    def find_entries(self, *_: object) -> list[LogEntry]:
        return []

    def close(self) -> None:
        pass


class KeptTrials:
    """Keeps what is sent on trial, and answers what a test wants."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, str]] = []
        self.answer: TrialResult | None = TrialResult(200, "ok", None, 12_000)

    def send_delivery(self, hook: PostLoadHook, body: str) -> TrialResult:
        self.sent.append((hook.id, body))
        assert self.answer is not None
        return self.answer

    def send_mail(self, recipient: MailRecipient) -> TrialResult | None:
        self.sent.append((recipient.id, recipient.address))
        return self.answer


@dataclass(frozen=True)
class Page:
    """An answer, and what is on the page."""

    status: int
    text: str
    headers: httpx.Headers

    @property
    def location(self) -> str:
        return str(self.headers["location"])

    @property
    def heading(self) -> str:
        found = re.search(r"<h1>(.*?)</h1>", self.text, re.DOTALL)
        assert found, self.text[:2000]
        return unescape(found[1])

    @property
    def words(self) -> str:
        """The text that is seen, with single blanks."""
        body = re.sub(r"(?s)<(script|style|title).*?</\1>", "", self.text)
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())

    def field(self, name: str) -> str:
        """The value of a field of a form."""
        found = re.search(rf'name="{name}" value="([^"]*)"', self.text)
        assert found, f"there is no field {name}"
        return unescape(found[1])


class Console:
    """A console over a store of its own.

    Attributes:
        now: the clock, microseconds since 1970.
        elapsed: the clock of the limit of guesses, seconds.
        changes: how often it was said that something changed.
        traces: what a server remembers of itself.
        problems: finds problems.
        uses: ids of the account tokens that were used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        era: str = "modern",
        public_url: str | None = None,
        hosts: AllowedHosts | None = None,
    ) -> None:
        self.now = 1_800_000_000_000_000
        self.elapsed = 0.0
        self.changes = 0
        self.uses: list[int] = []
        self.path = folder / "store.sqlite"
        self.store = Store.open(
            f"sqlite:///{self.path}", SecretCipher(bytes(32)), clock=lambda: self.now
        )
        self.account, self.token = self.store.accounts.create_account("first")
        self.destination = self.store.destinations.set_default_destination(
            self.account.id, "duckdb", f"duckdb://{folder}/w.duckdb", "w"
        )
        self.pushed: list[tuple[str, bytes]] = []
        control = create_control_app(
            self.store,
            ConnectApiSettings(era=era, duckdb_folder=folder),
            changed=self._changed,
            count_use=lambda token_id, _: self.uses.append(token_id),
            clock=lambda: self.now,
        )
        self.traces = TraceFiles(
            folder / "refusals",
            folder / "series",
            folder / "counters",
            folder / "processes",
            settings=(ShownSetting("smtp_url", "set", "environment", "mail server"),),
            clock=lambda: self.now,
            examinations=folder / "examinations",
            problems=folder / "problems",
        )
        self.problems = ProblemWatch(
            self.store,
            EmptyLog,  # type: ignore[arg-type]  # as much of a reader as is asked
            self.traces,
            monotonic=lambda: self.now / 1_000_000,
        )
        self.trials = KeptTrials()
        self.dry_run = DryRunPlanner(self.store, lambda: self.now, open_anywhere, ALONE)
        self.sampler = FigureSampler(
            self.store,
            EmptyLog,  # type: ignore[arg-type]  # as much of a reader as is asked
            lambda: self.now,
            lambda: self.now / 1_000_000,
        )
        self.services = ConsoleServices(
            work=control.state.work,
            sampler=self.sampler,
            places=ConsolePlaces.parse("/console", public_url),
            clock=lambda: self.now,
            version="1.2.3",
            data_flag=" --data here",
            listens_locally=True,
            push=self._push,
            traces=self.traces,
            problems=self.problems,
            examinations=ExaminationRunner(self.store, self.traces),
            badges=BadgeCounter(lambda: self.now / 1_000_000),
            reach=PageReach(open_reader=EmptyLog),  # type: ignore[arg-type]  # as above
            query=control.state.query,
            plan_dry_run=self.dry_run.plan,
            trials=self.trials,
            guesses=GuessLimit(lambda: self.elapsed),
            patience_seconds=0,
        )
        self.app = ConsoleApp(self.services, hosts=hosts)

    def _changed(self) -> None:
        asyncio.get_running_loop()  # promised: it is called on the event loop
        self.changes += 1

    async def _push(self, token: str, body: bytes) -> tuple[int, bytes]:
        self.pushed.append((token, body))
        return 201, b'{"status":"OK","message":"Batch Accepted!"}'

    def close(self) -> None:
        self.dry_run.close()
        self.sampler.close()
        self.problems.close()
        self.store.close()

    def link(self, role: ConsoleRole = ConsoleRole.ADMIN) -> str:
        token = self.store.sessions.issue_link_token(self.account.id, role)
        return f"/console/login?ephemeral_token={token}"

    def sign_in(self, role: ConsoleRole = ConsoleRole.ADMIN) -> "Visitor":
        """A visitor with a session."""
        visitor = Visitor(self)
        answer = visitor.get(self.link(role))
        assert answer.status == 303, answer.text
        return visitor


@dataclass
class Visitor:
    """Somebody with a browser that keeps cookies and follows nothing."""

    console: Console
    base: str = "http://127.0.0.1:8484"
    cookies: dict[str, str] = field(default_factory=dict)

    def send(
        self,
        method: str,
        path: str,
        form: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Page:
        sent = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html", **(headers or {})}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        content = None
        if form is not None:
            content = urlencode(form, errors="surrogatepass").encode()
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")

        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(self.console.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=self.base) as client:
                kept = {name: value for name, value in sent.items() if value}
                return await client.request(method, path, content=content, headers=kept)

        response = asyncio.run(run())
        for text in response.headers.get_list("set-cookie"):
            name, _, rest = text.partition("=")
            value = rest.partition(";")[0]
            if "Max-Age=0" in text:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        assert "content-security-policy" in response.headers
        return Page(response.status_code, response.text, response.headers)

    def get(self, path: str, **headers: str) -> Page:
        return self.send("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def see(self, path: str) -> Page:
        """A page of the console that has to be there."""
        page = self.get(f"/console{path}")
        assert page.status == 200, (page.status, page.text[:3000])
        return page

    def post(self, path: str, on: str | None = None, **form: Any) -> Page:
        """Send a form of a page.

        Args:
            path: below the console.
            on: the page that has it; the same path when it is None.
            form: its fields, but the hidden ones of the session.
        """
        page = self.see(path if on is None else on)
        return self.send("POST", f"/console{path}", {"csrf": page.field("csrf"), **form})
