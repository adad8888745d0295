"""The console as an ASGI application: routes, sessions, the defence of forms, headers."""

import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from treadle.console.access import has_role, list_roles
from treadle.console.csrf import (
    CSRF_FIELD,
    CSRF_HEADER,
    comes_from_here,
    has_form_token,
    make_form_token,
)
from treadle.console.figures import ServerFigures
from treadle.console.live import LiveHub, LiveSample, LiveStream
from treadle.console.navigation import list_links
from treadle.console.page_head import PageHead, parse_form, read_head
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageHandler,
    PageNotFoundError,
    PageRequest,
    find_page_above,
    find_route,
    lead_on,
)
from treadle.console.pages import REGIONS, ROUTES, badges
from treadle.console.pages.badges import count_badges
from treadle.console.pages.regions import MadeRegion, find_region, make_region_values
from treadle.console.rendering import PageRenderer
from treadle.console.sign_in import (
    INVITE_PATH,
    LOGIN_PATH,
    LOGOUT_PATH,
    SignIn,
    SignInResult,
)
from treadle.console.view import describe_refusal
from treadle.errors import OperatorError, RequestRefusedError, RetriableError
from treadle.http.body_reader import read_raw_body
from treadle.http.caller import mark_caller_known
from treadle.http.hosts import AllowedHosts
from treadle.http.limits import read_declared_length
from treadle.http.responses import encode_json
from treadle.http.session_cookie import SESSION_COOKIE, format_cookie, read_cookie
from treadle.http.stop_notice import StopNotice
from treadle.store.model import BrowserSession, ConsoleRole

T = TypeVar("T")

logger: Final = logging.getLogger(__name__)
"""Logs ids only: forms hold tokens and passwords."""

PAGES_AT_ONCE: Final = 2
"""Most pages that a worker makes at once: pushes go first."""

FORM_BYTES_MAX: Final = 1024 * 1024

STRANGER_FORM_BYTES_MAX: Final = 16 * 1024
"""Largest form to sign in or to accept an invitation: anybody may send it."""

INLINE_FORM_BYTES_MAX: Final = 16 * 1024
"""A larger form is parsed in a thread: 1 MB of escapes takes 0.1 s, and pushes would wait."""

CLOSE_HEADER: Final = ("Connection", "close")
"""Of an answer before the whole form was read: the rest is not waited for."""

TOPICS_MAX: Final = 10
"""Most regions of a page."""

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PAGE_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Cookie",
}
"""Beside those that every answer of the server has (console.md B.9)."""

TRANSPORT_SECURITY: Final = "max-age=31536000"

UNKNOWN_HOST: Final = (
    "The console is served under the address of the server and the names of the setting "
    "allowed_hosts. Open it by one of them, or add the name that you used."
)
FOREIGN_FORM: Final = (
    "The form was not sent by a page of this console, so nothing was changed. Open the page here "
    "and send it again. Behind a proxy, set public_url to the URL that browsers see."
)
STALE_FORM: Final = (
    "The form belongs to a session that is not yours any more, so nothing was changed. Open the "
    "page again and send it from there."
)
SESSION_ENDED: Final = (
    "Your session has ended, so nothing was changed. Sign in, and send the form again."
)
LARGE_FORM: Final = (
    "The form is larger than 1 MB, so nothing was done with it. Go back: your browser still has "
    "what you typed. For many records there is `treadle plan`, which reads files of any size."
)
LARGE_SIGN_IN: Final = (
    "The form is larger than 16 KB, so it was not read. A token and a password are much shorter."
)
COMPRESSED_FORM: Final = (
    "The form is compressed, so it was not read. Browsers send forms as they are; for programs "
    "there are the Connect API and the commands."
)
NO_PAGE: Final = "There is no such page in the console. The navigation has those that there are."
NO_METHOD: Final = "This page shows something and cannot be sent anything, or the other way round."

ERROR_TITLES: Final = {
    400: "This cannot be done",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    410: "No longer kept",
    413: "Too much",
    415: "Not readable",
    421: "Unknown name",
    429: "Too many tries",
    500: "Something went wrong in treadle",
    503: "Not available now",
}


