"""People: who signs in with a password, their roles and sessions (P17), and the own password."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from treadle.console import view
from treadle.console.access import name_actor
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageNotFoundError,
    PageRequest,
    PageRoute,
    lead_on,
)
from treadle.console.sign_in import name_user, tell_wait
from treadle.console_link import make_invite_link
from treadle.control.lookups import parse_id
from treadle.control.operations import ConnectOperations
from treadle.control.user_operations import UserOperations, name_state
from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json
from treadle.people.passwords import (
    SALT_BYTES,
    PasswordRuleError,
    check_password,
    fits_record,
    make_record,
)
from treadle.store.model import Account, BrowserSession, ConsoleRole, ConsoleUser
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

SESSIONS_SHOWN: Final = 50
ACCOUNTS_SHOWN: Final = 200

DONE: Final = {
    "role": "The role is changed. Sessions of the old role have ended.",
    "disabled": "The user is disabled, and sessions of it end within a second.",
    "enabled": "The user is enabled, and may sign in again.",
    "deleted": "The user is deleted. The audit trail keeps what was done.",
    "ended": "The session has ended.",
    "over": "Nothing was ended: you see no such session, or it had ended before.",
    "password": "The password is changed. Your other sessions have ended.",
}
ROLE_CHOICES: Final = (
    (ConsoleRole.VIEWER.value, "viewer: reads"),
    (ConsoleRole.OPERATOR.value, "operator: sources, tokens, hooks, records"),
    (ConsoleRole.ADMIN.value, "admin: everything, people too"),
)


@dataclass(frozen=True, slots=True)
class UserForm:
    """What was typed to invite somebody, so that it stays where it was refused.

    Attributes:
        link: of the invitation that was made, which is shown this once; None for none.
        invited: whom it is for.
    """

    name: str = ""
    email: str = ""
    role: str = ConsoleRole.VIEWER.value
    error: str | None = None
    link: str | None = None
    invited: ConsoleUser | None = None


# The list ----------------------------------------------------------------------------------------


def show_people(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the users of the account, and the sessions that are open."""
    has_users = bool(services.store.users.list_users(request.account.id))
    role = ConsoleRole.VIEWER if has_users else ConsoleRole.ADMIN
    return _render_people(services, request, UserForm(role=role.value))


