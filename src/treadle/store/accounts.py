"""The repository of accounts; their tokens are in `tokens`."""

from dataclasses import replace
from typing import Final

from sqlalchemy import ColumnElement, delete, func, insert, select, update

from treadle.store.database import BOOKKEEPING, StoreRepository, StoreTransaction
from treadle.store.destinations import delete_destinations_of, with_shared_destination
from treadle.store.errors import (
    AccountLimitError,
    AccountNeededError,
    AccountTakenError,
    NotFoundError,
    OwnerTakenError,
)
from treadle.store.model import Account, AccountOwner, TokenHolder
from treadle.store.schema import (
    access_tokens,
    account_owners,
    accounts,
    browser_sessions,
    ephemeral_tokens,
    hooks,
    recipients,
    sources,
    users,
)
from treadle.store.secrets import hash_token
from treadle.store.token_rows import add_token, is_active
from treadle.store.token_rules import ACCOUNT, PREFIXES, TokenRequest
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.text import digest_text

_ACCOUNT: Final = select(
    accounts.c.id, accounts.c.name, accounts.c.created_at, accounts.c.destination_id
)

_KEEPERS: Final = (
    ("source", sources.c.name, sources.c.account_id, sources.c.deleted_at),
    ("hook", hooks.c.id, hooks.c.account_id, hooks.c.disabled_at),
    ("recipient", recipients.c.address, recipients.c.account_id, recipients.c.disabled_at),
    ("user", users.c.email, users.c.account_id, users.c.disabled_at),
)
"""What keeps an account from being deleted: its kind, its name, whose it is, since when not."""


class AccountRepository(StoreRepository):
    """Accounts, and who has their tokens."""

    def create_account(
        self,
        name: str,
        *,
        client_id: int | None = None,
        secret: str | None = None,
        owner: AccountOwner | None = None,
        accounts_max: int = 0,
    ) -> tuple[Account, str]:
        """Create an account and its first Connect API token.

        The account gets the destination that all accounts before it share. The first account has
        none until the server gives it one.

        Args:
            name: for people.
            client_id: the id of the account, for a client that moves here and has an id in its
                pushes; None for the next free one. Ids begin with 1.
            secret: the token that it is to get; None for a new one.
            owner: for whom it is; None where that is not said.
            accounts_max: most accounts that there may be after this; 0 for no bound.

        Returns:
            The account and the token. The token cannot be read again later.

        Raises:
            AccountTakenError: another account has that id, or it is not positive.
            OwnerTakenError: another account has an owner with that address.
            AccountLimitError: there are as many accounts as there may be.
        """
        with self._database.change() as tx:
            if owner is not None:
                _check_owner(tx, owner)
            _check_room(tx, accounts_max)
            if client_id is None:
                greatest = tx.connection.execute(select(func.max(accounts.c.id))).scalar_one()
                client_id = (greatest or 0) + 1
            elif _is_known(tx, client_id):
                raise AccountTakenError(f"the client id {client_id} belongs to an account already")
            elif client_id < 1:
                raise AccountTakenError(
                    f"the client id {client_id} cannot be used: it must be 1 or greater"
                )
            account = Account(client_id, name, tx.now, None)
            tx.connection.execute(
                insert(accounts).values(
                    id=account.id, name=name, created_at=tx.now, destination_id=None
                )
            )
            if owner is not None:
                tx.connection.execute(
                    insert(account_owners).values(
                        account_id=account.id,
                        email=owner.email,
                        email_sha256=_digest_address(owner.email),
                        first_name=owner.first_name,
                        last_name=owner.last_name,
                        region=owner.region,
                    )
                )
            token = tx.mint(PREFIXES[ACCOUNT]) if secret is None else secret
            made = add_token(tx, TokenRequest(ACCOUNT), token, account_id=account.id)
            tx.record(
                TrailAction.CREATE_ACCOUNT,
                TrailTarget(TargetKind.ACCOUNT, account.id, name),
                account_id=account.id,
                detail={"token_id": made.id},
            )
            return with_shared_destination(tx, account), token

    def leave_ids_out(self, count: int) -> None:
        """Let the id of the next account be greater by a number than it would be.

        For a store that was restored: destinations know accounts that were made since. A schema
        there belongs to the account with its id, so no other account may ever have that.

        Args:
            count: of the ids that are not given. A deleted account without a name has the last one.
        """
        with self._database.change() as tx:
            greatest = tx.connection.execute(select(func.max(accounts.c.id))).scalar_one() or 0
            tx.connection.execute(
                insert(accounts).values(
                    id=greatest + count, name="", created_at=tx.now, deleted_at=tx.now
                ),
                execution_options=BOOKKEEPING,  # nobody's account; the restore has its own event
            )

    def list_accounts(self) -> list[Account]:
        """Return all accounts, by id."""
        with self._database.read() as tx:
            rows = tx.connection.execute(_ACCOUNT.where(_is_there()).order_by(accounts.c.id))
            return [Account(**row._mapping) for row in rows]

    def rename_account(self, account_id: int, name: str) -> Account:
        """Give an account another name for people; return it.

        Raises:
            NotFoundError: no such account.
        """
        with self._database.change() as tx:
            account = _get_account(tx, account_id)
            tx.connection.execute(
                update(accounts).where(accounts.c.id == account_id).values(name=name)
            )
            tx.record(
                TrailAction.RENAME_ACCOUNT,
                TrailTarget(TargetKind.ACCOUNT, account_id, name),
                account_id=account_id,
                detail={"before": {"name": account.name}, "after": {"name": name}},
            )
            return replace(account, name=name)

    def delete_account(self, account_id: int) -> Account:
        """Delete an account that owns nothing which works; return it as it was.

        Its tokens end, and so do its sessions. Users of it that are disabled are deleted, so that
        nobody enables them again. Its destinations are deleted as such, and their URLs forgotten;
        what is in them stays. Its id is not given again.

        Raises:
            NotFoundError: no such account.
            AccountNeededError: it has sources, hooks, recipients or users, or it is the only one.
        """
        with self._database.change() as tx:
            account = _get_account(tx, account_id)
            owned = [
                f"{kind} {name}"
                for kind, shown, owner, since in _KEEPERS
                for name in tx.connection.execute(
                    select(shown).where(owner == account_id, since.is_(None)).order_by(shown)
                ).scalars()
            ]
            if owned:
                raise AccountNeededError(account_id, owned)
            others = select(accounts.c.id).where(accounts.c.id != account_id, _is_there()).limit(1)
            if tx.connection.execute(others).one_or_none() is None:
                raise AccountNeededError(account_id, ())
            for statement in (
                update(access_tokens)
                .where(access_tokens.c.account_id == account_id)
                # Those of a deleted source stay: a push is told of it (connect-api.md 4.3).
                .where(access_tokens.c.kind == ACCOUNT, access_tokens.c.revoked_at.is_(None))
                .values(revoked_at=tx.now),
                delete(ephemeral_tokens).where(ephemeral_tokens.c.account_id == account_id),
                delete(browser_sessions).where(browser_sessions.c.account_id == account_id),
                # The address of its owner may have another account then.
                delete(account_owners).where(account_owners.c.account_id == account_id),
                update(accounts).where(accounts.c.id == account_id).values(deleted_at=tx.now),
            ):
                tx.connection.execute(statement)
            _delete_users(tx, account_id)
            delete_destinations_of(tx, account_id)
            tx.record(
                TrailAction.DELETE_ACCOUNT,
                TrailTarget(TargetKind.ACCOUNT, account_id, account.name),
                account_id=account_id,
            )
            return account

    def get_account_count(self) -> int:
        """Return how many accounts there are."""
        with self._database.read() as tx:
            count: int = tx.connection.execute(
                select(func.count()).select_from(accounts).where(_is_there())
            ).scalar_one()
        return count

    def find_owner(self, account_id: int) -> AccountOwner | None:
        """Return for whom a partner made an account; None where none is known."""
        query = select(account_owners).where(account_owners.c.account_id == account_id)
        with self._database.read() as tx:
            row = tx.connection.execute(query).one_or_none()
        if row is None:
            return None
        return AccountOwner(row.email, row.first_name, row.last_name, row.region)

    def find_account_by_token(self, token: str) -> Account | None:
        """Return the account of a Connect API token; None for an unknown or ended token."""
        holder = self.find_token_holder(token)
        return None if holder is None else holder.account

    def find_token_holder(self, token: str) -> TokenHolder | None:
        """Return who has a Connect API token; None for an unknown or ended token."""
        with self._database.read() as tx:
            row = tx.connection.execute(
                _ACCOUNT.add_columns(access_tokens.c.id.label("token_id"))
                .join(access_tokens, access_tokens.c.account_id == accounts.c.id)
                .where(
                    access_tokens.c.kind == ACCOUNT,
                    access_tokens.c.sha256 == hash_token(token),
                    is_active(tx.now),
                )
            ).one_or_none()
        if row is None:
            return None
        values = dict(row._mapping)
        return TokenHolder(token_id=values.pop("token_id"), account=Account(**values))


