"""Runs loading cases: requests over HTTP, loads one step at a time, tables read by other code.

A case is a value of the JSON form that the loading rules document (13.1). The server is the real
one; only the moment of a load is ours, because a case says which requests one load takes.
"""

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from tests.conformance.loading.looking import open_warehouse
from tests.conformance.loading.warehouse import Warehouse

from treadle.config import Config
from treadle.destinations.conformance.loading.compare import (
    DEFAULTS,
    choose_own,
    differences,
    expected_for,
)
from treadle.destinations.conformance.loading.literals import dumps, loads
from treadle.server.factories import open_store
from treadle.server.loader_process import make_loader
from treadle.server.startup import set_up_store
from treadle.server.worker_process import make_worker_app

BATCH_SCHEMA = {
    "id": {"type": "integer"},
    "a": {"type": "string"},
    "x": {"type": "array", "items": {"type": "string"}},
}
"""What a case's `"$V"` stands for."""


def cases(path: Path) -> list[dict[str, Any]]:
    """The cases of a file, numbers spelled as they are.

    Raises:
        ValueError: it is not a JSON array of cases.
    """
    found = loads(path.read_text())
    if not isinstance(found, list) or not all(map(_is_case, found)):
        raise ValueError(f"{path} should hold a JSON array of cases with id, loads and expect")
    return found


def _is_case(value: object) -> bool:
    return isinstance(value, dict) and {"id", "loads", "expect"} <= value.keys()


class Rig:
    """A server and a loader that loads when it is told to.

    Args:
        data: an empty folder.
        destination: URL; DuckDB in the data folder when None.
    """

    def __init__(self, data: Path, destination: str | None = None) -> None:
        self.config = Config(data=data, destination=destination, load_age_seconds=0.0)
        self.config.make_data_folder()
        newcomer = set_up_store(self.config)
        assert newcomer is not None, "the data folder is not empty"
        self.client_id = newcomer.account.id
        assert self.client_id == 1, "cases are written for client 1"
        self.store = open_store(self.config)
        self.loader = make_loader(self.config, self.store)
        self._account = {"Authorization": f"Bearer {newcomer.token}"}

    @contextlib.contextmanager
    def running(self) -> Iterator["Rig"]:
        """Serve until the block is left."""
        # asyncio sends small answers at once only where it knows the protocol: otherwise each would
        # wait 40 ms for the client's acknowledgement of its head.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        server = uvicorn.Server(
            uvicorn.Config(
                make_worker_app(self.config, self.store, lambda: None),
                log_config=None,
                lifespan="on",
                loop="asyncio",
            )
        )
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.01)
            port = listening.getsockname()[1]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as self.http:
                yield self
        finally:
            server.should_exit = True
            thread.join(30)
            listening.close()
            self.loader.close()
            self.store.close()

    def warehouse(self, schema: str) -> Warehouse:
        """The schema, looked at with the engine's own driver."""
        url = self.config.destination or f"duckdb://{self.config.warehouse_path}"
        return open_warehouse(url, schema)

    def source(self, name: str) -> tuple[int, str, str]:
        """A new source: its id, schema name and token."""
        answer = self.http.post(
            "/v4/sources",
            json={"type": "import_api", "display_name": name},
            headers=self._account,
        )
        assert answer.status_code == 200, answer.text
        source = answer.json()
        return source["id"], source["name"], next(iter(source["properties"]["token"].values()))


def run(rig: Rig, case: Mapping[str, Any]) -> list[str]:
    """Run one case; returns what was other than expected, one sentence each."""
    source_id, schema, token = rig.source(f"case {case['id']} {secrets.token_hex(4)}")
    try:
        return _run(rig, case, source_id, schema, token)
    finally:
        # What waits for a stopped table would be tried again in every later case.
        _let_go(rig, source_id, rig.warehouse(schema))
        rig.store.sources.delete_source(rig.client_id, source_id)


def _let_go(rig: Rig, source_id: int, warehouse: Warehouse) -> None:
    """Have stopped tables made anew, which takes what waits for them with the next load."""
    names = {
        status.table_name
        for status in rig.store.tables.list_statuses(source_id)
        if status.error is not None
    }
    if not names:
        return
    rig.store.sources.update_source(rig.client_id, source_id, settings={"options": {}})
    for name in names & warehouse.tables().keys():
        if name.isidentifier():
            warehouse.run(f"DROP TABLE {name}")


