"""Makes the OpenAPI document of a server without starting one."""

import tempfile
from contextlib import closing
from pathlib import Path

from treadle.config import Config
from treadle.http.hosts import AllowedHosts
from treadle.http.openapi import JsonObject
from treadle.server.control_service import ControlDoors, make_control_service
from treadle.server.factories import open_store


def make_server_document() -> JsonObject:
    """Return the document that a server with the default settings has at `/openapi.json`.

    The control API is made over an empty store, in a folder that is removed afterwards.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = Config(data=Path(folder))
        with closing(open_store(config)) as store:
            hosts = AllowedHosts.parse(config.host, config.allowed_hosts, config.public_url)
            service = make_control_service(config, store, hosts, _SILENT)
            document: JsonObject = service.app.openapi()
    return document


async def _plan_nothing(*_: object) -> list[object]:
    return []


_SILENT = ControlDoors(
    follow_change=lambda: None,
    count_use=lambda token_id, origin: None,
    count_refusal=lambda sha256: None,
    note_stranger=lambda address: None,
    plan_dry_run=_plan_nothing,  # type: ignore[arg-type]  # nothing is planned for a document
    wake=lambda name: None,
)
