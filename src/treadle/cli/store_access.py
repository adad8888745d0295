"""Opens the store and the log of the data folder for commands, also while the server runs."""

import argparse
import os
import pwd
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from treadle.config import Config
from treadle.errors import OperatorError
from treadle.folder_move import refuse_moved_folder
from treadle.store.model import Account, Source
from treadle.store.trail_event import ActorKind, StoreActor

if TYPE_CHECKING:
    from treadle.log.protocol import LogReader
    from treadle.store.store import Store


@contextmanager
def open_existing_store(config: Config, *, make: bool = False) -> Iterator["Store"]:
    """Open the store of the data folder, and close it at the end of the block.

    With a store on a server, the time is that of the server meanwhile.

    Args:
        config: the settings.
        make: make a store if there is none. Only a command that may be the first one does so. For
            others a mistyped folder would look like an empty store. A store on PostgreSQL is made
            by `treadle init` only.

    Raises:
        OperatorError: there is no store, or its key is another one.
    """
    # Imported here: databases take a third of a second, and `treadle --help` needs none.
    from treadle.load_locks import use_locks
    from treadle.store.advisory_locks import choose_locks
    from treadle.store.clock import use_server_clock
    from treadle.store.key_files import load_cipher, require_key
    from treadle.store.store import Store

    if config.store is None:
        refuse_moved_folder(config.move_path)
    if config.store is not None:
        require_key(config.key_path, config.secret_key)
    elif make:
        config.make_data_folder()
    elif not config.has_store():
        raise OperatorError(
            f"There is no treadle data in {config.data}; name its folder with --data, "
            "or begin with `treadle account create`."
        )
    use_locks(choose_locks(config.store_url, config.turns_path))
    store = Store.open(
        config.store_url,
        load_cipher(config.key_path, config.secret_key, config.next_secret_key),
        actor=make_command_actor(),
        make=config.store is None,
    )
    with closing(store), use_server_clock(store.read_time):
        yield store


def make_command_actor() -> StoreActor:
    """Return who makes the changes of a command."""
    return StoreActor(ActorKind.COMMAND_LINE, find_user_name(os.getuid()))


@contextmanager
def open_named_source(
    config: Config, arguments: argparse.Namespace
) -> Iterator[tuple["Store", Source]]:
    """Open the store, and find the source of the arguments SOURCE and `--account`.

    Raises:
        OperatorError: there is no store, or no such source.
    """
    with open_existing_store(config) as store:
        account = find_account(store, arguments.account) if arguments.account else None
        yield store, find_source(store, account, arguments.source)


def require_log(config: Config, store: "Store | None" = None) -> None:
    """Check that there is a log.

    Args:
        config: names the data folder.
        store: knows the logs that are not there; None before it is opened. Then a store on a server
            may know one.

    Raises:
        OperatorError: there is none.
    """
    from treadle.log.registry import has_log

    if store is None and config.store is not None:
        return
    if not has_log(config, None if store is None else store.logs):
        raise OperatorError(f"There is no log in {config.data}; name its folder with --data.")


@contextmanager
def open_existing_log(config: Config, store: "Store") -> Iterator["LogReader"]:
    """Open the logs to read them, and close them at the end of the block.

    Raises:
        OperatorError: there is no log, or it cannot be read.
    """
    from treadle.log.registry import open_reader

    require_log(config, store)
    with closing(open_reader(config, store.logs)) as reader:
        yield reader


def find_user_name(user_id: int) -> str:
    """Return the name of a user of this machine; its number where it has none, as in a container.

    Not the name in the environment, which the user can set to any.
    """
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)


def find_account(store: "Store", wanted: str | None) -> Account:
    """Return the account with this id or name, or the only account if None is given.

    Raises:
        OperatorError: there is no such account, or several to choose from.
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
    """Return the source with this id or name, in one account or in any.

    Raises:
        OperatorError: there is no such source that is not deleted, or one in several accounts.
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


def find_url_of_source(store: "Store", config: Config, source: Source) -> str:
    """Return the URL that a source loads into.

    Raises:
        OperatorError: its destination was deleted.
    """
    row = store.destinations.find_destination_of_source(source.id)
    if row is not None:
        return row.url
    if store.destinations.list_destinations(source.account_id):
        raise OperatorError(
            f"The source {source.name} has no destination, so its records wait; make one with "
            "`treadle destination create`."
        )
    return config.destination_url  # no server was started yet, which would give it this one
