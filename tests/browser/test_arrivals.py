"""The guide when something is wrong, and with every tool that it names (journeys 2, 3 and 4)."""

import json
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.browser.test_sources import sign_in
from tests.browser.watched import PATIENCE_MS, WatchedPage, watch
from tests.servers.shell import typed
from tests.servers.treadle import PATIENCE_SECONDS, Client, TreadleServer, eventually

MINUTE_US = 60_000_000


def wait_for(seen: WatchedPage, text: str) -> None:
    """Wait until step 3 says something."""
    seen.page.locator("#step-arrived", has_text=text).wait_for(timeout=PATIENCE_MS)


def test_j4_after_a_minute_without_anything_the_page_says_what_could_be_wrong(
    browser: Any, server: TreadleServer, client: Client
) -> None:
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        seen.open("/start")
        seen.press("Make the source")
        assert "Nothing has arrived" not in seen.text()
        # The source becomes older in place of a minute that passes.
        with closing(sqlite3.connect(server.data / "store.sqlite", timeout=60)) as store:
            store.execute("update sources set created_at = created_at - ?", (MINUTE_US,))
            store.commit()
        wait_for(seen, "Nothing has arrived for a minute")
        hints = seen.page.locator("#step-arrived").inner_text()
        assert "The server listens at 127.0.0.1" in hints
        assert "public_url" in hints
        seen.examine()
        seen.open("/requests")
        assert "Nothing arrived in the last hour" in seen.text()
        assert "The server listens at 127.0.0.1" in seen.text()


def test_j2_each_reason_is_said_and_what_to_change(
    browser: Any, server: TreadleServer, client: Client
) -> None:
    def push(token: str, body: str) -> int:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        url = f"{server.url}/v2/import/push"
        sent = httpx.post(url, content=body, headers=headers, timeout=PATIENCE_SECONDS)
        return sent.status_code

    good = json.dumps(
        [
            {
                "client_id": client.client_id,
                "table_name": "customers",
                "sequence": 1,
                "action": "upsert",
                "key_names": ["id"],
                "data": {"id": "1"},
            }
        ]
    )
    body = {"type": "import_api", "display_name": "Reasons"}
    source = client.http.post("/v4/sources", json=body, headers=client.account).json()
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        seen.open("/start")
        seen.press("Make another token")
        token = seen.page.locator("#made-secret").inner_text()
        assert push("at_" + "0" * 64, good) == 401
        wait_for(seen, "No token of this server is like the one that was sent")
        seen.examine()
        assert push(token, '[{"client_id"') == 400
        wait_for(seen, "A push is a JSON array of records")
        assert "No token of this server" not in seen.text()
        page = f"/v4/sources/{source['id']}"
        paused = {"paused_at": "2026-01-01T00:00:00Z"}
        assert client.http.put(page, json=paused, headers=client.account).status_code == 200
        wait_for(seen, "The source is paused, so pushes get 401")
        eventually(lambda: push(token, good) == 401)
        seen.examine()
        unpaused = {"paused_at": None}
        assert client.http.put(page, json=unpaused, headers=client.account).status_code == 200
        wait_for(seen, "The source was paused then, and takes requests now")
        eventually(lambda: push(token, good) == 201)
        seen.page.locator("#step-loaded.done").wait_for(timeout=PATIENCE_MS)
        cells = seen.page.locator("#first-row td")
        cells.first.wait_for(timeout=PATIENCE_MS)
        assert cells.first.inner_text() == "1"
        assert seen.page.locator("#row-sql").inner_text() == "select * from reasons.customers"
        seen.examine()


def find_python(tool: str) -> str:
    """The interpreter that has what a snippet needs."""
    if tool in ("httpx", "stitchclient") and find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")
    elif tool == "curl" and shutil.which("curl") is None and os.environ.get("CI") != "true":
        pytest.skip("curl is not installed")
    return sys.executable


@pytest.mark.parametrize("tool", ["curl", "httpx", "stitchclient", "singer", "push"])
def test_j3_each_snippet_loads_unchanged(
    browser: Any, server: TreadleServer, client: Client, tmp_path: Path, tool: str
) -> None:
    python = find_python(tool)
    body = {"type": "import_api", "display_name": f"By {tool}"}
    source = client.http.post("/v4/sources", json=body, headers=client.account).json()
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        seen.open("/start")
        seen.press("Make another token")
        labels = {"httpx": "Python", "singer": "Singer", "push": "treadle push"}
        seen.press(labels.get(tool, tool))
        assert "YOUR_TOKEN" not in seen.text()
        snippet = seen.page.locator("#snippet").inner_text()
        if tool in ("httpx", "stitchclient"):
            (tmp_path / "send.py").write_text(snippet)
            snippet = f"{python} send.py\n"
        typed(snippet, folder=tmp_path)
        # Until then step 4 shows the row of the test before.
        seen.page.locator("#row-sql", has_text=f"by_{tool}.customers").wait_for(timeout=PATIENCE_MS)
        seen.page.locator("#first-row", has_text="Ann").wait_for(timeout=PATIENCE_MS)
        path = f"/v1/requests?source={source['id']}"
        [sent] = client.http.get(path, headers=client.account).json()["requests"]
        assert (sent["state"], sent["records"], sent["rejected"]) == ("loaded", 1, 0)
