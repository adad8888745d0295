"""Journey 20 as a whole: 500 requests a second for a minute, with the tail open in a browser.

    python -m tests.browser.tail_by_hand --rate 500 --seconds 60

It prints what the page and the browser did; an assertion ends it.
"""

import argparse
import contextlib
import re
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

import httpx
from playwright.sync_api import sync_playwright
from tests.browser.conftest import FLAGS, find_browser
from tests.browser.test_requests import HIDE, count_lines
from tests.browser.test_sources import sign_in
from tests.browser.watched import watch
from tests.servers.treadle import PATIENCE_SECONDS, Client, TreadleServer

SENDERS: Final = 4
BROWSER_BYTES_MAX: Final = 300_000_000


class TailSender:
    """Pushes one record a request at a rate, in threads."""

    def __init__(self, client: Client, token: str, rate: float) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {token}"}
        self.rate = rate
        self.took: list[float] = []
        self.last = ""
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._run) for _ in range(SENDERS)]

    def _run(self) -> None:
        body = [{
            "client_id": self.client.client_id, "table_name": "events", "sequence": 1,
            "action": "upsert", "key_names": ["id"], "data": {"id": 1},
        }]  # fmt: skip
        begin, sent = time.monotonic(), 0
        with httpx.Client(base_url=self.client.server.url, timeout=PATIENCE_SECONDS) as http:
            while not self.stop.is_set():
                due = begin + sent * SENDERS / self.rate
                self.stop.wait(max(0.0, due - time.monotonic()))
                began = time.monotonic()
                answer = http.post("/v2/import/push", json=body, headers=self.headers)
                self.took.append(time.monotonic() - began)
                assert answer.status_code == 201, answer.text
                self.last = answer.headers["Treadle-Receipt"]
                sent += 1


def measure_browser() -> int:
    """Private bytes of the browser's page: the renderer that has most."""
    sizes = [0]
    for words in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if b"--type=renderer" in words.read_bytes():
                rollup = (words.parent / "smaps_rollup").read_text()
                sizes.append(1024 * sum(map(int, re.findall(r"Private_\w+: +(\d+) kB", rollup))))
    return max(sizes)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        with TreadleServer(Path(folder) / "data", settings={"load_age_seconds": "0.2"}) as server:
            follow(browser, server, asked.rate, asked.seconds)
        browser.close()


def follow(browser: Any, server: TreadleServer, rate: float, seconds: float) -> None:
    """Push for so long, and look at the page meanwhile."""
    client = Client(server, *server.account())
    source_id, token = client.create_source("Tail")
    sender = TailSender(client, token, rate)
    lines, sizes = [0], [0]
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        seen.open(f"/requests?source={source_id}&status=201")
        url = seen.page.url
        for thread in sender.threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            seen.page.wait_for_timeout(1000)
            lines.append(count_lines(seen))
            sizes.append(measure_browser())
        top = seen.page.locator("table.tail tbody tr").first
        seen.page.evaluate("window.scrollTo(0, 900)")
        seen.page.locator("#hold-note").wait_for()
        before = top.get_attribute("id")
        seen.page.wait_for_timeout(3000)
        assert top.get_attribute("id") == before, "a list that is read stays"
        seen.page.evaluate("window.scrollTo(0, 0)")
        seen.page.wait_for_function(
            "before => document.querySelector('.tail tbody tr').id !== before", arg=before
        )
        seen.page.evaluate(HIDE, True)
        before = top.get_attribute("id")
        seen.page.wait_for_timeout(3000)
        assert top.get_attribute("id") == before, "a hidden tab asks for nothing"
        seen.page.evaluate(HIDE, False)
        sender.stop.set()
        for thread in sender.threads:
            thread.join()
        seen.page.locator(f"tr[id='{sender.last}']").wait_for(state="attached")
        assert seen.page.url == url
    took = sorted(sender.took)
    worker = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(server.processes()["worker 1"])],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    told = {
        "requests a second": len(took) / (seconds + 8),
        "push p50 ms": statistics.median(took) * 1000,
        "push p99 ms": took[int(len(took) * 0.99)] * 1000,
        "lines at most": max(lines),
        "page MB at most": max(sizes) / 1e6,
        "page MB after 10 s": sizes[min(10, len(sizes) - 1)] / 1e6,
        "worker kB": float(worker),
    }
    for name, value in told.items():
        print(f"{name}: {value:.1f}")  # noqa: T201 - this program's answer
    assert max(lines) <= 200
    assert max(sizes) < BROWSER_BYTES_MAX


if __name__ == "__main__":
    main()
