"""Servers that share the work: gates, a loader and control, over one store and log."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

import httpx
from tests.servers.treadle import PATIENCE_SECONDS, Client, TreadleServer

KEY: Final = "5e" * 32
"""The secret key of all members."""

SETTINGS: Final = {"load_age_seconds": "0.1", "load_rows": "200"}
"""Loads close often, so that the end of a member meets one."""


class MemberServer(TreadleServer):
    """`treadle serve` with some of the roles.

    Args:
        folder: for the data folder, which is scratch.
        name: of the member.
        role: as the setting names it.
        url: of store and logs.
        settings: further ones.
        environment: further variables.
    """

    make_store = None

    def __init__(
        self,
        folder: Path,
        name: str,
        role: str,
        url: str,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.role = role
        super().__init__(
            folder / name,
            settings={"role": role, "member": name, **SETTINGS, **(settings or {})},
            environment={**name_store(url), **(environment or {})},
        )

    def find_readiness(self, role: str | None = None) -> tuple[int, Any]:
        """Status and body of `/v1/ready`."""
        params = {} if role is None else {"role": role}
        answer = httpx.get(f"{self.url}/v1/ready", params=params, timeout=PATIENCE_SECONDS)
        return answer.status_code, answer.json()

    def restart(self) -> None:
        """Stop as an operator does, and start again at the same address."""
        assert self.stop() == 0, self.log.read_text()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.start()


def name_store(url: str) -> dict[str, str]:
    """Variables that name store, log and key, for a member or a command."""
    return {
        "TREADLE_STORE": url,
        "TREADLE_STORE_DURABILITY": "none",
        "TREADLE_LOG_DURABILITY": "none",
        "TREADLE_SECRET_KEY": KEY,
    }


class MemberCluster:
    """One store with a log on PostgreSQL, and the members over it; a context manager.

    Args:
        folder: for everything.
        url: of an empty database, for store and log.
        destination: URL that rows are loaded into; None for a cluster without a loader.
        gates: how many.
        settings: further ones, of gates and control.
        environment: further variables of all members.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        destination: str | None = None,
        gates: int = 2,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.url = url
        self.destination = destination
        names = [f"gate-{number}" for number in range(1, gates + 1)]
        self.gates = [
            MemberServer(folder, name, "ingest", url, settings, environment) for name in names
        ]
        self.loaders = (
            [MemberServer(folder, "loader-1", "loader", url, None, environment)]
            if destination is not None
            else []
        )
        self.control = MemberServer(folder, "control-1", "control", url, settings, environment)
        self._stack = ExitStack()

    @property
    def members(self) -> Sequence[MemberServer]:
        """All of them, in the order in which they are upgraded."""
        return self.control, *self.loaders, *self.gates

    def __enter__(self) -> Self:
        made = json.loads(self.treadle("init", "--log", self.url, "--json"))
        self.account = made["stitch_client_id"], made["access_token"]
        with ThreadPoolExecutor(len(self.members)) as starting:
            for member in starting.map(lambda one: one.__enter__(), self.members):
                self._stack.callback(member.__exit__, None, None, None)
        if self.destination is not None:
            self.treadle("destination", "create", "--url", self.destination)
        self.client = Client(self.control, *self.account)
        self._stack.callback(self.client.http.close)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def treadle(self, *arguments: str, check: bool = True) -> str:
        """Run a command as an operator does on any machine; returns its standard output."""
        return TreadleServer(self.folder / "operator", environment=name_store(self.url)).treadle(
            *arguments, check=check
        )

    def list_members(self) -> list[dict[str, Any]]:
        """What `treadle members` prints."""
        found: list[dict[str, Any]] = json.loads(self.treadle("members", "--json"))
        return found
