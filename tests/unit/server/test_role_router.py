"""Which paths a member answers itself, and which another one does."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from treadle.config.roles import MemberRole, expand_roles
from treadle.server.role_router import RoleRouter

PATHS = {
    "/v2/import/push": "ingest",
    "/v2/import/batch": "ingest",
    "/v2/import/validate": "ingest",
    "/v2/import/status": "ingest",
    "/v1/clients/1/token/abc": "ingest",
    "/v1/tables/orders": "ingest",
    "/v1/receipts/rc_a": "ingest",
    "/v1/tables/orders/schema": "control",
    "/v1/query": "control",
    "/v4/sources": "control",
    "/v3/accounts": "control",
    "/notifications/public/v1/x": "control",
    "/console": "control",
    "/console/health": "control",
    "/healthz": "",
    "/readyz": "",
    "/v1/ready": "",
    "/metrics": "",
    "/": "",
    "/openapi.json": "",
}
"""Path -> the role that answers it; empty for every member."""


async def here(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})


async def ask(roles: frozenset[MemberRole], path: str) -> tuple[int, dict[str, str], bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "headers": []}
    await RoleRouter(here, roles, "/console")(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("role", ["ingest", "control", "loader", "all"])
def test_a_path_is_answered_by_its_role(role: str, path: str) -> None:
    roles = expand_roles([role])
    status, headers, body = asyncio.run(ask(roles, path))
    if PATHS[path] in ("", *(one.value for one in roles)):
        assert (status, body) == (200, b"here")
        return
    # A sender tries again, and a balancer tries another member.
    assert (status, headers["retry-after"]) == (503, "2")
    assert json.loads(body) == {
        "status": "ERROR",
        "message": f"Service unavailable: this member does not have the role {PATHS[path]}. "
        "Send the request to one that has it.",
    }
