"""An upgrade under load: a server of an earlier commit is followed by one of today's source."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from tests.servers.keyless_sender import count_ids
from tests.servers.treadle import Client, TreadleServer, eventually
from tests.upgrade.former_release import FormerServer, read_store_revision
from tests.upgrade.retrying_sender import EVENTS, RetryingSender, expect_people

from treadle.cli.query import query_destination
from treadle.store.migration import HEAD_REVISION

SETTINGS: Final = {"load_age_seconds": "0.1", "load_rows": "200"}
"""Loads close often, so that the end of the former server meets one."""
REQUESTS: Final = 20
"""At the least before the upgrade, and after it."""

Ending = Literal["stop", "kill"]
"""SIGTERM; or kill -9, which ends the next server once more while it migrates the store."""


@dataclass(frozen=True, slots=True)
class UpgradeReport:
    """What came of an upgrade under load.

    Attributes:
        migrated: the revision of the store before, and after.
        before: requests that the former server had answered when its end began.
        requests: that were answered in all.
        retries: of the sender.
        restored: requests whose rows were in the backup of the former server; None for no backup.
        faults: what is not as it should be.
    """

    migrated: tuple[str, str]
    before: int
    requests: int
    retries: int
    restored: int | None
    faults: tuple[str, ...]


def upgrade_under_load(
    source: Path, folder: Path, destination: str | None, ending: Ending
) -> UpgradeReport:
    """Follow a former server by one of today while a sender pushes, and compare all rows.

    Args:
        source: of the earlier commit (`unpack_source`).
        folder: for the data folders.
        destination: URL; None for the file of the data folder.
        ending: how the former server ends.
    """
    data = folder / "data"
    url = destination or f"duckdb://{data / 'warehouse.duckdb'}"
    former = FormerServer(source, data, destination, SETTINGS)
    with former:
        client_id, account = former.account()
        _, token = Client(former, client_id, account).create_source()
        sender = RetryingSender([former.url], client_id, token)
        sender.start()
        await_requests(sender, REQUESTS)
        eventually(lambda: count_ids(url).total() >= REQUESTS * EVENTS)
        backup = _back_up(former, folder) if destination is None else None
        await_requests(sender, sender.acknowledged + REQUESTS)
        before = sender.acknowledged
        if ending == "kill":
            former.kill()
        else:
            assert former.stop() == 0
    revision = read_store_revision(data)
    today = TreadleServer(data, destination, SETTINGS, port=former.port)
    if ending == "kill" and revision != HEAD_REVISION:
        kill_while_it_migrates(today)
    faults: list[str] = []
    with today:
        await_requests(sender, before + REQUESTS)
        sender.stop()
        eventually(lambda: read_status(today)["totals"]["waiting"] == 0)
        faults += compare_rows(url, sender.acknowledged)
        faults += [str(problem) for problem in read_status(today)["problems"].items()]
    restored = None
    if backup is not None:
        restored, wrong = compare_backup(backup, folder / "restored", client_id, account, token)
        faults += wrong
    return UpgradeReport(
        (revision, read_store_revision(data)),
        before,
        sender.acknowledged,
        sender.retries,
        restored,
        tuple(faults),
    )


def await_requests(sender: RetryingSender, least: int) -> None:
    eventually(lambda: sender.acknowledged >= least or sender.fault is not None)
    assert sender.fault is None, sender.fault


def read_status(server: TreadleServer) -> dict[str, Any]:
    """What `treadle status` tells."""
    told: dict[str, Any] = json.loads(server.treadle("status", "--json"))
    return told


def compare_rows(url: str, requests: int) -> list[str]:
    """What is lost, doubled or another value once nothing waits any more."""
    expected, found = Counter(range(requests * EVENTS)), count_ids(url)
    faults = [
        f"{ids.total()} records are {what}, the first is {min(ids)}"
        for what, ids in (("lost", expected - found), ("doubled or made up", found - expected))
        if ids
    ]
    rows = query_destination(url, "select id, seen from import_api.people").rows
    if sorted(rows) != sorted(expect_people(requests).items()):
        faults.append(f"the table with a key has {len(rows)} rows, or other values")
    return faults


def _back_up(former: FormerServer, folder: Path) -> tuple[Path, int] | None:
    """A backup by the former server, and the requests that it has at the least.

    None where the commit is older than the command.
    """
    if "backup" not in former.treadle("--help", check=False):
        return None
    found = count_ids(f"duckdb://{former.data / 'warehouse.duckdb'}")
    former.treadle("backup", str(folder / "backup"), "--with-warehouse", "--with-key")
    return folder / "backup", found.total() // EVENTS


def compare_backup(
    backup: tuple[Path, int], data: Path, client_id: int, account: str, token: str
) -> tuple[int, list[str]]:
    """Restore a backup of the former server into an empty folder with today's commands.

    Returns:
        The requests whose rows are there, and what is not as it should be.
    """
    path, least = backup
    server = TreadleServer(data, settings=SETTINGS)
    server.treadle("restore", str(path))
    url = f"duckdb://{data / 'warehouse.duckdb'}"
    with server:
        client = Client(server, client_id, account)
        assert client.push(token, [{"id": -1}], table="events", keys=[]).status_code == 201
        eventually(lambda: count_ids(url)[-1] == 1)
        eventually(lambda: read_status(server)["totals"]["waiting"] == 0)
        requests = (count_ids(url).total() - 1) // EVENTS
        found = count_ids(url) - Counter([-1])
    faults = [] if requests >= least else [f"the backup has {requests} of {least} requests"]
    if found != Counter(range(requests * EVENTS)):
        faults.append("records of the backup are lost or doubled")
    return requests, faults


def kill_while_it_migrates(server: TreadleServer) -> None:
    """Start a server and kill -9 it as soon as it has copied the store, which it migrates next."""
    named = {} if server.destination is None else {"TREADLE_DESTINATION": server.destination}
    command = [sys.executable, "-m", "treadle", "serve", "--data", str(server.data)]
    process = subprocess.Popen(
        [*command, "--port", str(server.port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **named},
        start_new_session=True,
    )
    try:
        eventually(
            lambda: process.poll() is not None or any(server.data.glob("store.sqlite.before-*"))
        )
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
