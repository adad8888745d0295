"""The role of the loader: accepted records become rows."""

import signal
import socket
import threading
import uuid

from treadle import clock
from treadle.config import Config
from treadle.destinations.registry import open_url
from treadle.loader.due import Trigger
from treadle.loader.run import Loader
from treadle.log.local import LocalReader
from treadle.server.parts import open_store, room_of
from treadle.server.pipe import say_ready, when_the_supervisor_is_gone
from treadle.store.store import Store


def loader_of(config: Config, store: Store) -> Loader:
    """The loader of these settings."""
    return Loader(
        store=store,
        open_reader=lambda: LocalReader(config.log_path),
        open_destination=open_url,
        trigger=Trigger(
            age_us=int(config.load_age_seconds * 1_000_000),
            records=config.load_rows,
            size=config.load_bytes,
        ),
        retention_us=int(config.retention_days * 86_400_000_000),
        clock=clock.read_clock,
        new_id=lambda: str(uuid.uuid4()),
        room=room_of(config),
        # Of loaders of one data folder only one can run: the folder is locked.
        place=f"{socket.gethostname()}:{config.data}",
    )


def load(config: Config) -> None:
    """Load what was accepted until asked to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    when_the_supervisor_is_gone(stop.set)

    store = open_store(config)
    loader_of(config, store).run(stop, say_ready)
    store.close()
