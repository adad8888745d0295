"""The control API with what a server remembers of itself."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from tests.integration.control.api import Api

from treadle.control.app import ConnectApiSettings, create_control_app
from treadle.control.traces import ShownSetting, TraceFiles
from treadle.log.quota import LogQuota
from treadle.quotas import WAITING_COLUMNS
from treadle.shared_rows import SharedRows
from treadle.traces.refusal_file import RefusalFile
from treadle.traces.refusals import KeptRefusal, RefusalGroup
from treadle.traces.series_file import SeriesWriter
from treadle.traces.series_layout import (
    IDLE,
    SERVER_FIGURES,
    SOURCE_FIGURES,
    Figures,
    SeriesStep,
)


class TraceApi(Api):
    """A server whose files the test writes as its processes would.

    Attributes:
        files: where they are.
    """

    def __init__(self, folder: Path, **more: Any) -> None:
        self.more = more
        self.files = TraceFiles(
            folder / "refusals",
            folder / "series",
            folder / "counters",
            folder / "processes",
            LogQuota(disk_reserve_bytes=1000),
            (ShownSetting("workers", 2, "flag", "processes that take requests"),),
            clock=lambda: self.now,
            count_append_failures=lambda: 3,
        )
        super().__init__(folder)

    def server(self, settings: ConnectApiSettings) -> FastAPI:
        return create_control_app(
            self.store,
            settings,
            changed=self._changed,
            count_use=self._count_use,
            clock=lambda: self.now,
            traces=self.files,
            **self.more,
        )

    def refuse(self, account_id: int = 0, source_id: int = 0, **changes: Any) -> None:
        """Keep a refusal, as a worker does."""
        plain: dict[str, Any] = {
            "endpoint": "push",
            "status": 401,
            "reason": "Not Authorized",
            "token_id": 0,
        }
        names = {name: changes.pop(name) for name in plain if name in changes}
        group = RefusalGroup(account_id=account_id, source_id=source_id, **(plain | names))
        refusal = KeptRefusal(
            changes.pop("at", self.now),
            group,
            changes.pop("fingerprint", ""),
            changes.pop("address", "192.0.2.7"),
            12,
            changes.pop("body", '{"message":"Not Authorized"}'),
        )
        file = RefusalFile(self.files.refusals, changes.pop("worker", "worker 1"))
        file.add(refusal)
        file.close()

    def wait_for(self, source_id: int, records: int, oldest: int) -> None:
        """Publish what waits of a source, as the loader does."""
        self.files.counters.mkdir(exist_ok=True)
        rows = SharedRows(self.files.counters, "loader", WAITING_COLUMNS)
        rows.set(source_id, (100 * records, records, 0, records, oldest))
        rows.close()

    def begin_step(self) -> None:
        """Move the clock to the beginning of a step: it stays there for some questions."""
        self.now = (self.now // 10_000_000 + 1) * 10_000_000

    def sample(self, at: int, sources: dict[int, Figures] | None = None, **figures: float) -> None:
        """Write a step of the series, as the loader does.

        Args:
            at: seconds before the present step.
            sources: by id.
            figures: of the server.
        """
        plain: dict[str, float | None] = dict.fromkeys(SERVER_FIGURES, 0.0)
        writer = SeriesWriter(self.files.series)
        present = self.now // 10_000_000 * 10
        writer.write(SeriesStep(present - at, tuple((plain | figures).values()), sources or {}))
        writer.close()


def figures(**changes: float) -> Figures:
    """The figures of a source."""
    return tuple((dict(zip(SOURCE_FIGURES, IDLE, strict=True)) | changes).values())
