"""Opens what several processes, and commands beside a server, have in common."""

from collections.abc import Callable

from treadle.config import Config
from treadle.destinations.protocol import Destination
from treadle.destinations.registry import make_destination
from treadle.http.address_policy import AddressPolicy
from treadle.quotas import AccountQuota, QuotaTable, SourceQuota
from treadle.store.key_files import load_cipher
from treadle.store.model import ConfiguredDestination
from treadle.store.store import Store
from treadle.store.trail_event import SERVER_ACTOR, StoreActor


def open_store(config: Config, actor: StoreActor | None = SERVER_ACTOR) -> Store:
    """Open the store, migrated to the present schema.

    Args:
        config: the settings.
        actor: who makes the changes; None to refuse all changes but those of `Store.for_actor`.
    """
    cipher = load_cipher(config.key_path, config.secret_key, config.next_secret_key)
    return Store.open(config.store_url, cipher, actor=actor)


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
