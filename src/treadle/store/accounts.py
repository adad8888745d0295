"""Accounts and their Connect API tokens."""

from typing import Any, Final

from sqlalchemy import Row, func, insert, select, update

from treadle.store.database import StoreTransaction
from treadle.store.errors import AccountTakenError, NotFoundError
from treadle.store.model import Account, AccountToken
from treadle.store.schema import account_tokens, accounts
from treadle.store.secrets import hash_token

ACCOUNT_TOKEN_PREFIX: Final = "ac_"  # noqa: S105 - how tokens begin (connect-api.md 1.3)


def create(tx: StoreTransaction, name: str, client_id: int | None) -> tuple[Account, str]:
    """Make an account with its first token; see `Store.create_account`."""
    if client_id is None:
        greatest = tx.connection.execute(select(func.max(accounts.c.id))).scalar_one()
        client_id = (greatest or 0) + 1
    elif find(tx, client_id) is not None:
        raise AccountTakenError(f"the client id {client_id} belongs to an account already")
    elif client_id < 1:
        raise AccountTakenError(
            f"the client id {client_id} cannot be used: it must be 1 or greater"
        )
    account = Account(client_id, name, tx.now, None)
    tx.connection.execute(
        insert(accounts).values(id=account.id, name=name, created_at=tx.now, destination_id=None)
    )
    return account, create_token(tx, account.id, "")


def find(tx: StoreTransaction, account_id: int) -> Account | None:
    """One account."""
    row = tx.connection.execute(select(accounts).where(accounts.c.id == account_id)).one_or_none()
    return None if row is None else _account(row)


def every(tx: StoreTransaction) -> list[Account]:
    """All accounts, ascending id."""
    rows = tx.connection.execute(select(accounts).order_by(accounts.c.id))
    return [_account(row) for row in rows]


def by_token(tx: StoreTransaction, token: str) -> Account | None:
    """Whose token this is; None for an unknown or disabled one."""
    row = tx.connection.execute(
        select(accounts)
        .join(account_tokens, account_tokens.c.account_id == accounts.c.id)
        .where(account_tokens.c.sha256 == hash_token(token), account_tokens.c.disabled_at.is_(None))
    ).one_or_none()
    return None if row is None else _account(row)


def create_token(tx: StoreTransaction, account_id: int, description: str) -> str:
    """Make a token; only its hash is kept."""
    if find(tx, account_id) is None:
        raise NotFoundError(f"there is no account {account_id}")
    token = tx.mint(ACCOUNT_TOKEN_PREFIX)
    tx.connection.execute(
        insert(account_tokens).values(
            account_id=account_id,
            sha256=hash_token(token),
            last_four=token[-4:],
            description=description,
            created_at=tx.now,
            disabled_at=None,
        )
    )
    return token


def tokens(tx: StoreTransaction, account_id: int) -> list[AccountToken]:
    """The account's tokens, ascending id."""
    rows = tx.connection.execute(
        select(account_tokens)
        .where(account_tokens.c.account_id == account_id)
        .order_by(account_tokens.c.id)
    )
    return [
        AccountToken(
            id=row.id,
            account_id=row.account_id,
            last_four=row.last_four,
            description=row.description,
            created_at=row.created_at,
            disabled_at=row.disabled_at,
        )
        for row in rows
    ]


def disable_token(tx: StoreTransaction, account_id: int, token_id: int) -> None:
    """Disable a token; see `Store.disable_account_token`."""
    found = tx.connection.execute(
        update(account_tokens)
        .where(account_tokens.c.id == token_id, account_tokens.c.account_id == account_id)
        .values(disabled_at=func.coalesce(account_tokens.c.disabled_at, tx.now))
    )
    if found.rowcount == 0:
        raise NotFoundError(f"account {account_id} has no token {token_id}")


def _account(row: Row[Any]) -> Account:
    return Account(
        id=row.id, name=row.name, created_at=row.created_at, destination_id=row.destination_id
    )
