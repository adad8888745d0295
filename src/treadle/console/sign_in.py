"""The pages before a session: to sign in, and to accept an invitation (console.md B.5 P0, P17).

People sign in by e-mail address and password, by an account token, or by a link that works once.
"""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from treadle.console.access import TOKEN_ROLE, name_actor
from treadle.console.csrf import CSRF_FIELD, has_form_token, make_form_token
from treadle.console.page_head import PageHead
from treadle.console.page_request import ConsoleServices, PageAnswer
from treadle.console.view import count_words
from treadle.http.session_cookie import SESSION_COOKIE, VISIT_COOKIE, format_cookie, read_cookie
from treadle.people.devices import name_device
from treadle.people.passwords import (
    SALT_BYTES,
    PasswordRuleError,
    check_password,
    fits_record,
    make_record,
)
from treadle.store.model import BrowserSession, ConsoleUser
from treadle.store.sessions import SESSION_US
from treadle.store.store import Store
from treadle.store.trail_event import ActorKind, StoreActor
from treadle.store.users import digest_address

logger: Final = logging.getLogger(__name__)

LOGIN_PATH: Final = "/login"
LOGOUT_PATH: Final = "/logout"
INVITE_PATH: Final = "/invite"
TOKEN_PARAMETER: Final = "ephemeral_token"  # noqa: S105 - a name
INVITE_PARAMETER: Final = "token"

PAGE_DESTINATION: Final = "document"
"""What a browser says in `Sec-Fetch-Dest` of a page that somebody opens."""

VISIT_SECONDS: Final = 3_600

LINK_REFUSED: Final = (
    "This link is not valid. It was used already, it is older than an hour, or the account token "
    "that made it has ended. `treadle console` prints a new one."
)
ACCOUNT_REFUSED: Final = (
    "This is no account token of this server. It begins with ac_; `treadle account token create` "
    "makes one."
)
LOGIN_REFUSED: Final = (
    "This address and password do not open the console. An admin makes a link for a new password."
)
INVITE_REFUSED: Final = (
    "This invitation is not valid. It was used already, it is older than a week, or a newer one "
    "was made. An admin makes another one, on the page People or by `treadle user invite`."
)
NO_PAGE_LINK: Final = (
    "A part of another page asked for this link, so it was not looked at, and is not used up. Open "
    "it in a tab of its own."
)
COOKIES_REFUSED: Final = (
    "Your browser sent no cookie back. The console keeps its session in one: allow cookies of this "
    "server, and sign in again. Nothing is wrong with the token or the password."
)
FORM_OLD: Final = "This form is old. Send it once more."
DONE: Final = {"signed-out": "You are signed out, and the session has ended everywhere."}


@dataclass(frozen=True, slots=True)
class SignInResult:
    """What a request to a page before a session leads to.

    Attributes:
        template: of the page that is shown.
        values: of the template.
        location: path below the console to lead on to; None to show the page.
        session: the one that was opened; None for none.
        used_token_id: the account token that was typed; None for none.
        waits: seconds until the next try is looked at; 0 where it would be now.
    """

    template: str = "login.html"
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    location: str | None = None
    cookies: tuple[str, ...] = ()
    session: BrowserSession | None = None
    used_token_id: int | None = None
    waits: int = 0

    def as_answer(self) -> PageAnswer:
        """Return the answer that leads on."""
        return PageAnswer(status=303, location=self.location, cookies=self.cookies)


