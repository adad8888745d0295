"""Look-ups of the ids that paths of the Connect API name."""

import re
from typing import Final

from treadle.control import errors
from treadle.store.model import Account, Source
from treadle.store.store import Store

ID_MAX: Final = 2**63 - 1
"""Greatest id that a store can have."""

_ID: Final = re.compile(r"[1-9][0-9]{0,18}")


def parse_id(text: str) -> int | None:
    """Return the id that a path names; None for a text that cannot be one, as above 64 bits."""
    if not _ID.fullmatch(text):
        return None
    value = int(text)
    return value if value <= ID_MAX else None


def parse_count(text: str) -> int | None:
    """Return a number from 0 that a store can hold; None for a text that is none."""
    return 0 if text == "0" else parse_id(text)


def find_source(store: Store, account: Account, source_id: str) -> Source | None:
    """Return a source of the account, deleted ones too; None where it has no such source."""
    number = parse_id(source_id)
    return None if number is None else store.sources.get_source(account.id, number)


def require_own_account(account: Account, client_id: str) -> None:
    """Refuse a path that names another account than the token's.

    Raises:
        RequestRefusedError: 401.
    """
    if parse_id(client_id) != account.id:
        raise errors.not_authorized()


def require_whole_installation(store: Store, account: Account) -> None:
    """Refuse an account that is one of several: the call is about the whole installation.

    Raises:
        RequestRefusedError: 403.
    """
    if any(each.id != account.id for each in store.accounts.list_accounts()):
        raise errors.not_whole_installation()
