"""What several roles, and commands beside a server, have in common."""

from treadle.config import Config
from treadle.log.quota import LogQuota
from treadle.store.secrets import load_cipher
from treadle.store.store import Store

LISTEN_BACKLOG = 2048
"""Connections that may wait to be accepted."""


def open_store(config: Config) -> Store:
    """The store of these settings, migrated."""
    return Store.open(config.store_url, load_cipher(config.key_path, config.secret_key))


def make_log_quota(config: Config) -> LogQuota:
    """The bounds of the log."""
    return LogQuota(config.log_bytes, config.disk_reserve_bytes)