class SignIn:
    """Opens and ends sessions; blocks, and may be used by several threads."""

    def __init__(self, services: ConsoleServices) -> None:
        self._services = services
        self._limit = services.guesses

    @property
    def _store(self) -> Store:
        return self._services.store

    def answer(self, head: PageHead, form: Mapping[str, str]) -> SignInResult:
        """Answer a request to the page to sign in, or to accept an invitation."""
        links = [value for name, value in head.queries if name == TOKEN_PARAMETER]
        has_secret = bool(links) or head.path == INVITE_PATH
        # Not for an image, a frame or a script of another page, which may ask for many at once.
        if has_secret and head.headers.get("sec-fetch-dest", PAGE_DESTINATION) != PAGE_DESTINATION:
            return self._show(head, error=NO_PAGE_LINK, status=400)
        if head.path == INVITE_PATH:
            if head.method == "POST":
                return self._take_invite(head, form)
            return self._show_invite(head, head.query.get(INVITE_PARAMETER, ""))
        if head.method == "POST":
            return self._take_form(head, form)
        if links and head.method == "GET":
            return self._take_link(head, links)
        return self._show(head, notice=DONE.get(head.query.get("done", "")))

    def end(self, session: BrowserSession, address: str) -> None:
        """End a session."""
        acting = self._store.for_actor(name_actor(session, address))
        acting.sessions.end_session(session)

    def _take_link(self, head: PageHead, links: list[str]) -> SignInResult:
        waits = self._limit.get_wait_seconds(head.address)
        if waits:
            return self._show_wait(head, waits)
        sessions = self._store.sessions
        token_id = sessions.find_ephemeral_token(links[0]) if len(links) == 1 else None
        opened = None
        if token_id is not None:
            acting = self._for_token(token_id, head.address).sessions
            opened = acting.open_session(links[0], head.address, _name_device(head))
        if opened is None:
            self._limit.note_failure(head.address)
            return self._show(head, error=LINK_REFUSED, status=401)
        return self._lead_on(head, opened, "")

    def _take_form(self, head: PageHead, form: Mapping[str, str]) -> SignInResult:
        """Take an account token, or an address with a password."""
        refused = self._refuse_early(head, form)
        if refused is not None:
            return refused
        if "email" in form:
            return self._take_password(head, form)
        wanted = form.get("next", "")
        holder = self._store.accounts.find_token_holder(form.get("token", "").strip())
        opened = None
        if holder is not None:
            acting = self._for_token(holder.token_id, head.address).sessions
            opened = acting.open_session_of_token(
                holder.token_id, TOKEN_ROLE, head.address, _name_device(head)
            )
        if holder is None or opened is None:
            self._limit.note_failure(head.address)
            return self._show(head, error=ACCOUNT_REFUSED, status=401, wanted=wanted)
        return self._lead_on(head, opened, wanted, holder.token_id)

    def _take_password(self, head: PageHead, form: Mapping[str, str]) -> SignInResult:
        """Sign a user in. It takes the same time for an unknown address and a wrong password."""
        wanted, email = form.get("next", ""), form.get("email", "").strip()
        name = name_user(email)
        waits = self._limit.get_wait_seconds(name)
        if waits:
            return self._show_wait(head, waits)
        login = self._store.users.find_login(email)
        user, record = login or (None, None)
        opened = None
        if fits_record(form.get("password", ""), record) and user is not None:
            opened = self._open_for_user(user, head)
        if opened is None:
            self._limit.note_failure(head.address)
            self._limit.note_failure(name)
            return self._show(head, error=LOGIN_REFUSED, status=401, wanted=wanted, email=email)
        return self._lead_on(head, opened, wanted)

    def _open_for_user(
        self, user: ConsoleUser, head: PageHead
    ) -> tuple[BrowserSession, str] | None:
        acting = self._for_user(user, head.address).sessions
        return acting.open_session_of_user(user.id, head.address, _name_device(head))

    def _refuse_early(self, head: PageHead, form: Mapping[str, str]) -> SignInResult | None:
        """Return the answer to a form that is not looked at; None for one that is."""
        waits = self._limit.get_wait_seconds(head.address)
        if waits:
            return self._show_wait(head, waits)
        visit = read_cookie(head.raw_headers, VISIT_COOKIE, secure=head.is_secure)
        if visit is None:
            return self._show(head, error=COOKIES_REFUSED, status=400)
        if not has_form_token(visit, form.get(CSRF_FIELD, "")):
            return self._show(head, error=FORM_OLD, status=403)
        return None

    # Invitations ---------------------------------------------------------------------------------

    def _show_invite(
        self, head: PageHead, secret: str, error: str | None = None, status: int = 200
    ) -> SignInResult:
        """Show the form to set a password; the invitation is not used by looking at it."""
        waits = self._limit.get_wait_seconds(head.address)
        if waits:
            return self._show_wait(head, waits)
        user = self._store.users.find_invite(secret)
        if user is None:
            self._limit.note_failure(head.address)
            return self._show(head, error=INVITE_REFUSED, status=401)
        visit, cookies = _make_visit(head)
        values = {
            "title": "Set your password",
            "csrf": make_form_token(visit),
            "user": user,
            "secret": secret,
            "error": error,
            "is_open": not head.is_secure and not head.is_local,
        }
        return SignInResult("invite.html", values, status, cookies=cookies)

    def _take_invite(self, head: PageHead, form: Mapping[str, str]) -> SignInResult:
        """Set the password of who was invited, and sign in."""
        refused = self._refuse_early(head, form)
        if refused is not None:
            return refused
        secret, password = form.get(INVITE_PARAMETER, ""), form.get("password", "")
        user = self._store.users.find_invite(secret)
        if user is None:
            return self._show_invite(head, secret)
        if password != form.get("again", ""):
            return self._show_invite(
                head, secret, "The two passwords differ. Type them again.", 400
            )
        try:
            check_password(password, user.name, user.email)
        except PasswordRuleError as error:
            return self._show_invite(head, secret, f"Not taken: {error}.", 400)
        record = make_record(password, secrets.token_bytes(SALT_BYTES))
        acting = self._for_user(user, head.address)
        accepted = acting.users.accept_invite(secret, record)
        opened = None if accepted is None else self._open_for_user(accepted, head)
        if opened is None:
            return self._show_invite(head, secret)
        return self._lead_on(head, opened, "")

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
        email: str = "",
    ) -> SignInResult:
        """Show the page, with a form that is worth something in this browser only."""
        visit, cookies = _make_visit(head)
        return SignInResult(
            values={
                "title": "Sign in",
                "csrf": make_form_token(visit),
                "next": wanted if wanted is not None else head.query.get("next", ""),
                "notice": notice,
                "error": error,
                "is_open": not head.is_secure and not head.is_local,
                "has_users": self._store.users.find_any_password(),
                "email": email,
            },
            status=status,
            cookies=cookies,
        )

    def _show_wait(self, head: PageHead, waits: int) -> SignInResult:
        return replace(self._show(head, error=tell_wait(waits), status=429), waits=waits)

    def _for_user(self, user: ConsoleUser, address: str) -> Store:
        return self._store.for_actor(StoreActor(ActorKind.PERSON, str(user.id), address))

    def _for_token(self, token_id: int, address: str) -> Store:
        return self._store.for_actor(StoreActor(ActorKind.ACCOUNT_TOKEN, str(token_id), address))


