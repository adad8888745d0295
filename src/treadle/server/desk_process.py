"""The desk process: opens destinations on request, in task processes that it can end."""

import gc
import signal
import socket

from treadle import clock
from treadle.config import Config
from treadle.desk.check_desk import CheckDesk
from treadle.http.address_policy import AddressPolicy
from treadle.server.child_channel import call_when_orphaned, report_ready
from treadle.server.factories import open_store
from treadle.store.store import Store


def make_desk(config: Config, store: Store) -> CheckDesk:
    """Make the desk."""
    return CheckDesk(
        store=store,
        data=config.data,
        turns=config.turns_path,
        # One desk of a data folder runs at a time, so the next one takes over its claims at once.
        place=f"{socket.gethostname()}:{config.data}",
        clock=clock.read_clock,
        policy=AddressPolicy(allows_loopback=config.destinations_local),
    )


def run_desk(config: Config) -> None:
    """Do what is asked for until SIGTERM, or until the supervisor is gone."""
    store = open_store(config)
    desk = make_desk(config, store)
    signal.signal(signal.SIGTERM, lambda *_: desk.stop())
    call_when_orphaned(desk.stop, desk.wake)
    gc.freeze()
    gc.enable()
    desk.run(report_ready)
    store.close()
