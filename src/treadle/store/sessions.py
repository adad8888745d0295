"""The repository of sessions of the console, and of the tokens that open them once.

An account token makes an ephemeral token (connect-api.md 2.3). A browser exchanges that for a
session, whose secret is a cookie. The store has digests alone. All of it ends when the account
token ends.
"""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, RowMapping, and_, delete, func, insert, select, update

from treadle.store.database import BOOKKEEPING, StoreRepository, StoreTransaction
from treadle.store.errors import EphemeralTokenLimitError, NotFoundError
from treadle.store.model import Account, BrowserSession, ConsoleRole
from treadle.store.schema import (
    access_tokens,
    accounts,
    browser_sessions,
    ephemeral_tokens,
    left_guides,
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
        browser_sessions.c.role,
        browser_sessions.c.opened_from,
        browser_sessions.c.created_at,
        browser_sessions.c.expires_at,
        browser_sessions.c.last_seen_at,
        accounts.c.id.label("account_id"),
        accounts.c.name,
        accounts.c.created_at.label("account_created_at"),
        accounts.c.destination_id,
    )
    .join(accounts, accounts.c.id == browser_sessions.c.account_id)
    .join(access_tokens, access_tokens.c.id == browser_sessions.c.token_id)
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

    def open_session(self, secret: str, address: str) -> tuple[BrowserSession, str] | None:
        """Exchange an ephemeral token for a session.

        Of several calls with one token, one gets a session, whatever processes they are in.

        Args:
            secret: the ephemeral token.
            address: of the client.

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
            return _open(
                tx, row.account_id, row.token_id, row.role, address, {"ephemeral_token_id": row.id}
            )

    def open_session_of_token(
        self, token_id: int, role: ConsoleRole, address: str
    ) -> tuple[BrowserSession, str] | None:
        """Open a session for who has an account token.

        Args:
            token_id: the account token, which was shown.
            role: of the session.
            address: of the client.

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
            return _open(tx, account_id, token_id, role.value, address, {})

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
            self._note_use(row["id"])
        return _read_session(row)

    def list_open_sessions(self, session_ids: Collection[int]) -> set[int]:
        """Return those of some sessions that go on, without a note that they are used."""
        query = (
            select(browser_sessions.c.id)
            .join(access_tokens, access_tokens.c.id == browser_sessions.c.token_id)
            .where(browser_sessions.c.id.in_(session_ids))
        )
        with self._database.read() as tx:
            return set(tx.connection.execute(query.where(_goes_on(tx.now))).scalars())

    def _note_use(self, session_id: int) -> None:
        with self._database.write() as tx:
            tx.connection.execute(
                update(browser_sessions)
                .where(browser_sessions.c.id == session_id)
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
    """Return the condition under which a session, joined with its account token, is not ended."""
    return and_(
        browser_sessions.c.expires_at > now,
        browser_sessions.c.last_seen_at > now - IDLE_US,
        is_active(now),
    )


def _open(
    tx: StoreTransaction,
    account_id: int,
    token_id: int,
    role: str,
    address: str,
    detail: dict[str, Any],
) -> tuple[BrowserSession, str]:
    """Insert a session and record it; return it with its secret."""
    secret = tx.mint("")
    made = _add_session(tx, account_id, token_id, role, secret, address)
    tx.record(
        TrailAction.OPEN_SESSION,
        TrailTarget(TargetKind.SESSION, made),
        account_id=account_id,
        detail={**detail, "role": role},
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


def _add_session(
    tx: StoreTransaction, account_id: int, token_id: int, role: str, secret: str, address: str
) -> int:
    """Insert a session and return its id; the oldest of the account gives way to it."""
    tx.connection.execute(delete(browser_sessions).where(browser_sessions.c.expires_at <= tx.now))
    present = tx.connection.execute(
        select(browser_sessions.c.id)
        .where(browser_sessions.c.account_id == account_id)
        .order_by(browser_sessions.c.id.desc())
        .offset(SESSIONS_MAX - 1)
    ).scalars()
    surplus = list(present)
    if surplus:
        tx.connection.execute(delete(browser_sessions).where(browser_sessions.c.id.in_(surplus)))
    made: int = tx.connection.execute(
        insert(browser_sessions)
        .values(
            sha256=hash_token(secret),
            account_id=account_id,
            token_id=token_id,
            role=role,
            opened_from=address,
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
    )
