"""Opens what several processes, and commands beside a server, have in common."""

from treadle.config import Config
from treadle.store.secrets import load_cipher
from treadle.store.store import Store

LISTEN_BACKLOG = 2048
"""How many connections may wait until the server accepts them."""


def open_store(config: Config) -> Store:
    """Open the store, migrated to the present schema."""
    return Store.open(config.store_url, load_cipher(config.key_path, config.secret_key))
