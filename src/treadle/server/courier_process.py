"""The courier process: delivers post-load hooks, and sends mails about problems."""

import gc
import random
import signal
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from treadle import clock
from treadle.config import Config
from treadle.courier.carrier import Carrier, run_carriers
from treadle.courier.hook_carrier import HookCarrier
from treadle.http.outbound_url import OutboundRules
from treadle.server.child_channel import call_when_orphaned, report_ready
from treadle.server.courier_turn import TurnCarrier, start_turn
from treadle.server.errand_watch import await_rest
from treadle.server.factories import follow_store_clock, open_store
from treadle.server.mail_carriers import make_mail_carrier
from treadle.store.errands import ErrandKind
from treadle.store.store import Store

if TYPE_CHECKING:
    from treadle.courier.hook_sender import HookSender
    from treadle.telemetry.span_exporter import SpanExporter

FINISH_SECONDS: Final = 5.0
"""Seconds that a courier that stops waits for answers. What is not answered by then is sent again
after the next start."""


def make_carriers(
    config: Config, store: Store, exporter: "SpanExporter | None" = None
) -> Sequence[Carrier]:
    """Make what the courier runs, each in a thread of its own.

    Args:
        config: the settings.
        store: open.
        exporter: is told of tries; None for nobody.
    """
    rules = OutboundRules.from_setting(config.hook_urls)

    def make_sender() -> "HookSender":
        from treadle.courier.hook_sender import HookSender

        return HookSender(rules, clock.read_clock)

    note_tries = None
    if exporter is not None:
        from treadle.server.telemetry import make_try_teller

        note_tries = make_try_teller(exporter, store, config.otel_percent / 100)
    return [
        HookCarrier(store, make_sender, random.random, clock.read_clock, note_tries),
        make_mail_carrier(config, store),
    ]


def run_courier(config: Config) -> None:
    """Deliver until SIGTERM, or until the supervisor is gone."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    call_when_orphaned(stop.set)
    # The server is ready without it: what there is to deliver goes a moment later.
    report_ready()

    store = open_store(config)
    follow_store_clock(store)
    gc.freeze()
    gc.enable()
    if config.smtp_url is None and not config.in_cluster:  # otherwise it has other tasks, too
        resting = threading.Thread(
            target=_stop_when_idle, args=(store, stop), name="rest", daemon=True
        )
        resting.start()
    exporter = None
    if config.otel_endpoint is not None:
        from treadle.server.telemetry import start_exporter

        exporter = start_exporter(config, "courier")
    carriers = make_carriers(config, store, exporter)
    watches: list[threading.Thread] = []
    turn = None
    if config.in_cluster:
        from treadle.server.watches import start_watches  # on one machine the loader does it

        turn = start_turn(config, store, clock.read_clock())
        carriers = [TurnCarrier(one, turn.is_mine) for one in carriers]
        watches = start_watches(config, store, stop)
    run_carriers(carriers, stop, clock.read_clock, finish_seconds=FINISH_SECONDS)
    if turn is not None:
        turn.close()
    for watch in watches:
        watch.join(FINISH_SECONDS)
    if exporter is not None:
        exporter.close()
    store.close()


def _stop_when_idle(store: Store, stop: threading.Event) -> None:
    await_rest(lambda: ErrandKind.DELIVERY in store.errands.list_open_kinds(), stop)
    stop.set()
