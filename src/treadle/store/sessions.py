"""The repository of sessions of the console, and of the tokens that open them once.

An account token makes an ephemeral token (connect-api.md 2.3). A browser exchanges that for a
session, whose secret is a cookie. The store has digests alone. All of it ends when the account
token ends. A session of a user ends when the user is disabled or deleted.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Row,
    RowMapping,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from treadle.store.database import BOOKKEEPING, StoreRepository, StoreTransaction
from treadle.store.errors import EphemeralTokenLimitError, NotFoundError
from treadle.store.model import Account, BrowserSession, ConsoleRole
from treadle.store.schema import (
    access_tokens,
    accounts,
    browser_sessions,
    ephemeral_tokens,
    left_guides,
    users,
)
from treadle.store.secrets import hash_token
from treadle.store.token_rows import is_active
from treadle.store.token_rules import ACCOUNT
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

HOUR_US: Final = 60 * 60 * 1_000_000

EPHEMERAL_TOKEN_US: Final = HOUR_US
"""How long an ephemeral token can be exchanged (connect-api.md 1.3)."""

SESSION_US: Final = 12 * HOUR_US
"""How long a session lasts (connect-api.md 1.3)."""

IDLE_US: Final = 2 * HOUR_US
"""How long a session lasts without a request of it (console.md B.9)."""

SEEN_US: Final = 60 * 1_000_000
"""Least time between two notes that a session was used."""

UNUSED_TOKENS_MAX: Final = 100
"""Most ephemeral tokens of an account that wait for their exchange."""

SESSIONS_MAX: Final = 100
"""Most sessions of an account. One more ends the oldest one."""

_sessions = (
    select(
        browser_sessions.c.id,
        browser_sessions.c.token_id,
        browser_sessions.c.user_id,
        browser_sessions.c.role,
        browser_sessions.c.opened_from,
        browser_sessions.c.device,
        browser_sessions.c.created_at,
        browser_sessions.c.expires_at,
        browser_sessions.c.last_seen_at,
        accounts.c.id.label("account_id"),
        accounts.c.name,
        accounts.c.created_at.label("account_created_at"),
        accounts.c.destination_id,
        users.c.name.label("user_name"),
        users.c.account_id.label("user_account_id"),
    )
    .join(
        accounts,
        and_(accounts.c.id == browser_sessions.c.account_id, accounts.c.deleted_at.is_(None)),
    )
    .outerjoin(access_tokens, access_tokens.c.id == browser_sessions.c.token_id)
    .outerjoin(users, users.c.id == browser_sessions.c.user_id)
)


class SessionRepository(StoreRepository):
    """Sessions of the console, and the tokens that open them."""

    def issue_ephemeral_token(
        self, account_id: int, token_id: int, role: ConsoleRole = ConsoleRole.OPERATOR
    ) -> str:
        """Make a token that opens a session of an account once, within an hour; return it.

        Args:
            account_id: the account.
            token_id: the account token that asks for it.
            role: of the session.

        Raises:
            NotFoundError: the account token has ended.
            EphemeralTokenLimitError: the account has as many unused ones as it may have.
        """
        with self._database.change() as tx:
            _require_account_token(tx, account_id, token_id)
            tx.connection.execute(
                delete(ephemeral_tokens).where(ephemeral_tokens.c.expires_at <= tx.now)
            )
            _check_unused(tx, account_id)
            secret = tx.mint("")
            made = tx.connection.execute(
                insert(ephemeral_tokens)
                .values(
                    sha256=hash_token(secret),
                    account_id=account_id,
                    token_id=token_id,
                    created_at=tx.now,
                    expires_at=tx.now + EPHEMERAL_TOKEN_US,
                    role=role.value,
                )
                .returning(ephemeral_tokens.c.id)
            ).scalar_one()
            tx.record(
                TrailAction.CREATE_EPHEMERAL_TOKEN,
                TrailTarget(TargetKind.EPHEMERAL_TOKEN, made),
                account_id=account_id,
            )
            return secret

    def issue_link_token(self, account_id: int, role: ConsoleRole) -> str:
        """Make an ephemeral token for whoever has the data folder, as `issue_ephemeral_token`.

        Its session ends with the oldest active account token of the account.

        Raises:
            NotFoundError: the account has no active token.
            EphemeralTokenLimitError: see `issue_ephemeral_token`.
        """
        query = select(func.min(access_tokens.c.id)).where(
            access_tokens.c.account_id == account_id, access_tokens.c.kind == ACCOUNT
        )
        with self._database.read() as tx:
            token_id = tx.connection.execute(query.where(is_active(tx.now))).scalar_one()
        if token_id is None:
            raise NotFoundError(f"there is no active token of account {account_id}")
        return self.issue_ephemeral_token(account_id, token_id, role)

    def find_ephemeral_token(self, secret: str) -> int | None:
        """Return the id of the account token that made an ephemeral token.

        Returns:
            None for a token that is unknown, was used, is too old, or whose account token ended.
        """
        with self._database.read() as tx:
            row = _find_unused(tx, secret)
            return None if row is None else row.token_id

    def open_session(
        self, secret: str, address: str, device: str = ""
    ) -> tuple[BrowserSession, str] | None:
        """Exchange an ephemeral token for a session.

        Of several calls with one token, one gets a session, whatever processes they are in.

        Args:
            secret: the ephemeral token.
            address: of the client.
            device: browser and system, for people.

        Returns:
            The session and its secret, which cannot be read again; None as `find_ephemeral_token`.
        """
        with self._database.read() as tx:
            if _find_unused(tx, secret) is None:
                return None  # before the store is locked, so that no stranger can lock it
        with self._database.change() as tx:
            row = _find_unused(tx, secret)
            if row is None:
                return None
            tx.connection.execute(
                update(ephemeral_tokens)
                .where(ephemeral_tokens.c.id == row.id)
                .values(used_at=tx.now)
            )
            asked = {"account_id": row.account_id, "token_id": row.token_id, "role": row.role}
            asked |= {"opened_from": address, "device": device}
            return _open(tx, asked, {"ephemeral_token_id": row.id})

    def open_session_of_token(
        self, token_id: int, role: ConsoleRole, address: str, device: str = ""
    ) -> tuple[BrowserSession, str] | None:
        """Open a session for who has an account token.

        Args:
            token_id: the account token, which was shown.
            role: of the session.
            address: of the client.
            device: browser and system, for people.

        Returns:
            The session and its secret, which cannot be read again; None where the token has ended.
        """
        with self._database.change() as tx:
            query = select(access_tokens.c.account_id).where(
                access_tokens.c.id == token_id, access_tokens.c.kind == ACCOUNT, is_active(tx.now)
            )
            account_id = tx.connection.execute(query).scalar_one_or_none()
            if account_id is None:
                return None
            asked = {"account_id": account_id, "token_id": token_id, "role": role.value}
            return _open(tx, asked | {"opened_from": address, "device": device}, {})

    def open_session_of_user(
        self, user_id: int, address: str, device: str = ""
    ) -> tuple[BrowserSession, str] | None:
        """Open a session for a user, who has shown the password.

        An admin of the installation begins in its first account.

        Args:
            user_id: the user.
            address: of the client.
            device: browser and system, for people.

        Returns:
            The session and its secret, which cannot be read again; None where the user is disabled
            or deleted, or where there is no account.
        """
        with self._database.change() as tx:
            row = tx.connection.execute(
                select(users).where(users.c.id == user_id, users.c.disabled_at.is_(None))
            ).one_or_none()
            if row is None:
                return None
            account_id = row.account_id
            if account_id is None:
                account_id = tx.connection.execute(
                    select(func.min(accounts.c.id)).where(accounts.c.deleted_at.is_(None))
                ).scalar_one()
            known = select(accounts.c.id).where(
                accounts.c.id == account_id, accounts.c.deleted_at.is_(None)
            )
            if account_id is None or tx.connection.execute(known).one_or_none() is None:
                return None
            asked = {"account_id": account_id, "user_id": user_id, "role": row.role}
            return _open(tx, asked | {"opened_from": address, "device": device}, {})

    def switch_account(self, session: BrowserSession, account_id: int) -> bool:
        """Let a session go over to another account; return whether it may and there is one."""
        with self._database.change() as tx:
            known = select(accounts.c.id).where(
                accounts.c.id == account_id, accounts.c.deleted_at.is_(None)
            )
            seer = select(users.c.id).where(
                users.c.id == session.user_id,
                users.c.account_id.is_(None),
                users.c.disabled_at.is_(None),
            )
            if tx.connection.execute(known).one_or_none() is None:
                return False
            if tx.connection.execute(seer).one_or_none() is None:
                return False
            tx.connection.execute(
                update(browser_sessions)
                .where(browser_sessions.c.id == session.id)
                .values(account_id=account_id)
            )
            tx.record(
                TrailAction.SWITCH_ACCOUNT,
                TrailTarget(TargetKind.SESSION, session.id),
                account_id=account_id,
                detail={"before": session.account.id, "after": account_id},
            )
            return True

    def find_session(self, secret: str, *, notes_use: bool = True) -> BrowserSession | None:
        """Return a session.

        Args:
            secret: of the session.
            notes_use: note that it is used, so that it goes on.

        Returns:
            None for one that is unknown, has ended, or whose account token has.
        """
        query = _sessions.where(browser_sessions.c.sha256 == hash_token(secret))
        with self._database.read() as tx:
            active = query.where(_goes_on(tx.now))
            row = tx.connection.execute(active).mappings().one_or_none()
        if row is None:
            return None
        if notes_use and tx.now - row["last_seen_at"] >= SEEN_US:
            self._note_use(row["id"], row["user_id"])
        return _read_session(row)

    def list_sessions(
        self, account_id: int | None, user_id: int | None = None, limit: int = SESSIONS_MAX
    ) -> list[BrowserSession]:
        """Return sessions that go on, newest first.

        Args:
            account_id: only those that open this account; None for any.
            user_id: only those of this user; None for any, those of account tokens too.
            limit: how many at most.
        """
        query = _sessions.order_by(browser_sessions.c.id.desc()).limit(limit)
        if account_id is not None:
            query = query.where(browser_sessions.c.account_id == account_id)
        if user_id is not None:
            query = query.where(browser_sessions.c.user_id == user_id)
        with self._database.read() as tx:
            rows = tx.connection.execute(query.where(_goes_on(tx.now))).mappings()
            return [_read_session(row) for row in rows]

    def get_session(self, session_id: int) -> BrowserSession | None:
        """Return a session by its id; None for one that is unknown or has ended."""
        query = _sessions.where(browser_sessions.c.id == session_id)
        with self._database.read() as tx:
            row = tx.connection.execute(query.where(_goes_on(tx.now))).mappings().one_or_none()
            return None if row is None else _read_session(row)

    def list_open_sessions(self, session_ids: Collection[int]) -> set[int]:
        """Return those of some sessions that go on, without a note that they are used."""
        query = _sessions.where(browser_sessions.c.id.in_(session_ids))
        with self._database.read() as tx:
            return set(tx.connection.execute(query.where(_goes_on(tx.now))).scalars())

    def _note_use(self, session_id: int, user_id: int | None) -> None:
        with self._database.write() as tx:
            tx.connection.execute(
                update(browser_sessions)
                .where(browser_sessions.c.id == session_id)
                .values(last_seen_at=tx.now)
                .execution_options(**BOOKKEEPING)
            )
            if user_id is not None:
                tx.connection.execute(
                    update(users)
                    .where(users.c.id == user_id)
                    .values(last_seen_at=tx.now)
                    .execution_options(**BOOKKEEPING)
                )

    def find_left_guide(self, account_id: int) -> int | None:
        """Return when somebody of an account put the guide of the console away; None before."""
        query = select(left_guides.c.left_at).where(left_guides.c.account_id == account_id)
        with self._database.read() as tx:
            found: int | None = tx.connection.execute(query).scalar_one_or_none()
            return found

    def leave_guide(self, account_id: int) -> None:
        """Put the guide of the console away, for everybody of an account."""
        with self._database.change() as tx:
            tx.connection.execute(
                tx.insert(left_guides)
                .values(account_id=account_id, left_at=tx.now)
                .on_conflict_do_nothing()
            )
            tx.record(
                TrailAction.LEAVE_GUIDE,
                TrailTarget(TargetKind.ACCOUNT, account_id),
                account_id=account_id,
            )

    def end_session(self, session: BrowserSession) -> None:
        """End a session at once; one that ended already stays ended."""
        with self._database.change() as tx:
            tx.connection.execute(
                delete(browser_sessions).where(browser_sessions.c.id == session.id)
            )
            tx.record(
                TrailAction.END_SESSION,
                TrailTarget(TargetKind.SESSION, session.id),
                account_id=session.account.id,
            )


def _goes_on(now: int) -> ColumnElement[bool]:
    """Return the condition under which a session, joined with what it came from, is not ended."""
    return and_(
        browser_sessions.c.expires_at > now,
        browser_sessions.c.last_seen_at > now - IDLE_US,
        or_(
            and_(browser_sessions.c.token_id.is_not(None), is_active(now)),
            and_(browser_sessions.c.user_id.is_not(None), users.c.disabled_at.is_(None)),
        ),
    )


def _open(
    tx: StoreTransaction, asked: Mapping[str, Any], detail: dict[str, Any]
) -> tuple[BrowserSession, str]:
    """Insert a session and record it; return it with its secret.

    Args:
        tx: the transaction.
        asked: account, role, where it is opened, and the account token or the user.
        detail: what the event says more.
    """
    secret = tx.mint("")
    made = _add_session(tx, asked, secret)
    if asked.get("user_id") is not None:
        tx.connection.execute(
            update(users)
            .where(users.c.id == asked["user_id"])
            .values(last_seen_at=tx.now)
            .execution_options(**BOOKKEEPING)
        )
    tx.record(
        TrailAction.OPEN_SESSION,
        TrailTarget(TargetKind.SESSION, made),
        account_id=asked["account_id"],
        detail={**detail, "role": asked["role"]},
    )
    query = _sessions.where(browser_sessions.c.id == made)
    return _read_session(tx.connection.execute(query).mappings().one()), secret


def _require_account_token(tx: StoreTransaction, account_id: int, token_id: int) -> None:
    found = tx.connection.execute(
        select(access_tokens.c.id).where(
            access_tokens.c.id == token_id,
            access_tokens.c.account_id == account_id,
            access_tokens.c.kind == ACCOUNT,
            is_active(tx.now),
        )
    ).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no active token {token_id} of account {account_id}")


def _check_unused(tx: StoreTransaction, account_id: int) -> None:
    query = (
        select(func.count())
        .select_from(ephemeral_tokens)
        .where(ephemeral_tokens.c.account_id == account_id, ephemeral_tokens.c.used_at.is_(None))
    )
    if tx.connection.execute(query).scalar_one() >= UNUSED_TOKENS_MAX:
        raise EphemeralTokenLimitError(UNUSED_TOKENS_MAX)


def _find_unused(tx: StoreTransaction, secret: str) -> Row[Any] | None:
    return tx.connection.execute(
        select(ephemeral_tokens)
        .join(access_tokens, access_tokens.c.id == ephemeral_tokens.c.token_id)
        .where(
            ephemeral_tokens.c.sha256 == hash_token(secret),
            ephemeral_tokens.c.used_at.is_(None),
            ephemeral_tokens.c.expires_at > tx.now,
            is_active(tx.now),
        )
    ).one_or_none()


def _add_session(tx: StoreTransaction, asked: Mapping[str, Any], secret: str) -> int:
    """Insert a session and return its id; the oldest of the account gives way to it."""
    tx.connection.execute(delete(browser_sessions).where(browser_sessions.c.expires_at <= tx.now))
    present = tx.connection.execute(
        select(browser_sessions.c.id)
        .where(browser_sessions.c.account_id == asked["account_id"])
        .order_by(browser_sessions.c.id.desc())
        .offset(SESSIONS_MAX - 1)
    ).scalars()
    surplus = list(present)
    if surplus:
        tx.connection.execute(delete(browser_sessions).where(browser_sessions.c.id.in_(surplus)))
    made: int = tx.connection.execute(
        insert(browser_sessions)
        .values(
            **asked,
            sha256=hash_token(secret),
            created_at=tx.now,
            expires_at=tx.now + SESSION_US,
            last_seen_at=tx.now,
        )
        .returning(browser_sessions.c.id)
    ).scalar_one()
    return made


def _read_session(row: RowMapping) -> BrowserSession:
    return BrowserSession(
        id=row["id"],
        account=Account(
            row["account_id"], row["name"], row["account_created_at"], row["destination_id"]
        ),
        token_id=row["token_id"],
        role=ConsoleRole(row["role"]),
        opened_from=row["opened_from"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        user_id=row["user_id"],
        user_name=row["user_name"] or "",
        sees_all=row["user_id"] is not None and row["user_account_id"] is None,
        device=row["device"],
        last_seen_at=row["last_seen_at"],
    )
