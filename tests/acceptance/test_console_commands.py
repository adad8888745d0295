"""What a page shows, its line "the same by command" prints, too (journey 42)."""

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.test_console import sign_in
from tests.servers.treadle import Client, TreadleServer, eventually

from treadle.cli.main import main


@dataclass
class FilledServer:
    """A server that has one of everything."""

    server: TreadleServer
    source: int
    browser: Any

    def see(self, path: str) -> str:
        """The text of a page."""
        answer = self.browser.get(f"/console{path}")
        assert answer.status_code == 200, answer.text[:500]
        return str(answer.text)

    def run(self, page: str) -> str:
        """What the command of a page prints."""
        found = re.search(r'<code id="same-command">(.*?)</code>', page)
        assert found, page
        words = shlex.split(unescape(found[1]))
        assert words.pop(0) == "treadle"
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            try:
                code = main(words)
            except SystemExit as ended:  # the page of settings names a help text
                code = int(ended.code or 0)
            assert code in (0, 1), words  # 1 where there is something to act on
        return out.getvalue()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilledServer]:
    data: Path = tmp_path_factory.mktemp("console") / "data"
    with TreadleServer(data, settings={"load_age_seconds": "0.2", "hook_urls": "any"}) as server:
        client = Client(server, *server.account())
        source, token = client.create_source("Shop")
        client.push(token, [{"id": 1}, {"id": 2, "n": 10**40}], table="orders", keys=["id"])
        calls = "/notifications/public/v1/api"
        for path, body in (
            (f"{calls}/hooks", {"type": "post_load", "config": {"url": "https://127.0.0.1/told"}}),
            (f"{calls}/custom-emails", {"email_address": "ann@example.com"}),
        ):
            assert client.http.post(path, json=body, headers=client.account).status_code == 200
        server.treadle("user", "add", "bo@example.com", "--name", "Bo", "--role", "admin")
        eventually(lambda: "orders" in server.treadle("loads", "--json"))
        with sign_in(server) as browser:
            yield FilledServer(server, source, browser)


PAGES = {
    "/": ["accepted", "rejected"],
    "/problems": ["orders"],
    "/sources": ["shop"],
    "/tables": ["orders"],
    "/loads": ["orders"],
    "/rejects": ["orders"],
    "/requests": ["orders"],
    "/destinations": ["duckdb"],
    "/hooks": ["127.0.0.1"],
    "/recipients": ["ann@example.com"],
    "/people": ["bo@example.com", "admin"],
    "/audit": ["add_user"],
    "/settings": ["load"],
    "/health": ["disk"],
    "/sources/{source}": ["shop"],
    "/sources/{source}/options": ["key_change"],
    "/sources/{source}/tokens": ["token"],
    "/sources/{source}/tables/orders": ["orders", "bigint"],
    "/sources/{source}/tables/orders/loads": ["orders"],
    "/sources/{source}/tables/orders/history": ["orders"],
    "/query?sql=select%20id%20from%20shop.orders": ["id"],
}


@pytest.mark.parametrize("path", PAGES)
def test_the_command_of_a_page_tells_the_same(filled: FilledServer, path: str) -> None:
    page = filled.see(path.format(source=filled.source))
    printed = filled.run(page)
    for word in PAGES[path]:
        assert word in page.lower(), f"the page {path} has no {word!r}"
        assert word in printed.lower(), f"the command of {path} printed:\n{printed}"
