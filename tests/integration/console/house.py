"""The console over a real log, store and loader, with a desk that sends records again."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.integration.console.visitor import Console
from tests.integration.control.test_reject_routes import make_resends
from tests.servers.ingest import CLIENT
from tests.servers.loading import Warehouse
from tests.work_turns import ALONE

from treadle.clock import read_clock
from treadle.console.app import ConsoleApp
from treadle.console.figures import FigureSampler
from treadle.console.page_reach import PageReach
from treadle.control.app import ConnectApiSettings, create_control_app
from treadle.control.waiting_view import WaitingView
from treadle.ingest.dry_run import DryRunPlanner, open_anywhere
from treadle.log.sqlite.log import SqliteReader
from treadle.store.model import ConsoleRole
from treadle.store.token_rules import TokenRequest

BAD = 10**30


class HouseConsole(Console):
    """The console of a warehouse, whose records are really loaded and rejected."""

    def __init__(self, house: Warehouse) -> None:
        (house.folder / "beside").mkdir()
        super().__init__(house.folder / "beside")  # what follows takes the place of its store
        super().close()
        self.house = house
        self.store = house.store
        path: Path = house.folder / "log.sqlite"
        control = create_control_app(
            house.store, ConnectApiSettings(), changed=lambda: None, clock=read_clock
        )
        self.sampler = FigureSampler(house.store, lambda: SqliteReader(path), read_clock)
        self.waiting = WaitingView(lambda: SqliteReader(path))
        self.services = replace(
            self.services,
            work=control.state.work,
            sampler=self.sampler,
            clock=read_clock,
            reach=PageReach(
                waiting=self.waiting,
                open_reader=lambda: SqliteReader(path),
                plan_dry_run=DryRunPlanner(house.store, read_clock, open_anywhere, ALONE).plan,
            ),
        )
        self.app = ConsoleApp(self.services)
        self.resends = make_resends(house)
        house.store.tokens.issue_token(TokenRequest("account"), account_id=CLIENT)
        house.store.sessions.leave_guide(CLIENT)

    def link(self, role: ConsoleRole = ConsoleRole.ADMIN) -> str:
        token = self.store.sessions.issue_link_token(CLIENT, role)
        return f"/console/login?ephemeral_token={token}"

    def close(self) -> None:
        self.sampler.close()
        self.waiting.close()

    def push(self, *records: dict[str, Any]) -> None:
        assert self.house.post("/v2/import/push", list(records)).status == 201
        self.house.load()

    def send_again(self) -> None:
        """Carry out the resends that were asked for, and load what came of them."""
        while self.resends.run_once():
            pass
        self.house.load()

    def rows(self, columns: str, table: str) -> Sequence[tuple[Any, ...]]:
        return self.house.rows(columns, table)