def _delete_users(tx: StoreTransaction, account_id: int) -> None:
    """Delete the users of an account, whose sessions have ended; the trail keeps what they did."""
    gone = tx.connection.execute(
        delete(users).where(users.c.account_id == account_id).returning(users.c.id, users.c.email)
    ).all()
    for row in gone:
        tx.record(
            TrailAction.DELETE_USER,
            TrailTarget(TargetKind.USER, row.id, row.email),
            account_id=account_id,
        )


def require_account(tx: StoreTransaction, account_id: int) -> None:
    """Check that an account exists.

    Raises:
        NotFoundError: no such account.
    """
    _get_account(tx, account_id)


def _get_account(tx: StoreTransaction, account_id: int) -> Account:
    row = tx.connection.execute(
        _ACCOUNT.where(accounts.c.id == account_id, _is_there())
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no account {account_id}")
    return Account(**row._mapping)


def _is_there() -> ColumnElement[bool]:
    """Return the condition that an account was not deleted."""
    return accounts.c.deleted_at.is_(None)


def _check_owner(tx: StoreTransaction, owner: AccountOwner) -> None:
    query = select(account_owners.c.account_id).where(
        account_owners.c.email_sha256 == _digest_address(owner.email)
    )
    if tx.connection.execute(query).one_or_none() is not None:
        raise OwnerTakenError("the owner has an account already")


def _check_room(tx: StoreTransaction, accounts_max: int) -> None:
    if accounts_max <= 0:
        return
    query = select(func.count()).select_from(accounts).where(_is_there())
    count = tx.connection.execute(query).scalar_one()
    if count >= accounts_max:
        raise AccountLimitError(accounts_max)


def _digest_address(email: str) -> bytes:
    """Return the digest of an address: upper and lower case are one, as in all mail in practice."""
    return digest_text(email.casefold())


def _is_known(tx: StoreTransaction, account_id: int) -> bool:
    query = select(accounts.c.id).where(accounts.c.id == account_id)
    return tx.connection.execute(query).one_or_none() is not None