class ConsoleApp:
    """Answers the requests below the path of the console."""

    def __init__(
        self,
        services: ConsoleServices,
        *,
        hosts: AllowedHosts | None = None,
        stop: StopNotice | None = None,
    ) -> None:
        """Make the application.

        Args:
            services: what pages are made with.
            hosts: the names under which it is served; None for any.
            stop: ends the streams.
        """
        self._services = services
        self._hosts = hosts
        self._renderer = PageRenderer()
        self._pages: anyio.CapacityLimiter | None = None
        self._regions: dict[tuple[int, ConsoleRole, str], MadeRegion] = {}
        self._sign_in = SignIn(services)
        self.hub = LiveHub(self._sample, stop or StopNotice())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            head = read_head(scope, self._services.places)
        except RequestRefusedError as refused:
            head = read_head({**scope, "query_string": b""}, self._services.places)
            response = self._render_error(head, refused.status, describe_refusal(refused.body))
        else:
            response = await self._answer(head, scope, receive)
        if head.is_secure:
            response.headers["Strict-Transport-Security"] = TRANSPORT_SECURITY
        await response(scope, receive, send)

    # What is asked -------------------------------------------------------------------------------

    async def _answer(self, head: PageHead, scope: Scope, receive: Receive) -> Response:
        if self._hosts is not None and not self._hosts.allows(scope):
            return self._render_error(head, 421, UNKNOWN_HOST)
        if head.path.startswith("/static/"):
            return self._get_file(head)
        session: BrowserSession | None = None
        csrf = ""
        try:
            if head.is_changing and not comes_from_here(head.headers, self._services.places.origin):
                return self._render_error(head, 403, FOREIGN_FORM)
            if head.path in (LOGIN_PATH, INVITE_PATH):
                form = await self._read_form(head, receive, STRANGER_FORM_BYTES_MAX, LARGE_SIGN_IN)
                return await self._answer_sign_in(head, form)
            secret = read_cookie(head.raw_headers, SESSION_COOKIE, secure=head.is_secure)
            if secret is not None:
                notes = not head.path.startswith(("/events", "/regions"))
                session = await self._run(
                    self._services.store.sessions.find_session, secret, notes_use=notes
                )
            if secret is None or session is None:
                return self._ask_to_sign_in(head)
            mark_caller_known(session.account.id)
            csrf = make_form_token(secret)
            form = await self._read_form(head, receive, FORM_BYTES_MAX, LARGE_FORM)
            if head.is_changing and not has_form_token(
                secret, form.get(CSRF_FIELD) or head.headers.get(CSRF_HEADER, "")
            ):
                return self._render_error(head, 403, STALE_FORM, session, csrf)
            connection = Request(scope, receive)
            return await self._answer_session(head, form, session, csrf, connection)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except PageNotFoundError as error:
            return self._render_error(head, 404, str(error), session, csrf)
        except RequestRefusedError as refused:
            message = describe_refusal(refused.body)
            response = self._render_error(head, refused.status, message, session, csrf)
            response.headers.update(dict(refused.headers))
            return response
        except (RetriableError, OperatorError) as error:
            return self._render_error(head, 503, str(error), session, csrf)
        except Exception:
            error_id = secrets.token_hex(6)
            logger.exception("a page of the console cannot be made, error %s", error_id)
            message = f"The log has what went wrong, with the error id {error_id}."
            return self._render_error(head, 500, message, session, csrf)

    async def _answer_session(
        self,
        head: PageHead,
        form: Mapping[str, str],
        session: BrowserSession,
        csrf: str,
        connection: Request,
    ) -> Response:
        if head.path == "/events":
            return self._open_stream(head, session)
        if head.path == "/regions":
            return await self._get_regions(head, session)
        if head.path == LOGOUT_PATH and head.is_changing:
            return await self._sign_out(head, session)
        found = find_route(ROUTES, head.raw_path)
        if found is None:
            raise PageNotFoundError(NO_PAGE)
        route, parts = found
        handler, role, task = route.show, route.role, None
        if head.is_changing:
            handler, role, task = route.act, route.act_role or route.role, route.task
        if handler is None and head.method in ("GET", "HEAD"):
            above = find_page_above(ROUTES, route, head.raw_path)
            if above is not None:
                return self._render_answer(head, lead_on(above), None)
        if (handler is None and task is None) or head.method not in ("GET", "HEAD", "POST"):
            return self._render_error(head, 405, NO_METHOD, session, csrf)
        if not has_role(session, role):
            message = (
                f"This needs the role {role.value}, and your session has {session.role.value}."
            )
            return self._render_error(head, 403, message, session, csrf)
        request = PageRequest(
            path=head.path,
            parts=parts,
            query=head.query,
            form=form,
            session=session,
            csrf=csrf,
            address=head.address,
            origin=head.origin,
            now=self._services.clock(),
            preferences=head.preferences,
        )
        try:
            if task is not None:
                answer = await task(self._services, request, connection)
                return await self._run(self._render_answer, head, answer, request)
            return await self._run(self._make_page, head, handler, request)
        finally:
            if head.is_changing:
                self._services.work.changed()

    def _make_page(self, head: PageHead, handler: PageHandler, request: PageRequest) -> Response:
        """Run a page and render it, in a thread."""
        answer = handler(self._services, request)
        count_badges(self._services, request.account)
        return self._render_answer(head, answer, request)

    async def _run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        if self._pages is None:  # it belongs to the event loop, and is made in it
            self._pages = anyio.CapacityLimiter(PAGES_AT_ONCE)
        return await anyio.to_thread.run_sync(
            partial(function, *args, **kwargs), limiter=self._pages
        )

    async def _read_form(
        self, head: PageHead, receive: Receive, limit: int, too_large: str
    ) -> dict[str, str]:
        """Return the fields of a form; none for a request that changes nothing.

        Raises:
            RequestRefusedError: 413 with `too_large` above the limit, 415 for a compressed form,
                400 for too many fields, 408 for a sender that is too slow.
            ClientDisconnect: the browser went away.
        """
        if not head.is_changing:
            return {}
        if head.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise RequestRefusedError(415, COMPRESSED_FORM, (CLOSE_HEADER,))
        try:
            body = await read_raw_body(head.headers, receive, limit=limit)
        except RequestRefusedError as refused:
            if refused.status != 413:
                raise
            raise RequestRefusedError(413, too_large, (CLOSE_HEADER,)) from refused
        if len(body) > INLINE_FORM_BYTES_MAX:
            return await self._run(parse_form, body)
        return parse_form(body)

    # Sessions ------------------------------------------------------------------------------------

    async def _answer_sign_in(self, head: PageHead, form: Mapping[str, str]) -> Response:
        result = await self._run(self._sign_in.answer, head, form)
        if result.session is not None:
            mark_caller_known(result.session.account.id)
        if result.used_token_id is not None:
            self._services.work.count_use(result.used_token_id, head.address)
        return self._render_sign_in(head, result)

    def _render_sign_in(self, head: PageHead, result: SignInResult) -> Response:
        if result.location is not None:
            return self._render_answer(head, result.as_answer(), None)
        response = self._render_page(
            head, result.template, result.values, result.status, result.cookies
        )
        if result.waits:
            response.headers["Retry-After"] = str(result.waits)
        return response

    def _ask_to_sign_in(self, head: PageHead) -> Response:
        """Lead to the page to sign in, and back afterwards.

        A browser does not send the cookie where a page of another site leads here. So it is led to
        the same page once more, by a page of ours.
        """
        if head.path in ("/events", "/regions"):
            return Response("The session has ended.", 401, PAGE_HEADERS, "text/plain")
        if head.is_changing:
            response = self._render_error(head, 401, SESSION_ENDED)
            declared = read_declared_length(head.headers)
            if declared is None or declared > STRANGER_FORM_BYTES_MAX:  # it is not read
                response.headers.update(dict((CLOSE_HEADER,)))
            return response
        if head.headers.get("sec-fetch-site") == "cross-site" and head.method == "GET":
            values = {"location": head.base + head.raw_path + head.query_text}
            return self._render_page(head, "onward.html", values, 200)
        if head.path in ("", "/"):
            return self._render_answer(head, lead_on(LOGIN_PATH), None)
        wanted = head.raw_path + head.query_text
        return self._render_answer(head, lead_on(LOGIN_PATH, next=wanted), None)

    async def _sign_out(self, head: PageHead, session: BrowserSession) -> Response:
        await self._run(self._sign_in.end, session, head.address)
        gone = format_cookie(SESSION_COOKIE, "", path=head.base, seconds=0, secure=head.is_secure)
        answer = PageAnswer(status=303, location=f"{LOGIN_PATH}?done=signed-out", cookies=(gone,))
        return self._render_answer(head, answer, None)

    # Live numbers --------------------------------------------------------------------------------

    def _open_stream(self, head: PageHead, session: BrowserSession) -> Response:
        topics = self._list_topics(head, session)
        stream = self.hub.open_stream(session, topics)
        if stream is None:
            headers = {**PAGE_HEADERS, "Retry-After": "10"}
            return Response("There are many streams.", 503, headers, "text/plain")
        return StreamingResponse(
            self._read_stream(stream),
            headers={**PAGE_HEADERS, "X-Accel-Buffering": "no"},
            media_type="text/event-stream",
        )

    async def _read_stream(self, stream: LiveStream) -> AsyncIterator[str]:
        try:
            async for text in stream.read():
                yield text
        finally:
            self.hub.close_stream(stream)

    async def _get_regions(self, head: PageHead, session: BrowserSession) -> Response:
        topics = self._list_topics(head, session)
        found = await self._run(self._sample, {session: topics})
        return Response(
            encode_json({"regions": found[session] or {}}), 200, PAGE_HEADERS, "application/json"
        )

    def _list_topics(self, head: PageHead, session: BrowserSession) -> tuple[str, ...]:
        asked = head.query.get("topics", "").split(",")
        found = ((topic, find_region(REGIONS, topic)) for topic in dict.fromkeys(asked))
        allowed = [
            topic
            for topic, region in found
            if region is not None and has_role(session, region.role)
        ]
        return tuple(allowed[:TOPICS_MAX])

    def _sample(self, wanted: Mapping[BrowserSession, Sequence[str]]) -> LiveSample:
        """Return the regions that sessions ask for, in a thread."""
        services = self._services
        going = services.store.sessions.list_open_sessions([one.id for one in wanted])
        began = time.monotonic()
        figures: ServerFigures | None = None
        made: dict[tuple[int, ConsoleRole, str], MadeRegion] = {}
        found: dict[BrowserSession, Mapping[str, str] | None] = {}
        for session, topics in wanted.items():
            if session.id not in going:
                found[session] = None
                continue
            mine = session.account.id, session.role
            for topic in topics:
                region = find_region(REGIONS, topic)
                if region is None:
                    continue
                kept = self._regions.get((*mine, topic))
                if kept is not None and began - kept.at < region.seconds * 0.9:
                    made[*mine, topic] = kept
                if (*mine, topic) in made:
                    continue
                if region.needs_figures and figures is None:
                    figures = services.sampler.read()
                values = make_region_values(region, services, session, figures, topic)
                text = self._renderer.render(region.template, values)
                made[*mine, topic] = MadeRegion(began, text)
            found[session] = {
                topic: made[*mine, topic].text for topic in topics if (*mine, topic) in made
            }
        self._regions = made  # what nobody asks for any more is forgotten
        return found

    # Answers -------------------------------------------------------------------------------------

    def _get_file(self, head: PageHead) -> Response:
        name = head.path.removeprefix("/static/")
        if name not in self._renderer.files or head.is_changing:
            return self._render_error(head, 404, NO_PAGE)
        media_type, content = self._renderer.files[name]
        kept = "public, max-age=31536000, immutable" if head.query else "no-cache"
        return Response(content, 200, {**PAGE_HEADERS, "Cache-Control": kept}, media_type)

    def _render_answer(
        self, head: PageHead, answer: PageAnswer, request: PageRequest | None
    ) -> Response:
        if answer.response is not None:
            answer.response.headers.update(PAGE_HEADERS)
            return answer.response
        if answer.location is not None:
            headers = {**PAGE_HEADERS, "Location": head.base + answer.location}
            response = Response(status_code=answer.status, headers=headers)
            for cookie in answer.cookies:
                response.headers.append("Set-Cookie", cookie)
            return response
        values = dict(answer.values)
        if request is not None:
            values |= {
                "session": request.session,
                "csrf": request.csrf,
                "is_posted": head.is_changing,
            }
        return self._render_page(head, answer.template, values, answer.status, answer.cookies)

    def _render_page(
        self,
        head: PageHead,
        template: str,
        values: Mapping[str, Any],
        status: int,
        cookies: Sequence[str] = (),
    ) -> Response:
        session = values.get("session")
        common: dict[str, Any] = {
            "base": head.base,
            "now": self._services.clock(),
            "preferences": head.preferences,
            "version": self._services.version,
            "session": None,
            "csrf": "",
            "is_posted": False,
            "section": "",
            "command": None,
            "notice": None,
            "error": None,
            "topics": "",
            "here": head.raw_path + head.query_text,
            "links": [] if session is None else list_links(session),
            "badges": {} if session is None else self._services.badges.get(session.account.id),
            "badge_topics": ",".join(badges.REGIONS),
            "may": list_roles(session),
        }
        text = self._renderer.render(template, common | dict(values))
        response = Response(
            text.encode("utf-8", "replace"), status, PAGE_HEADERS, "text/html; charset=utf-8"
        )
        for cookie in cookies:
            response.headers.append("Set-Cookie", cookie)
        return response

    def _render_error(
        self,
        head: PageHead,
        status: int,
        message: str,
        session: BrowserSession | None = None,
        csrf: str = "",
    ) -> Response:
        values = {
            "title": ERROR_TITLES.get(status, "This cannot be done"),
            "message": message,
            "status": status,
            "session": session,
            "csrf": csrf,
        }
        response = self._render_page(head, "error.html", values, status)
        if status == 503:
            response.headers["Retry-After"] = "2"
        return response