def name_user(email: str) -> str:
    """Return what the wrong passwords of a user are counted by, wherever they are typed."""
    return f"user {digest_address(email).hex()}"


def tell_wait(seconds: int) -> str:
    """Return why somebody has to wait, and how long."""
    minutes = max(1, -(-seconds // 60))
    return (
        "There were too many wrong tokens or passwords. Wait "
        f"{count_words(minutes, 'minute')} and try again."
    )


def is_console_path(text: str) -> bool:
    """Return whether a text is a path below the console, and leads nowhere else."""
    return (
        text.startswith("/")
        and not text.startswith(("//", "/\\"))
        and text.isascii()
        and text.isprintable()
        and "\\" not in text
    )


def _make_visit(head: PageHead) -> tuple[str, tuple[str, ...]]:
    """Return the secret of a visit before a session, and the cookies to set for it."""
    visit = read_cookie(head.raw_headers, VISIT_COOKIE, secure=head.is_secure)
    if visit is not None:
        return visit, ()
    visit = secrets.token_hex(32)
    cookie = format_cookie(
        VISIT_COOKIE, visit, path=head.base, seconds=VISIT_SECONDS, secure=head.is_secure
    )
    return visit, (cookie,)


def _name_device(head: PageHead) -> str:
    return name_device(head.headers.get("user-agent", ""))
