"""Where the processes of a server leave what others read, and the settings as they may be shown."""

import time
from collections.abc import Callable
from typing import Final

from treadle.config import SETTINGS, Config, mask_password
from treadle.config.kinds import TextKind, UrlKind
from treadle.config.roles import MemberRole
from treadle.control.traces import ShownSetting, TraceFiles
from treadle.log.quota import LogLook
from treadle.log.registry import look_at_log, make_quota
from treadle.metrics.request_counter import APPEND_FAILURES, COUNTER_NAMES
from treadle.server.factories import name_place
from treadle.shared_counters import sum_counters
from treadle.store.store import Store
from treadle.tracking.log_list import place_logs
from treadle.tracking.member_list import shorten_place

LOOK_SECONDS: Final = 10.0
"""How long a look at logs on servers counts."""


def list_shown_settings(config: Config) -> list[ShownSetting]:
    """Return the settings in force as they may be shown, without secrets."""
    found = []
    for setting in SETTINGS:
        value = getattr(config, setting.name)
        if value is not None and isinstance(setting.kind, TextKind) and setting.kind.hidden:
            value = "set"
        elif isinstance(value, str):
            value = mask_password(value) if isinstance(setting.kind, UrlKind) else value
        elif isinstance(value, tuple):
            value = ", ".join(map(str, value)) or None
        elif not isinstance(value, bool | int | float | None):
            value = str(value)
        origin = config.origins.get(setting.name, "default")
        found.append(ShownSetting(setting.name, value, origin, setting.help))
    return found


class KeptLook:
    """Looks at the logs, and keeps what it saw for a while: on servers each look connects to each.

    Args:
        look: looks at them; raises as `log.registry.look_at_log`, which is not kept.
        seconds: what was seen counts so long.
        monotonic: seconds since any moment.
    """

    def __init__(
        self,
        look: Callable[[], LogLook | None],
        seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._seconds = seconds
        self._monotonic = monotonic
        self._seen: tuple[float, LogLook | None] | None = None

    def read(self) -> LogLook | None:
        """Return how full the logs are, and how old; None where there is none."""
        now = self._monotonic()
        if self._seen is None or now - self._seen[0] >= self._seconds:
            self._seen = now, self._look()
        return self._seen[1]


def make_trace_files(config: Config, store: Store) -> TraceFiles:
    """Return where the processes of a server leave what others read."""
    look = KeptLook(
        lambda: look_at_log(config, store.logs), 0.0 if config.store is None else LOOK_SECONDS
    )

    def count_append_failures() -> int:
        return sum_counters(config.counters_path, COUNTER_NAMES)[APPEND_FAILURES]

    return TraceFiles(
        config.refusals_path,
        config.series_path,
        config.counters_path,
        config.processes_path,
        make_quota(config),
        list_shown_settings(config),
        count_append_failures=count_append_failures,
        examinations=config.examinations_path,
        problems=config.problems_path,
        look_at_log=look.read,
        shares_store=config.store is not None,
        member=shorten_place(name_place(config)),
        list_logs=lambda: place_logs(config, store.logs),
        takes_records=MemberRole.INGEST in config.roles,
    )
