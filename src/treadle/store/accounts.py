"""The repository of accounts and their Connect API tokens."""

from typing import Final

from sqlalchemy import func, insert, select, update

from treadle.store.database import StoreRepository, StoreTransaction
from treadle.store.destinations import with_shared_destination
from treadle.store.errors import AccountTakenError, NotFoundError
from treadle.store.model import Account, AccountToken, TokenHolder
from treadle.store.schema import account_tokens, accounts
from treadle.store.secrets import hash_token
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

ACCOUNT_TOKEN_PREFIX: Final = "ac_"  # noqa: S105 - how tokens begin (connect-api.md 1.3)


class AccountRepository(StoreRepository):
    """Accounts and their Connect API tokens."""

    def create_account(self, name: str, *, client_id: int | None = None) -> tuple[Account, str]:
        """Create an account and its first Connect API token.

        The account gets the destination that all accounts before it share. The first account has
        none until the server gives it one.

        Args:
            name: for people.
            client_id: the id of the account, for a client that moves here and has an id in its
                pushes; None for the next free one. Ids begin with 1.

        Returns:
            The account and the token. The token cannot be read again later.

        Raises:
            AccountTakenError: another account has that id, or it is not positive.
        """
        with self._database.change() as tx:
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
            token_id, token = _add_token(tx, account.id, "")
            tx.record(
                TrailAction.CREATE_ACCOUNT,
                TrailTarget(TargetKind.ACCOUNT, account.id, name),
                account_id=account.id,
                detail={"token_id": token_id},
            )
            return with_shared_destination(tx, account), token

    def list_accounts(self) -> list[Account]:
        """Return all accounts, by id."""
        with self._database.read() as tx:
            rows = tx.connection.execute(select(accounts).order_by(accounts.c.id))
            return [Account(**row._mapping) for row in rows]

    def find_account_by_token(self, token: str) -> Account | None:
        """Return the account of a Connect API token; None for an unknown or disabled token."""
        holder = self.find_token_holder(token)
        return None if holder is None else holder.account

    def find_token_holder(self, token: str) -> TokenHolder | None:
        """Return who has a Connect API token; None for an unknown or disabled token."""
        with self._database.read() as tx:
            row = tx.connection.execute(
                select(accounts, account_tokens.c.id.label("token_id"))
                .join(account_tokens, account_tokens.c.account_id == accounts.c.id)
                .where(
                    account_tokens.c.sha256 == hash_token(token),
                    account_tokens.c.disabled_at.is_(None),
                )
            ).one_or_none()
        if row is None:
            return None
        values = dict(row._mapping)
        return TokenHolder(token_id=values.pop("token_id"), account=Account(**values))

    def create_token(self, account_id: int, description: str = "") -> str:
        """Create another Connect API token. Only its hash is kept, so it cannot be read again.

        Raises:
            NotFoundError: no such account.
        """
        with self._database.change() as tx:
            require_account(tx, account_id)
            token_id, token = _add_token(tx, account_id, description)
            tx.record(
                TrailAction.CREATE_ACCOUNT_TOKEN,
                TrailTarget(TargetKind.ACCOUNT_TOKEN, token_id, description or None),
                account_id=account_id,
            )
            return token

    def list_tokens(self, account_id: int) -> list[AccountToken]:
        """Return the Connect API tokens of an account by id, disabled ones too."""
        with self._database.read() as tx:
            rows = tx.connection.execute(
                select(*(column for column in account_tokens.c if column.name != "sha256"))
                .where(account_tokens.c.account_id == account_id)
                .order_by(account_tokens.c.id)
            )
            return [AccountToken(**row._mapping) for row in rows]

    def disable_token(self, account_id: int, token_id: int) -> None:
        """Disable a Connect API token; a second call changes nothing.

        Raises:
            NotFoundError: the account has no such token.
        """
        with self._database.change() as tx:
            found = tx.connection.execute(
                update(account_tokens)
                .where(account_tokens.c.id == token_id, account_tokens.c.account_id == account_id)
                .values(disabled_at=func.coalesce(account_tokens.c.disabled_at, tx.now))
            )
            if found.rowcount == 0:
                raise NotFoundError(f"account {account_id} has no token {token_id}")
            tx.record(
                TrailAction.REVOKE_ACCOUNT_TOKEN,
                TrailTarget(TargetKind.ACCOUNT_TOKEN, token_id),
                account_id=account_id,
            )


def require_account(tx: StoreTransaction, account_id: int) -> None:
    """Check that an account exists.

    Raises:
        NotFoundError: no such account.
    """
    if not _is_known(tx, account_id):
        raise NotFoundError(f"there is no account {account_id}")


def _is_known(tx: StoreTransaction, account_id: int) -> bool:
    query = select(accounts.c.id).where(accounts.c.id == account_id)
    return tx.connection.execute(query).one_or_none() is not None


def _add_token(tx: StoreTransaction, account_id: int, description: str) -> tuple[int, str]:
    """Insert a token; return its id and the token itself."""
    token = tx.mint(ACCOUNT_TOKEN_PREFIX)
    result = tx.connection.execute(
        insert(account_tokens)
        .values(
            account_id=account_id,
            sha256=hash_token(token),
            last_four=token[-4:],
            description=description,
            created_at=tx.now,
            disabled_at=None,
        )
        .returning(account_tokens.c.id)
    )
    token_id: int = result.scalar_one()
    return token_id, token
