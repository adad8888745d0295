"""The page to sign in: by an account token, or by a link that works once (console.md B.5 P0)."""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from treadle.console.access import TOKEN_ROLE
from treadle.console.csrf import CSRF_FIELD, has_form_token, make_form_token
from treadle.console.guess_limit import GuessLimit
from treadle.console.page_head import PageHead
from treadle.console.page_request import ConsoleServices, PageAnswer
from treadle.console.view import count_words
from treadle.http.session_cookie import SESSION_COOKIE, VISIT_COOKIE, format_cookie, read_cookie
from treadle.store.model import BrowserSession
from treadle.store.sessions import SESSION_US
from treadle.store.store import Store
from treadle.store.trail_event import ActorKind, StoreActor

logger: Final = logging.getLogger(__name__)

LOGIN_PATH: Final = "/login"
LOGOUT_PATH: Final = "/logout"
TOKEN_PARAMETER: Final = "ephemeral_token"  # noqa: S105 - a name

VISIT_SECONDS: Final = 3_600

LINK_REFUSED: Final = (
    "This link is not valid. It was used already, it is older than an hour, or the account token "
    "that made it has ended. `treadle console` prints a new one."
)
ACCOUNT_REFUSED: Final = (
    "This is no account token of this server. It begins with ac_; `treadle account token create` "
    "makes one."
)
COOKIES_REFUSED: Final = (
    "Your browser sent no cookie back. The console keeps its session in one: allow cookies of this "
    "server, and sign in again. Nothing is wrong with the token."
)
DONE: Final = {"signed-out": "You are signed out, and the session has ended everywhere."}


@dataclass(frozen=True, slots=True)
class SignInResult:
    """What a request to the page to sign in leads to.

    Attributes:
        values: of the template, where the page is shown.
        location: path below the console to lead on to; None to show the page.
        session: the one that was opened; None for none.
        used_token_id: the account token that was typed; None for none.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    location: str | None = None
    cookies: tuple[str, ...] = ()
    session: BrowserSession | None = None
    used_token_id: int | None = None

    def as_answer(self) -> PageAnswer:
        """Return the answer that leads on."""
        return PageAnswer(status=303, location=self.location, cookies=self.cookies)


class SignIn:
    """Opens and ends sessions; blocks, and may be used by several threads."""

    def __init__(self, services: ConsoleServices, limit: GuessLimit) -> None:
        self._services = services
        self._limit = limit

    @property
    def _store(self) -> Store:
        return self._services.store

    def answer(self, head: PageHead, form: Mapping[str, str]) -> SignInResult:
        """Answer a request to the page to sign in."""
        links = [value for name, value in head.queries if name == TOKEN_PARAMETER]
        if head.method == "POST":
            return self._take_token(head, form)
        if links and head.method == "GET":
            return self._take_link(head, links)
        return self._show(head, notice=DONE.get(head.query.get("done", "")))

    def end(self, session: BrowserSession, address: str) -> None:
        """End a session."""
        self._for_token(session.token_id, address).sessions.end_session(session)

    def _take_link(self, head: PageHead, links: list[str]) -> SignInResult:
        waits = self._limit.get_wait_seconds(head.address)
        if waits:
            return self._show(head, error=_tell_wait(waits), status=429)
        sessions = self._store.sessions
        token_id = sessions.find_ephemeral_token(links[0]) if len(links) == 1 else None
        opened = None
        if token_id is not None:
            acting = self._for_token(token_id, head.address).sessions
            opened = acting.open_session(links[0], head.address)
        if opened is None:
            self._limit.note_failure(head.address)
            return self._show(head, error=LINK_REFUSED, status=401)
        return self._lead_on(head, opened, "")

    def _take_token(self, head: PageHead, form: Mapping[str, str]) -> SignInResult:
        waits = self._limit.get_wait_seconds(head.address)
        if waits:
            return self._show(head, error=_tell_wait(waits), status=429)
        visit = read_cookie(head.raw_headers, VISIT_COOKIE, secure=head.is_secure)
        if visit is None:
            return self._show(head, error=COOKIES_REFUSED, status=400)
        if not has_form_token(visit, form.get(CSRF_FIELD, "")):
            return self._show(head, error="This form is old. Send it once more.", status=403)
        wanted = form.get("next", "")
        holder = self._store.accounts.find_token_holder(form.get("token", "").strip())
        opened = None
        if holder is not None:
            acting = self._for_token(holder.token_id, head.address).sessions
            opened = acting.open_session_of_token(holder.token_id, TOKEN_ROLE, head.address)
        if holder is None or opened is None:
            self._limit.note_failure(head.address)
            return self._show(head, error=ACCOUNT_REFUSED, status=401, wanted=wanted)
        return self._lead_on(head, opened, wanted, holder.token_id)

    def _lead_on(
        self,
        head: PageHead,
        opened: tuple[BrowserSession, str],
        wanted: str,
        token_id: int | None = None,
    ) -> SignInResult:
        """Give the cookie of a new session, and lead to the page that was wanted."""
        session, secret = opened
        logger.info("account %d opened session %d", session.account.id, session.id)
        former = read_cookie(head.raw_headers, SESSION_COOKIE, secure=head.is_secure)
        replaced = None if former is None else self._store.sessions.find_session(former)
        if replaced is not None:
            self.end(replaced, head.address)
        cookies = (
            format_cookie(
                SESSION_COOKIE,
                secret,
                path=head.base,
                seconds=SESSION_US // 1_000_000,
                secure=head.is_secure,
            ),
            format_cookie(VISIT_COOKIE, "", path=head.base, seconds=0, secure=head.is_secure),
        )
        return SignInResult(
            status=303,
            location=wanted if is_console_path(wanted) else "",
            cookies=cookies,
            session=session,
            used_token_id=token_id,
        )

    def _show(
        self,
        head: PageHead,
        *,
        notice: str | None = None,
        error: str | None = None,
        status: int = 200,
        wanted: str | None = None,
    ) -> SignInResult:
        """Show the page, with a form that is worth something in this browser only."""
        visit = read_cookie(head.raw_headers, VISIT_COOKIE, secure=head.is_secure)
        cookies: tuple[str, ...] = ()
        if visit is None:
            visit = secrets.token_hex(32)
            cookies = (
                format_cookie(
                    VISIT_COOKIE,
                    visit,
                    path=head.base,
                    seconds=VISIT_SECONDS,
                    secure=head.is_secure,
                ),
            )
        return SignInResult(
            values={
                "title": "Sign in",
                "csrf": make_form_token(visit),
                "next": wanted if wanted is not None else head.query.get("next", ""),
                "notice": notice,
                "error": error,
                "is_open": not head.is_secure and not head.is_local,
            },
            status=status,
            cookies=cookies,
        )

    def _for_token(self, token_id: int, address: str) -> Store:
        return self._store.for_actor(StoreActor(ActorKind.ACCOUNT_TOKEN, str(token_id), address))


def is_console_path(text: str) -> bool:
    """Return whether a text is a path below the console, and leads nowhere else."""
    return (
        text.startswith("/")
        and not text.startswith(("//", "/\\"))
        and text.isascii()
        and text.isprintable()
        and "\\" not in text
    )


def _tell_wait(seconds: int) -> str:
    minutes = max(1, -(-seconds // 60))
    return (
        "There were too many wrong tokens from your address. Wait "
        f"{count_words(minutes, 'minute')} and try again."
    )
