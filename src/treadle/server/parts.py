"""What several roles, and commands beside a server, have in common."""

from treadle.config import Config
from treadle.log.room import Room
from treadle.store.secrets import load_key
from treadle.store.store import Store

BACKLOG = 2048
"""Connections that may wait to be accepted."""


def open_store(config: Config) -> Store:
    """The store of these settings, migrated."""
    return Store.open(config.store_url, load_key(config.key_path, config.secret_key))


def room_of(config: Config) -> Room:
    """The bounds of the log."""
    return Room(config.log_bytes, config.disk_reserve_bytes)
