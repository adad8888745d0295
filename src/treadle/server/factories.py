"""Opens what several processes, and commands beside a server, have in common."""

import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

from treadle import clock
from treadle.config import Config
from treadle.destinations.protocol import Destination
from treadle.destinations.registry import make_destination
from treadle.http.address_policy import AddressPolicy
from treadle.load_locks import use_locks
from treadle.quotas import AccountQuota, QuotaTable, SourceQuota
from treadle.store.advisory_locks import choose_locks
from treadle.store.clock import StoreClock, follow_clock, measure_clock
from treadle.store.database import CONNECTIONS_MAX, STATEMENTS_MAX
from treadle.store.key_files import load_cipher, require_key
from treadle.store.model import ConfiguredDestination
from treadle.store.store import Store
from treadle.store.trail_event import SERVER_ACTOR, StoreActor

WORKER_CONNECTIONS: Final = 8
"""Most connections of a worker to a store on PostgreSQL; it answers the Connect API, too."""

WORKER_STATEMENTS: Final = 32
"""Statements whose SQL a worker keeps, up to half as many more at times. A page or a request of the
API has up to 20, and all of them 2 MB; to write the SQL of one anew takes half a millisecond."""


def open_store(
    config: Config,
    actor: StoreActor | None = SERVER_ACTOR,
    connections: int = CONNECTIONS_MAX,
    statements: int = STATEMENTS_MAX,
) -> Store:
    """Open the store, migrated to the present schema; loads of this process are locked by it.

    Args:
        config: the settings.
        actor: who makes the changes; None to refuse all changes but those of `Store.for_actor`.
        connections: most that are open at once to a server.
        statements: most of which the SQL is kept, about.

    Raises:
        MissingStoreError: nobody made the store on PostgreSQL, which `treadle init` does.
    """
    if config.store is not None:
        require_key(config.key_path, config.secret_key)
    cipher = load_cipher(config.key_path, config.secret_key, config.next_secret_key)
    use_locks(choose_locks(config.store_url, config.turns_path))
    return Store.open(
        config.store_url,
        cipher,
        actor=actor,
        make=config.store is None,
        connections=connections,
        statements=statements,
    )


def take_store_clock(store: Store) -> StoreClock | None:
    """Let this process go by the clock of the store's server, as it is now; a file has none.

    So machines with one store agree on the time, whatever their own clocks say. It is called once,
    before anything is built that reads the clock.

    Returns:
        The clock that counts from now on; None for a file.

    Raises:
        RetriableError: the server cannot be asked.
    """
    found = measure_clock(store.read_time)
    if found is None:
        return None
    store_clock = StoreClock(clock.read_monotonic, found)
    clock.set_source(store_clock.read)
    return store_clock


def follow_store_clock(store: Store) -> None:
    """Do what `take_store_clock` does, and ask the server again and again in a thread.

    Raises:
        RetriableError: the server cannot be asked.
    """
    store_clock = take_store_clock(store)
    if store_clock is None:
        return
    following = threading.Thread(
        target=follow_clock,
        args=(store_clock, store.read_time, time.sleep),
        name="store clock",
        daemon=True,
    )
    following.start()


def name_place(config: Config) -> str:
    """Return what tells this server from every other that may use the same store.

    It is the setting `member`, if that is set.
    """
    return name_home(config) if config.member is None else config.member


def name_home(config: Config) -> str:
    """Return the machine and data folder of this server, as one text.

    The data folder is locked by the server, and the rest tells machines apart: with the number of
    the boot also those that have one name by mistake.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = f"{uuid.getnode():x}"
    return f"{socket.gethostname()}:{boot}:{config.data}"


def make_destination_opener(config: Config) -> Callable[[ConfiguredDestination], Destination]:
    """Make what makes the destination of a row of the store.

    The addresses of those that an account named are checked when they are connected to.
    """
    policy = AddressPolicy(allows_loopback=config.destinations_local)

    def open_destination(row: ConfiguredDestination) -> Destination:
        return make_destination(row.url, policy.check if row.is_named_by_account else None)

    return open_destination


def make_quota_table(config: Config) -> QuotaTable:
    """Make the quotas that the settings name, without what was set for single sources."""
    return QuotaTable(
        SourceQuota(
            requests=config.quota_requests_per_second,
            bytes=config.quota_bytes_per_second,
            records=config.quota_records_per_second,
            bodies=config.quota_bodies,
            waiting_bytes=config.quota_waiting_bytes,
            tables=config.quota_tables,
            columns=config.quota_columns,
        ),
        AccountQuota(
            requests=config.quota_account_requests_per_second,
            bytes=config.quota_account_bytes_per_second,
            records=config.quota_account_records_per_second,
            sources=config.quota_account_sources,
        ),
    )
