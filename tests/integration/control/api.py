"""The control API over a real store, and a check of every answer against its own document."""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from fastapi import FastAPI
from tests.servers.document import Document

from treadle.control.app import ConnectApiSettings, create_control_app
from treadle.http.paths import collapse_slashes
from treadle.store.model import Account
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

JSON = "application/json;charset=UTF-8"
NOT_FOUND = {"status": "NOT FOUND"}
NOT_AUTHORIZED = {"message": "Not Authorized"}


@dataclass(frozen=True)
class Answer:
    """A status and a JSON body.

    Attributes:
        text: the body as sent; `body` is its value.
    """

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def pair(self) -> tuple[int, Any]:
        """What most tests compare."""
        return self.status, self.body


DOCUMENTS: Final[dict[tuple[tuple[str, ...], ConnectApiSettings], Document]] = {}
"""By the calls and the settings of a server: making one takes longer than most tests."""


def describe(app: FastAPI, settings: ConnectApiSettings) -> Document:
    """What the document of a server says."""
    kind = tuple(sorted(getattr(route, "name", "") for route in app.routes)), settings
    if kind not in DOCUMENTS:
        DOCUMENTS[kind] = Document(app.openapi())
    return DOCUMENTS[kind]


class Api:
    """One server of the control API.

    Attributes:
        changes: how often the room said that something changed.
        uses: how often each account token was used, by its id.
        now: the store's clock, microseconds since 1970; every reading moves it by a second.
    """

    def __init__(self, folder: Path, settings: ConnectApiSettings | None = None) -> None:
        self.settings = settings or ConnectApiSettings()
        self.changes = 0
        self.uses: Counter[int] = Counter()
        self.now = 1_549_385_095_123_456
        self.minted = 0
        self.path = folder / "store.sqlite"
        self.store = Store.open(
            f"sqlite:///{self.path}", SecretCipher(bytes(32)), clock=self._clock, mint=self._mint
        )
        self.app = self.server(self.settings)
        self.document = describe(self.app, self.settings)
        self.account, self.token = self.store.accounts.create_account("first")

    def _clock(self) -> int:
        self.now += 1_000_000
        return self.now

    def _mint(self, prefix: str) -> str:
        self.minted += 1
        return f"{prefix}secret{self.minted:04}"

    def _changed(self) -> None:
        asyncio.get_running_loop()  # promised: it is called on the event loop
        self.changes += 1

    def _count_use(self, token_id: int, origin: str | None) -> None:
        asyncio.get_running_loop()  # promised as well
        assert origin == "127.0.0.1"
        self.uses[token_id] += 1

    def server(self, settings: ConnectApiSettings) -> FastAPI:
        """Another server over the same store."""
        return create_control_app(
            self.store,
            settings,
            changed=self._changed,
            count_use=self._count_use,
            clock=lambda: self.now,
        )

    def another_account(self) -> tuple[Account, str]:
        """A second account and its token."""
        return self.store.accounts.create_account("second")

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, its answer checked against the document.

        Args:
            method: HTTP method.
            path: with the query.
            body: JSON value to send; None for no body.
            raw: bytes to send in its place.
            token: account token; empty for the first account's, None for no header.
            headers: further headers.
        """
        sent = dict(headers or {})
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token or self.token}")
        # As bytes, because a client may send any in a header.
        coded = {name.encode(): value.encode("latin-1") for name, value in sent.items()}
        content = raw if body is None else json.dumps(body).encode()

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport) as client:
                # As a whole: a path that begins with two slashes would be taken for a host.
                url = f"http://here{path}"
                return await client.request(method, url, content=content, headers=coded)

        response = asyncio.run(send())
        answer = Answer(response.status_code, response.text, response.headers)
        assert response.headers["content-type"] == JSON
        assert response.text == _compact(answer.body)
        meant = collapse_slashes(response.request.url.path)
        self.document.check(method, meant, answer.status, answer.body)
        return answer

    def get(self, path: str, **more: Any) -> Answer:
        return self.call("GET", path, **more)

    def post(self, path: str, body: object = None, **more: Any) -> Answer:
        return self.call("POST", path, body, **more)

    def put(self, path: str, body: object = None, **more: Any) -> Answer:
        return self.call("PUT", path, body, **more)

    def delete(self, path: str, **more: Any) -> Answer:
        return self.call("DELETE", path, **more)

    def create(self, display_name: str = "Import API", **more: Any) -> Any:
        """A source, made over the API."""
        answer = self.post(
            "/v4/sources", {"type": "import_api", "display_name": display_name}, **more
        )
        assert answer.status == 200
        return answer.body

    def use(self, secret: str) -> None:
        """Let a token authenticate a push, as the ingest room records it."""
        pusher = self.store.tokens.find_owner(_sha256(secret))
        assert pusher is not None
        assert self.store.tokens.record_first_use(pusher.token_id, self.now)

    def pushes(self, secret: str) -> bool | None:
        """Whether a token may push: None when it is unknown or revoked."""
        pusher = self.store.tokens.find_owner(_sha256(secret))
        return None if pusher is None else pusher.active


def _sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


MakeApi = Callable[[ConnectApiSettings], Api]
