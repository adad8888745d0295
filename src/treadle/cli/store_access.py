"""The store as the commands use it: opened in the data folder, also while the server runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from treadle.config import Config
from treadle.errors import OperatorError
from treadle.store.model import Account, Source

if TYPE_CHECKING:
    from treadle.store.store import Store


@contextmanager
def open_existing_store(config: Config, *, make: bool = False) -> Iterator["Store"]:
    """The store of the data folder, closed at the end of the block.

    Args:
        config: says where.
        make: make a new one where there is none. Only what begins with nothing does so: elsewhere
            a mistyped folder would be answered with an empty store.

    Raises:
        OperatorFault: there is none, or its key is another one.
    """
    # Databases take a third of a second to import; `treadle --help` needs none.
    from treadle.store.secrets import load_cipher
    from treadle.store.store import Store

    if make:
        config.make_data_folder()
    elif not config.has_store():
        raise OperatorError(
            f"There is no treadle data in {config.data}; name its folder with --data, "
            "or begin with `treadle account create`."
        )
    store = Store.open(config.store_url, load_cipher(config.key_path, config.secret_key))
    try:
        yield store
    finally:
        store.close()


def find_account(store: "Store", wanted: str | None) -> Account:
    """The account with this id or name; the only one when none is named.

    Raises:
        OperatorFault: no such account, or several to choose from.
    """
    accounts = store.accounts.list_accounts()
    if not accounts:
        raise OperatorError("There is no account yet; make one with `treadle account create`.")
    chosen = [a for a in accounts if wanted is None or wanted in (str(a.id), a.name)]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(f"{a.id} ({a.name})" for a in chosen or accounts)
    if chosen:
        raise OperatorError(f"There are several accounts, say which with --account: {names}.")
    raise OperatorError(f"There is no account {wanted!r}; there is {names}.")


def find_source(store: "Store", account: Account | None, wanted: str) -> Source:
    """The source with this id or name that is not deleted, in one account or in any.

    Raises:
        OperatorFault: no such source, or one in several accounts.
    """
    sources = [
        s
        for s in store.sources.list_sources(account.id if account else None)
        if s.deleted_at is None
    ]
    chosen = [s for s in sources if wanted in (str(s.id), s.name)]
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        names = ", ".join(f"{s.id} (account {s.account_id})" for s in chosen)
        raise OperatorError(f"Several sources have the name {wanted!r}, give an id: {names}.")
    known = ", ".join(f"{s.name} ({s.id})" for s in sources)
    if not known:
        raise OperatorError(
            "There is no source yet; make one with `treadle source create DISPLAY_NAME`."
        )
    raise OperatorError(f"There is no source {wanted!r}; there is {known}.")