def _run(rig: Rig, case: Mapping[str, Any], source_id: int, schema: str, token: str) -> list[str]:
    warehouse = rig.warehouse(schema)
    options = {**DEFAULTS.get(warehouse.name, {}), **case.get("options", {})}
    if options:
        rig.store.sources.update_source(rig.client_id, source_id, settings={"options": options})
    expected = expected_for(case, warehouse.name)
    said: list[str] = []
    statuses: list[int] = []
    for number, step in enumerate(case["loads"], 1):
        if isinstance(step, Mapping):
            statement = choose_own(step["sql"], warehouse.name)
            if statement is not None:
                warehouse.run(statement)
            continue
        for request in step:
            path, body = _request(request)
            answer = rig.http.post(
                path,
                content=body,
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            )
            statuses.append(answer.status_code)
            if "http" not in expected and not answer.is_success:
                said.append(f"step {number}: {path} answered {answer.status_code} {answer.text}")
        rig.loader.load_once()
        said += _error_of_step(rig, source_id, number, expected)
    if "http" in expected and statuses != expected["http"]:
        said.append(f"statuses: expected {expected['http']}, found {statuses}")
    said += _stopped(rig, source_id, expected)
    if "webhook" in expected:
        said += _webhooks(rig, source_id, expected["webhook"])
    return said + differences(expected, warehouse)


def _request(request: Mapping[str, Any]) -> tuple[str, str]:
    """Path and body of a request as a case describes it."""
    [(kind, what)] = request.items()
    match kind:
        case "push":
            rows = [(what["table"], what["keys"], row) for row in what["rows"]]
        case "push_mixed":
            rows = [(item["table"], item["keys"], item["row"]) for item in what]
        case "batch":
            return "/v2/import/batch", dumps(_batch(what))
        case "raw":
            return what["path"], what["body"]
        case _:
            raise AssertionError(f"a request of an unknown kind: {kind}")
    body = [
        {
            "client_id": 1,
            "table_name": table,
            "sequence": sequence,
            "action": "upsert",
            "key_names": keys,
            "data": data,
        }
        for table, keys, (sequence, data) in rows
    ]
    return "/v2/import/push", dumps(body)


def _batch(what: Mapping[str, Any]) -> dict[str, Any]:
    properties = BATCH_SCHEMA if what["schema"] == "$V" else what["schema"]
    messages: list[dict[str, Any]] = [
        {"action": "upsert", "sequence": sequence, "data": data} for sequence, data in what["rows"]
    ]
    if "activate" in what:
        last = max((sequence for sequence, _ in what["rows"]), default=0)
        messages.append({"action": "activate_version", "sequence": last + 1})
    body = {
        "table_name": what["table"],
        "schema": {"type": "object", "properties": properties},
        "key_names": what["keys"],
        "messages": messages,
    }
    version = what.get("version", what.get("activate"))
    return body if version is None else body | {"table_version": version}


def _error_of_step(rig: Rig, source_id: int, number: int, expected: Mapping[str, Any]) -> list[str]:
    wanted = expected.get("errors_after", {}).get(str(number))
    if wanted is None:
        return []
    errors = [status.error or "" for status in rig.store.tables.list_statuses(source_id)]
    return [
        f"after step {number}: no error contains {text!r}; errors are {errors}"
        for text in wanted
        if not any(text in error for error in errors)
    ]


def _stopped(rig: Rig, source_id: int, expected: Mapping[str, Any]) -> list[str]:
    statuses = rig.store.tables.list_statuses(source_id)
    stopped = sorted(status.table_name for status in statuses if status.error is not None)
    said = []
    if stopped != sorted(expected.get("stopped", [])):
        said.append(f"stopped: expected {expected.get('stopped', [])}, found {stopped}")
    if "error" in expected and not any(expected["error"] in (s.error or "") for s in statuses):
        errors = [status.error for status in statuses]
        said.append(f"error: expected {expected['error']!r}, found {errors}")
    return said


def _webhooks(rig: Rig, source_id: int, expected: list[dict[str, Any]]) -> list[str]:
    from treadle.store.hook_body import build_hook_body

    source = rig.store.sources.get_source(None, source_id)
    assert source is not None
    made = [
        build_hook_body(load, source.name)
        for load in reversed(rig.store.loads.list_loads(source_id=source_id))
        if load.error is None
    ]
    if len(made) == len(expected) and all(map(_covers, made, expected)):
        return []
    return [f"webhooks: expected {expected}, found {made}"]


def _covers(found: Any, expected: Any) -> bool:
    """Whether `found` has all that is expected of it; what is not listed is not compared."""
    match expected:
        case dict():
            return isinstance(found, dict) and all(
                key in found and _covers(found[key], value) for key, value in expected.items()
            )
        case list():
            return len(found) == len(expected) and all(map(_covers, found, expected))
        case _:
            return bool(found == expected)
