"""The operations on users, the people who sign in to the console (console.md B.6).

As in `operations`, everything here blocks, and `user_routes` runs it in threads.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import msgspec

from treadle.control import errors, user_schemas
from treadle.control.lookups import parse_id
from treadle.people.rules import (
    LastAdminError,
    UserRuleError,
    check_user,
    require_admin_left,
)
from treadle.store.errors import NotFoundError, UserLimitError, UserTakenError
from treadle.store.model import Account, ConsoleRole, ConsoleUser
from treadle.store.store import Store
from treadle.timestamps import format_seconds

T = TypeVar("T")

logger: Final = logging.getLogger(__name__)
"""Logs ids only, and no addresses of people."""

UserState = Literal["invited", "expired", "active", "disabled"]


class UserBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/users`."""

    name: str
    email: str
    role: ConsoleRole


class UserChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PUT /v1/users/{user_id}`; what is left out stays."""

    role: ConsoleRole | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class UserOperations:
    """The operations on the users of an account.

    Attributes:
        store: every look-up is inside the account.
        clock: microseconds since 1970.
    """

    store: Store
    clock: Callable[[], int]

    def list_users(self, account: Account) -> object:
        """Serve `GET /v1/users`: by id, disabled ones too."""
        now = self.clock()
        return {"users": [render_user(one, now) for one in self.store.users.list_users(account.id)]}

    def create_user(self, account: Account, raw: bytes) -> object:
        """Serve `POST /v1/users`: invite somebody."""
        body = _parse_body(raw, UserBody)
        user, secret = self.invite(account.id, body.name, body.email, body.role)
        logger.info("account %d invited user %d", account.id, user.id)
        return render_invited_user(user, secret, self.clock())

    def invite(
        self, account_id: int | None, name: str, email: str, role: ConsoleRole
    ) -> tuple[ConsoleUser, str]:
        """Add a user, and return it with the secret of the invitation.

        Args:
            account_id: the account that it opens; None for all of the installation.
            name: for people.
            email: to sign in with.
            role: what it may do.

        Raises:
            RequestRefusedError: 400, a rule is broken.
        """
        name, email = name.strip(), email.strip()
        with _refuse_by_rule():
            check_user(name, email)
            return self.store.users.add_user(account_id, name, email, role, require_admin_left)

    def change_user(self, account: Account | None, user_id: str, raw: bytes) -> object:
        """Serve `PUT /v1/users/{user_id}`: another role; disable, enable.

        An account of None, here and below, stands for any.
        """
        body = _parse_body(raw, UserChangeBody)
        if body.role is msgspec.UNSET and body.disabled is msgspec.UNSET:
            raise errors.invalid_user_body("the body has a role or disabled")
        number, scope = _require_id(user_id), _get_scope(account)
        with _refuse_by_rule(), _require_user(user_id):
            if not isinstance(body.role, msgspec.UnsetType):
                user = self.store.users.change_role(scope, number, body.role, require_admin_left)
            if not isinstance(body.disabled, msgspec.UnsetType):
                user = self.store.users.set_disabled(
                    scope, number, require_admin_left, disabled=body.disabled
                )
        logger.info("user %d was changed", user.id)
        return render_user(user, self.clock())

    def delete_user(self, account: Account | None, user_id: str) -> object:
        """Serve `DELETE /v1/users/{user_id}`."""
        scope = _get_scope(account)
        with _refuse_by_rule(), _require_user(user_id):
            user = self.store.users.delete_user(scope, _require_id(user_id), require_admin_left)
        logger.info("user %d was deleted", user.id)
        return render_user(user, self.clock())

    def renew_invite(self, account: Account | None, user_id: str) -> user_schemas.InvitedUser:
        """Serve `POST /v1/users/{user_id}/invite`: another link, for a new password too."""
        scope = _get_scope(account)
        with _require_user(user_id):
            user, secret = self.store.users.renew_invite(scope, _require_id(user_id))
        logger.info("user %d was invited again", user.id)
        return render_invited_user(user, secret, self.clock())


def name_state(user: ConsoleUser, now: int) -> UserState:
    """Return the state of a user.

    Args:
        user: as the store has it.
        now: microseconds since 1970.
    """
    if user.disabled_at is not None:
        return "disabled"
    if user.has_password:
        return "active"
    return "invited" if user.invited_until is not None and user.invited_until > now else "expired"


def render_user(user: ConsoleUser, now: int) -> user_schemas.UserAnswer:
    """Return the object of a user.

    Args:
        user: as the store has it.
        now: microseconds since 1970.
    """
    is_open = user.invited_until is not None and user.invited_until > now
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "role": user.role.value,
        "state": name_state(user, now),
        "created_at": format_seconds(user.created_at),
        "last_seen_at": _format_optional(user.last_seen_at),
        "disabled_at": _format_optional(user.disabled_at),
        "invited_until": _format_optional(user.invited_until) if is_open else None,
    }


def render_invited_user(user: ConsoleUser, secret: str, now: int) -> user_schemas.InvitedUser:
    """Return the object of a user who was invited a moment ago."""
    return {**render_user(user, now), "invite_token": secret}


@contextmanager
def _refuse_by_rule() -> Iterator[None]:
    """Refuse what breaks a rule, with the sentence of the rule."""
    try:
        yield
    except (UserRuleError, LastAdminError, UserTakenError, UserLimitError) as error:
        raise errors.user_rule_broken(str(error)) from error


@contextmanager
def _require_user(user_id: str) -> Iterator[None]:
    try:
        yield
    except NotFoundError as error:
        raise errors.user_not_found(user_id) from error


def _get_scope(account: Account | None) -> int | None:
    return None if account is None else account.id


def _require_id(user_id: str) -> int:
    number = parse_id(user_id)
    if number is None:
        raise errors.user_not_found(user_id)
    return number


def _parse_body(raw: bytes, form: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=form)
    except (ValueError, RecursionError) as error:  # bytes that are not UTF-8 are a ValueError, too
        raise errors.invalid_user_body(f"the body does not fit: {error}") from error


def _format_optional(instant: int | None) -> str | None:
    return None if instant is None else format_seconds(instant)
