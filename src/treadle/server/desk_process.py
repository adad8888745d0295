"""The desk process: opens destinations on request, in task processes that it can end."""

import signal
import socket
import threading

from treadle import clock
from treadle.config import Config
from treadle.desk.check_desk import CheckDesk
from treadle.desk.resend_desk import ResendDesk
from treadle.http.address_policy import AddressPolicy
from treadle.log.registry import open_appender, open_reader
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


def make_resend_desk(config: Config, store: Store) -> ResendDesk:
    """Make the part of the desk that sends rejected records again."""
    return ResendDesk(
        store=store,
        open_log=lambda: open_appender(config),
        open_reader=lambda: open_reader(config),
        place=f"{socket.gethostname()}:{config.data}",
        clock=clock.read_clock,
    )


def run_desk(config: Config) -> None:
    """Do what is asked for until SIGTERM, or until the supervisor is gone."""
    store = open_store(config)
    desk, resends = make_desk(config, store), make_resend_desk(config, store)

    def stop() -> None:
        desk.stop()
        resends.stop()

    def wake() -> None:
        desk.wake()
        resends.wake()

    signal.signal(signal.SIGTERM, lambda *_: stop())
    call_when_orphaned(stop, wake)
    thread = threading.Thread(target=resends.run, name="resends")
    thread.start()
    try:
        desk.run(report_ready)
    finally:
        resends.stop()
        thread.join()
        store.close()