def invite_user(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Invite somebody; the link is shown this once."""
    name, email, role = (request.get_text(one) for one in ("name", "email", "role"))
    form = UserForm(name, email, role)
    if role not in list(ConsoleRole):
        return _render_people(services, request, _refuse(form, "Choose a role."))
    wants_all = request.form.get("all_accounts") == "1"
    if wants_all and not request.session.sees_all:
        return _render_people(
            services, request, _refuse(form, "Your own session sees one account.")
        )
    if wants_all and role != ConsoleRole.ADMIN:
        return _render_people(
            services, request, _refuse(form, "Who sees all accounts is an admin.")
        )

    def run(bound: ConnectOperations) -> tuple[ConsoleUser, str]:
        scope = None if wants_all else request.account.id
        return UserOperations(bound.store, services.clock).invite(
            scope, name, email, ConsoleRole(role)
        )

    target = TrailTarget(TargetKind.USER, None, email)
    try:
        made, secret = services.change(request, TrailAction.ADD_USER, target, run)
    except RequestRefusedError as refused:
        error = view.describe_refusal(refused.body)
        return _render_people(services, request, _refuse(form, _to_sentence(error)))
    link = _make_link(services, request, secret)
    return _render_people(services, request, UserForm(link=link, invited=made))


def _refuse(form: UserForm, error: str) -> UserForm:
    return UserForm(form.name, form.email, form.role, error)


def _render_people(services: ConsoleServices, request: PageRequest, form: UserForm) -> PageAnswer:
    found = list(services.store.users.list_users(request.account.id))
    if request.session.sees_all:
        found = [*services.store.users.list_installation_admins(), *found]
    sessions = services.store.sessions.list_sessions(request.account.id, limit=SESSIONS_SHOWN)
    return PageAnswer(
        "people.html",
        {
            "title": "People",
            "section": "people",
            "command": f"treadle user list --account {request.account.id}{services.data_flag}",
            "users": [_describe_user(one, request) for one in found],
            "sessions": _describe_sessions(sessions, request),
            "most": SESSIONS_SHOWN,
            "form": form,
            "role_choices": ROLE_CHOICES,
            "notice": DONE.get(request.query.get("done", "")),
            "error": form.error,
        },
        400 if form.error else 200,
    )


def _describe_user(user: ConsoleUser, request: PageRequest) -> dict[str, Any]:
    return {
        "user": user,
        "state": describe_user(user, request.now),
        "is_self": user.id == request.session.user_id,
    }


def describe_user(user: ConsoleUser, now: int) -> view.StateWord:
    """Return the state of a user."""
    word = name_state(user, now)
    details = {
        "invited": "The invitation was not accepted yet.",
        "expired": "The invitation was not accepted in time. Make another one.",
        "disabled": "The user is refused until it is enabled.",
    }
    tones: dict[str, view.Tone] = {"active": "good", "invited": "busy", "expired": "warn"}
    shown = "invitation expired" if word == "expired" else word
    return view.StateWord(shown, tones.get(word, "off"), details.get(word, ""))


def _describe_sessions(
    sessions: Sequence[BrowserSession], request: PageRequest
) -> list[dict[str, Any]]:
    return [
        {
            "session": one,
            "who": one.user_name if one.user_id is not None else f"account token {one.token_id}",
            "is_own": one.id == request.session.id,
        }
        for one in sessions
    ]


# One user ----------------------------------------------------------------------------------------


def show_user(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show a user, what can be changed of it, and its sessions."""
    return _render_user(services, request, _require_user(services, request))


def change_user(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Change the role of a user, disable or enable it, or make another invitation."""
    user = _require_user(services, request)
    scope, action = _get_scope(request, user), request.get_text("action")
    target = TrailTarget(TargetKind.USER, user.id, user.email)
    if action == "invite":
        return _invite_again(services, request, user, target)
    role = request.get_text("role")
    body: dict[str, object]
    if action == "role" and role in list(ConsoleRole):
        if user.account_id is None and role != ConsoleRole.ADMIN:
            error = "Who sees all accounts stays an admin."
            return _render_user(services, request, user, error=error)
        body, kind, done = {"role": role}, TrailAction.CHANGE_ROLE, "role"
    elif action == "disable":
        body, kind, done = {"disabled": True}, TrailAction.DISABLE_USER, "disabled"
    elif action == "enable":
        body, kind, done = {"disabled": False}, TrailAction.ENABLE_USER, "enabled"
    else:
        return _render_user(services, request, user, error="Nothing was chosen to be done.")
    raw = encode_json(body)

    def run(bound: ConnectOperations) -> Any:
        return UserOperations(bound.store, services.clock).change_user(scope, str(user.id), raw)

    refusal = _try(services, request, kind, target, run)
    if refusal is not None:
        return _render_user(services, request, user, error=refusal)
    return lead_on(f"/people/{user.id}", done=done)


def _invite_again(
    services: ConsoleServices, request: PageRequest, user: ConsoleUser, target: TrailTarget
) -> PageAnswer:
    def run(bound: ConnectOperations) -> Any:
        operations = UserOperations(bound.store, services.clock)
        return operations.renew_invite(_get_scope(request, user), str(user.id))

    try:
        made = services.change(request, TrailAction.INVITE_USER, target, run)
    except RequestRefusedError:
        return _render_user(services, request, user, error="A disabled user is not invited.")
    link = _make_link(services, request, made["invite_token"])
    return _render_user(services, request, user, link=link)


def show_deletion(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Ask whether a user is to be deleted."""
    return _render_deletion(services, request, _require_user(services, request))


def delete_user(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Delete a user."""
    user = _require_user(services, request)
    scope = _get_scope(request, user)

    def run(bound: ConnectOperations) -> Any:
        return UserOperations(bound.store, services.clock).delete_user(scope, str(user.id))

    target = TrailTarget(TargetKind.USER, user.id, user.email)
    refusal = _try(services, request, TrailAction.DELETE_USER, target, run)
    if refusal is not None:
        return _render_deletion(services, request, user, refusal)
    return lead_on("/people", done="deleted")


def _render_deletion(
    services: ConsoleServices, request: PageRequest, user: ConsoleUser, error: str | None = None
) -> PageAnswer:
    return PageAnswer(
        "user-delete.html",
        {
            "title": f"Delete {user.name}",
            "section": "people",
            "user": user,
            "is_self": user.id == request.session.user_id,
            "error": error,
            "command": f"treadle user delete {user.id}{services.data_flag}",
        },
        400 if error else 200,
    )


def _render_user(
    services: ConsoleServices,
    request: PageRequest,
    user: ConsoleUser,
    *,
    link: str | None = None,
    error: str | None = None,
) -> PageAnswer:
    sessions = services.store.sessions.list_sessions(None, user.id, SESSIONS_SHOWN)
    return PageAnswer(
        "user.html",
        {
            "title": user.name,
            "section": "people",
            "command": f"treadle user role {user.id} {user.role.value}{services.data_flag}",
            "user": user,
            "state": describe_user(user, request.now),
            "is_self": user.id == request.session.user_id,
            "sessions": _describe_sessions(sessions, request),
            "role_choices": ROLE_CHOICES,
            "link": link,
            "notice": DONE.get(request.query.get("done", "")),
            "error": error,
        },
        400 if error else 200,
    )


def _require_user(services: ConsoleServices, request: PageRequest) -> ConsoleUser:
    """Return the user of a path.

    Raises:
        PageNotFoundError: the account has none of this id.
    """
    number = parse_id(request.parts["user"])
    scope = None if request.session.sees_all else request.account.id
    found = None if number is None else services.store.users.find_user(scope, number)
    if found is None or found.account_id not in (None, request.account.id):
        raise PageNotFoundError(
            f"This account has no user {view.show_text(request.parts['user'], 40)}. The page "
            "People lists those that there are."
        )
    return found


def _get_scope(request: PageRequest, user: ConsoleUser) -> Account | None:
    """Return inside which account a user is changed; None for one of the installation."""
    return None if user.account_id is None else request.account


# Sessions ----------------------------------------------------------------------------------------


def end_session(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """End a session of the account, as an admin, or one of one's own."""
    number = parse_id(request.parts["session"])
    back = request.get_text("from")
    found = None if number is None else services.store.sessions.get_session(number)
    done = "over"
    if found is not None and may_end_session(request.session, found):

        def run(bound: ConnectOperations) -> None:
            bound.store.sessions.end_session(found)

        target = TrailTarget(TargetKind.SESSION, found.id)
        services.change(request, TrailAction.END_SESSION, target, run)
        done = "ended"
    if back == "me" or request.session.role != ConsoleRole.ADMIN:
        return lead_on("/people/me", done=done)
    if back.isascii() and back.isdigit():
        return lead_on(f"/people/{back}", done=done)
    return lead_on("/people", done=done)


def may_end_session(mine: BrowserSession, other: BrowserSession) -> bool:
    """Return whether who has a session may end another one. Pure.

    An admin ends those of the account, one of the installation those of all accounts, and everybody
    those of oneself.
    """
    if mine.user_id is not None and other.user_id == mine.user_id:
        return True
    return mine.role == ConsoleRole.ADMIN and (mine.sees_all or other.account.id == mine.account.id)


# Oneself -----------------------------------------------------------------------------------------


def show_self(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show one's own sessions, and the form for another password."""
    return _render_self(services, request)


def change_password(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Set another password of one's own; the present one has to be typed.

    Raises:
        RequestRefusedError: 429, there were too many wrong passwords of this user.
    """
    session = request.session
    user = _find_self(services, request)
    if user is None:
        return _render_self(services, request, "An account token has no password.")
    name = name_user(user.email)
    waits = services.guesses.get_wait_seconds(name)
    if waits:
        raise RequestRefusedError(429, tell_wait(waits), (("Retry-After", str(waits)),))
    login = services.store.users.find_login(user.email)
    if not fits_record(request.form.get("present", ""), None if login is None else login[1]):
        services.guesses.note_failure(name)
        return _render_self(services, request, "The present password is another one.")
    fresh = request.form.get("password", "")
    if fresh != request.form.get("again", ""):
        return _render_self(services, request, "The two new passwords differ. Type them again.")
    try:
        check_password(fresh, user.name, user.email)
    except PasswordRuleError as error:
        return _render_self(services, request, f"Not taken: {error}.")
    record = make_record(fresh, secrets.token_bytes(SALT_BYTES))

    def run(bound: ConnectOperations) -> Any:
        return bound.store.users.set_password(user.id, record, session.id)

    target = TrailTarget(TargetKind.USER, user.id, user.email)
    services.change(request, TrailAction.SET_PASSWORD, target, run)
    return lead_on("/people/me", done="password")


def _render_self(
    services: ConsoleServices, request: PageRequest, error: str | None = None
) -> PageAnswer:
    user = _find_self(services, request)
    sessions = []
    if user is not None:
        sessions = services.store.sessions.list_sessions(None, user.id, SESSIONS_SHOWN)
    named = "EMAIL" if user is None else str(user.id)
    return PageAnswer(
        "people-me.html",
        {
            "title": "You",
            "section": "",
            "command": f"treadle user invite {named}{services.data_flag}",
            "user": user,
            "sessions": _describe_sessions(sessions, request),
            "notice": DONE.get(request.query.get("done", "")),
            "error": error,
        },
        400 if error else 200,
    )


def _find_self(services: ConsoleServices, request: PageRequest) -> ConsoleUser | None:
    if request.session.user_id is None:
        return None
    return services.store.users.find_user(None, request.session.user_id)


# Accounts ----------------------------------------------------------------------------------------


def list_accounts(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the accounts of the installation, to go over to one."""
    _require_sight(request)
    wanted = request.query.get("q", "").strip().casefold()
    found = [
        one
        for one in services.store.accounts.list_accounts()
        if not wanted or wanted in one.name.casefold() or wanted == str(one.id)
    ]
    return PageAnswer(
        "accounts.html",
        {
            "title": "Accounts",
            "section": "accounts",
            "command": f"treadle account list{services.data_flag}",
            "accounts": found[:ACCOUNTS_SHOWN],
            "count": len(found),
            "wanted": request.query.get("q", ""),
        },
    )


def switch_account(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Let the session go over to another account."""
    _require_sight(request)
    number = parse_id(request.get_text("account"))
    acting = services.store.for_actor(name_actor(request.session, request.address))
    if number is None or not acting.sessions.switch_account(request.session, number):
        raise PageNotFoundError("There is no such account. The page Accounts lists them.")
    return lead_on("/")


def _require_sight(request: PageRequest) -> None:
    """Check that a session sees all accounts.

    Raises:
        PageNotFoundError: it sees one, and is not told of others.
    """
    if not request.session.sees_all:
        raise PageNotFoundError(
            "Your session sees one account. `treadle user add --all-accounts` makes an admin of "
            "the installation, who sees all."
        )


# Both --------------------------------------------------------------------------------------------


def _try(
    services: ConsoleServices,
    request: PageRequest,
    action: TrailAction,
    target: TrailTarget,
    run: Callable[[ConnectOperations], Any],
) -> str | None:
    """Make a change; return why it was refused, or None."""
    try:
        services.change(request, action, target, run)
    except RequestRefusedError as refused:
        return _to_sentence(view.describe_refusal(refused.body))
    return None


def _make_link(services: ConsoleServices, request: PageRequest, secret: str) -> str:
    root = request.origin + services.places.prefix
    return make_invite_link(root, services.places.path, secret)


def _to_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


ADMIN: Final = ConsoleRole.ADMIN
ROUTES: Final = (
    PageRoute("/people", show_people, invite_user, ADMIN),
    PageRoute("/people/me", show_self, change_password),
    PageRoute("/people/sessions/{session}/end", act=end_session),
    PageRoute("/people/{user}", show_user, change_user, ADMIN),
    PageRoute("/people/{user}/delete", show_deletion, delete_user, ADMIN),
    PageRoute("/accounts", list_accounts, switch_account, ADMIN),
)
