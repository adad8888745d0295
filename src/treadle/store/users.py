"""The repository of users: people who sign in to the console with an e-mail address and a password.

Passwords come here as records (`people.passwords`), and the secret of an invitation is kept as its
digest. What a change must leave is decided by a rule that the caller gives (`UserCheck`); it is
asked inside the transaction.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, delete, insert, select, update

from treadle.store.accounts import require_account
from treadle.store.database import StoreRepository, StoreTransaction
from treadle.store.errors import NotFoundError, UserLimitError, UserTakenError
from treadle.store.model import ConsoleRole, ConsoleUser
from treadle.store.schema import browser_sessions, users
from treadle.store.secrets import hash_token
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.text import digest_text

INVITE_US: Final = 7 * 24 * 3_600_000_000
"""How long an invitation can be accepted."""

USERS_MAX: Final = 200
"""Most users of an account, and most of the installation; disabled ones are among them."""

UserCheck = Callable[[Sequence[ConsoleUser], Sequence[ConsoleUser]], None]
"""Raises where a change of users, from the first to the second, is not to be made."""

_NOT_READ: Final = ("email_sha256", "password", "invite_sha256")


class UserRepository(StoreRepository):
    """Users, their invitations and passwords. An account of None stands for any."""

    def add_user(
        self,
        account_id: int | None,
        name: str,
        email: str,
        role: ConsoleRole,
        check: UserCheck,
    ) -> tuple[ConsoleUser, str]:
        """Add a user, who is invited.

        Args:
            account_id: the account that it opens; None for all of the installation.
            name: for people.
            email: to sign in with, unlike those of all other users.
            role: what it may do.
            check: may refuse the change.

        Returns:
            The user and the secret of the invitation, which cannot be read again.

        Raises:
            NotFoundError: no such account.
            UserTakenError: another user has the address.
            UserLimitError: there are as many as there may be.
        """
        with self._database.change() as tx:
            if account_id is not None:
                require_account(tx, account_id)
            before = _list_users(tx, _is_of_scope(account_id))
            taken = select(users.c.id).where(users.c.email_sha256 == digest_address(email))
            if tx.connection.execute(taken).one_or_none() is not None:
                raise UserTakenError
            if len(before) >= USERS_MAX:
                raise UserLimitError(USERS_MAX)
            secret = tx.mint("")
            row = tx.connection.execute(
                insert(users)
                .values(
                    account_id=account_id,
                    name=name,
                    email=email,
                    email_sha256=digest_address(email),
                    role=role.value,
                    created_at=tx.now,
                    invite_sha256=hash_token(secret),
                    invited_until=tx.now + INVITE_US,
                )
                .returning(users)
            ).one()
            made = _read_user(row)
            check(before, [*before, made])
            _record(tx, TrailAction.ADD_USER, made, {"name": name, "role": role.value})
            return made, secret

    def list_users(self, account_id: int | None) -> list[ConsoleUser]:
        """Return the users of an account, or of all with those of the installation, by id."""
        with self._database.read() as tx:
            return _list_users(tx, _is_inside(account_id))

    def list_installation_admins(self) -> list[ConsoleUser]:
        """Return the users who see all accounts, by id."""
        with self._database.read() as tx:
            return _list_users(tx, users.c.account_id.is_(None))

    def find_user(self, account_id: int | None, user_id: int) -> ConsoleUser | None:
        """Return a user of an account, or of any; None where there is none."""
        with self._database.read() as tx:
            row = _find_row(tx, account_id, user_id)
            return None if row is None else _read_user(row)

    def find_login(self, email: str) -> tuple[ConsoleUser, str | None] | None:
        """Return the user with an address, and the record of the password; None for no such user.

        The record is None for one who is disabled, or has no password yet.
        """
        query = select(users).where(users.c.email_sha256 == digest_address(email))
        with self._database.read() as tx:
            row = tx.connection.execute(query).one_or_none()
            if row is None:
                return None
            return _read_user(row), None if row.disabled_at is not None else row.password

    def find_any_password(self) -> bool:
        """Return whether somebody can sign in by a password at all."""
        query = select(users.c.id).where(users.c.password.is_not(None)).limit(1)
        with self._database.read() as tx:
            return tx.connection.execute(query).one_or_none() is not None

    def change_role(
        self, account_id: int | None, user_id: int, role: ConsoleRole, check: UserCheck
    ) -> ConsoleUser:
        """Give a user another role, which ends its sessions.

        Raises:
            NotFoundError: the account has no such user.
        """
        with self._database.change() as tx:
            row = _require_row(tx, account_id, user_id)
            found = _read_user(row)
            if found.role == role:
                return found
            changed = _change_user(tx, row, check, role=role.value)
            ended = _end_sessions(tx, user_id)
            detail = {"before": {"role": found.role.value}, "after": {"role": role.value}}
            _record(tx, TrailAction.CHANGE_ROLE, changed, {**detail, "sessions_ended": ended})
            return changed

    def set_disabled(
        self, account_id: int | None, user_id: int, check: UserCheck, *, disabled: bool
    ) -> ConsoleUser:
        """Disable or enable a user. Its sessions end when it is disabled.

        Raises:
            NotFoundError: the account has no such user.
        """
        with self._database.change() as tx:
            row = _require_row(tx, account_id, user_id)
            found = _read_user(row)
            if (found.disabled_at is not None) == disabled:
                return found
            changed = _change_user(tx, row, check, disabled_at=tx.now if disabled else None)
            if disabled:
                ended = _end_sessions(tx, user_id)
                _record(tx, TrailAction.DISABLE_USER, changed, {"sessions_ended": ended})
            else:
                _record(tx, TrailAction.ENABLE_USER, changed, {})
            return changed

    def delete_user(self, account_id: int | None, user_id: int, check: UserCheck) -> ConsoleUser:
        """Delete a user with its sessions; the trail keeps what it did.

        Raises:
            NotFoundError: the account has no such user.
        """
        with self._database.change() as tx:
            row = _require_row(tx, account_id, user_id)
            found = _read_user(row)
            before = _list_users(tx, _is_of_scope(found.account_id))
            check(before, [one for one in before if one.id != user_id])
            ended = _end_sessions(tx, user_id)
            tx.connection.execute(delete(users).where(users.c.id == user_id))
            _record(tx, TrailAction.DELETE_USER, found, {"sessions_ended": ended})
            return found

    # Invitations and passwords --------------------------------------------------------------------

    def renew_invite(self, account_id: int | None, user_id: int) -> tuple[ConsoleUser, str]:
        """Make another invitation, for a new password too; the former one is worth nothing then.

        Raises:
            NotFoundError: the account has no such user, or it is disabled.
        """
        with self._database.change() as tx:
            row = _require_row(tx, account_id, user_id)
            if row.disabled_at is not None:
                raise NotFoundError(f"user {user_id} is disabled")
            secret = tx.mint("")
            changed = _update_row(
                tx, user_id, invite_sha256=hash_token(secret), invited_until=tx.now + INVITE_US
            )
            _record(tx, TrailAction.INVITE_USER, changed, {})
            return changed, secret

    def find_invite(self, secret: str) -> ConsoleUser | None:
        """Return whom an invitation is for; None for one that is unknown, used or too old."""
        with self._database.read() as tx:
            row = _find_invited(tx, secret)
            return None if row is None else _read_user(row)

    def accept_invite(self, secret: str, record: str) -> ConsoleUser | None:
        """Set the first or another password of who was invited; the former sessions end.

        Of several calls with one secret, one succeeds.

        Args:
            secret: of the invitation.
            record: of the password.

        Returns:
            The user; None as `find_invite`.
        """
        if self.find_invite(secret) is None:
            return None  # before the store is locked, so that no stranger can lock it
        with self._database.change() as tx:
            row = _find_invited(tx, secret)
            if row is None:
                return None
            changed = _update_row(
                tx, row.id, invite_sha256=None, invited_until=None, password=record
            )
            ended = _end_sessions(tx, row.id)
            _record(tx, TrailAction.ACCEPT_INVITE, changed, {"sessions_ended": ended})
            return changed

    def set_password(self, user_id: int, record: str, kept_session: int | None) -> ConsoleUser:
        """Set another password of a user, which ends all its sessions but one.

        Raises:
            NotFoundError: no such user.
        """
        with self._database.change() as tx:
            _require_row(tx, None, user_id)
            changed = _update_row(tx, user_id, password=record)
            ended = _end_sessions(tx, user_id, but=kept_session)
            _record(tx, TrailAction.SET_PASSWORD, changed, {"sessions_ended": ended})
            return changed


def digest_address(email: str) -> bytes:
    """Return the digest of an address: upper and lower case are one, as in all mail in practice."""
    return digest_text(email.strip().casefold())


def _is_inside(account_id: int | None) -> ColumnElement[bool] | None:
    """Return the condition that a user belongs to an account; None for any."""
    return None if account_id is None else users.c.account_id == account_id


def _is_of_scope(account_id: int | None) -> ColumnElement[bool]:
    """Return the condition that a user is among those of an account, or of the installation."""
    if account_id is None:
        return users.c.account_id.is_(None)
    return users.c.account_id == account_id


def _list_users(tx: StoreTransaction, where: ColumnElement[bool] | None) -> list[ConsoleUser]:
    query = select(users).order_by(users.c.id)
    if where is not None:
        query = query.where(where)
    return [_read_user(row) for row in tx.connection.execute(query)]


def _find_row(tx: StoreTransaction, account_id: int | None, user_id: int) -> Row[Any] | None:
    query = select(users).where(users.c.id == user_id)
    where = _is_inside(account_id)
    return tx.connection.execute(query if where is None else query.where(where)).one_or_none()


def _require_row(tx: StoreTransaction, account_id: int | None, user_id: int) -> Row[Any]:
    row = _find_row(tx, account_id, user_id)
    if row is None:
        raise NotFoundError(f"there is no user {user_id}")
    return row


def _find_invited(tx: StoreTransaction, secret: str) -> Row[Any] | None:
    return tx.connection.execute(
        select(users).where(
            users.c.invite_sha256 == hash_token(secret),
            users.c.invited_until > tx.now,
            users.c.disabled_at.is_(None),
        )
    ).one_or_none()


def _change_user(
    tx: StoreTransaction, row: Row[Any], check: UserCheck, **values: Any
) -> ConsoleUser:
    """Change a user where the check has nothing against it."""
    before = _list_users(tx, _is_of_scope(row.account_id))
    changed = _update_row(tx, row.id, **values)
    check(before, [changed if one.id == changed.id else one for one in before])
    return changed


def _update_row(tx: StoreTransaction, user_id: int, **values: Any) -> ConsoleUser:
    query = update(users).where(users.c.id == user_id).values(**values).returning(users)
    return _read_user(tx.connection.execute(query).one())


def _end_sessions(tx: StoreTransaction, user_id: int, but: int | None = None) -> int:
    """End the sessions of a user, but for one; return how many."""
    query = delete(browser_sessions).where(browser_sessions.c.user_id == user_id)
    if but is not None:
        query = query.where(browser_sessions.c.id != but)
    return tx.connection.execute(query).rowcount


def _read_user(row: Row[Any]) -> ConsoleUser:
    values = {name: value for name, value in row._mapping.items() if name not in _NOT_READ}
    made = ConsoleUser(**values, has_password=row.password is not None)
    return replace(made, role=ConsoleRole(row.role))


def _record(
    tx: StoreTransaction, action: TrailAction, user: ConsoleUser, detail: dict[str, Any]
) -> None:
    tx.record(
        action,
        TrailTarget(TargetKind.USER, user.id, user.email),
        account_id=user.account_id,
        detail=detail,
    )
