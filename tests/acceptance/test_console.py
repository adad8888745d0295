"""The console of a running server: where it is, where it is not, and how it stops (console.md)."""

import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.servers.treadle import PATIENCE_SECONDS, Client, TreadleServer, eventually

BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "none"}
STREAMS = 5


@contextmanager
def sign_in(server: TreadleServer) -> Iterator[httpx.Client]:
    """A browser with a session, which follows nothing."""
    link = server.treadle("console").split()[0]
    with httpx.Client(base_url=server.url, timeout=PATIENCE_SECONDS, headers=BROWSER) as browser:
        answer = browser.get(link)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console")
        yield browser


def has_loaded(server: TreadleServer) -> bool:
    """Whether the worker has loaded a library that only pages need."""
    maps = Path(f"/proc/{server.processes()['worker 1']}/maps")
    return "markupsafe" in maps.read_text()


def test_a_browser_is_led_to_the_console_and_nobody_pays_before(tmp_path: Path) -> None:
    with TreadleServer(tmp_path / "data", forked=False) as server:
        plain = httpx.get(server.url, timeout=PATIENCE_SECONDS)
        assert (plain.status_code, plain.json()) == (404, {"status": "NOT FOUND"})
        led = httpx.get(server.url, headers=BROWSER, timeout=PATIENCE_SECONDS)
        assert (led.status_code, led.headers["location"]) == (303, "console/")
        assert not has_loaded(server)
        with sign_in(server) as browser:
            assert has_loaded(server)
            assert browser.get("/console/").headers["location"] == "/console/start"
            secret = browser.cookies["treadle_session"]
        for headers in (
            {"Cookie": f"treadle_session={secret}"},
            {"Authorization": f"Bearer {secret}"},
        ):
            for path in (
                "/v4/sources",
                "/v1/tokens",
                "/v1/loads",
                "/notifications/public/v1/api/hooks",
            ):
                answer = httpx.get(f"{server.url}{path}", headers=headers, timeout=PATIENCE_SECONDS)
                assert answer.status_code == 401
        metrics = httpx.get(f"{server.url}/metrics", timeout=PATIENCE_SECONDS).text
        assert 'treadle_http_requests_total{endpoint="console",status="303"} 2.0' in metrics


def test_a_console_that_is_off_is_not_there(tmp_path: Path) -> None:
    with TreadleServer(tmp_path / "data", settings={"console": "off"}) as server:
        for path in ("/", "/console", "/console/login", "/console/static/console.css"):
            answer = httpx.get(f"{server.url}{path}", headers=BROWSER, timeout=PATIENCE_SECONDS)
            assert (answer.status_code, answer.json()) == (404, {"status": "NOT FOUND"})
        assert not has_loaded(server)


def test_another_path_and_what_a_proxy_puts_before_it(tmp_path: Path) -> None:
    settings = {
        "console_path": "/ops/treadle",
        "public_url": "https://data.example.com/in",
        "trusted_proxies": "127.0.0.1",
        "allowed_hosts": "data.example.com",
    }
    with TreadleServer(tmp_path / "data", settings=settings) as server:
        flags = ("--console-path", "/ops/treadle", "--public-url", settings["public_url"])
        link = server.treadle("console", *flags).split()[0]
        assert link.startswith("https://data.example.com/in/ops/treadle/login?ephemeral_token=")
        local = link.replace("https://data.example.com/in", server.url)
        headers = {**BROWSER, "X-Forwarded-Proto": "https", "Host": "data.example.com"}
        answer = httpx.get(local, headers=headers, timeout=PATIENCE_SECONDS)
        assert answer.headers["location"] == "/in/ops/treadle"
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Secure-treadle_session=")
        assert "Path=/in/ops/treadle; HttpOnly; SameSite=Strict; Secure" in cookie
        assert httpx.get(f"{server.url}/console", timeout=PATIENCE_SECONDS).status_code == 404


def read_streams(
    server: TreadleServer, browser: httpx.Client
) -> tuple[list[str], list[threading.Thread]]:
    """Open streams as tabs do; what each has sent is in the list."""
    sent = [""] * STREAMS

    def read(number: int) -> None:
        with browser.stream("GET", "/console/events?topics=overview") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for text in answer.iter_text():
                sent[number] += text

    threads = [threading.Thread(target=read, args=(number,)) for number in range(STREAMS)]
    for thread in threads:
        thread.start()
    return sent, threads


@pytest.mark.parametrize("destination_url", ["duckdb"], indirect=True)
def test_a_stop_ends_streams_and_loses_no_request(server: TreadleServer, client: Client) -> None:
    _, token = client.create_source()
    with sign_in(server) as browser:
        sent, threads = read_streams(server, browser)
        eventually(lambda: all("event: region" in text for text in sent))
        statuses: list[int] = []
        while len(statuses) < 20:
            statuses.append(client.push(token, [{"id": len(statuses)}], table="t").status_code)
        began = time.monotonic()
        assert server.stop() == 0
        took = time.monotonic() - began
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        assert all('event: end\ndata: {"why":"server"}' in text for text in sent)
        assert statuses == [201] * 20
        # A stream that does not end by itself is cut after 6 s, and the process after 12.
        assert "connections are closed before" not in server.log.read_text()
        assert took < 60


@pytest.mark.parametrize("destination_url", ["duckdb"], indirect=True)
def test_a_stream_ends_with_the_account_token(server: TreadleServer) -> None:
    server.treadle("account", "token", "create")
    with sign_in(server) as browser:
        sent, threads = read_streams(server, browser)
        eventually(lambda: all("event: region" in text for text in sent))
        server.treadle("account", "token", "revoke", "1")
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        assert all('event: end\ndata: {"why":"session"}' in text for text in sent)
        assert browser.get("/console/help").status_code == 303


def test_on_a_terminal_the_link_to_the_console_is_first(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "treadle", "serve", "--port", "0"]
    command += ["--data", str(tmp_path / "data")]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=theirs, stderr=log)
    os.close(theirs)
    said = ""
    try:
        while "treadle listens at" not in said:
            said += os.read(ours, 1 << 16).decode()
        found = re.search(r"(http://\S+/console/login\?ephemeral_token=[0-9a-f]{64})", said)
        assert found, said
        assert said.index(found[1]) < said.index("treadle listens at")
        answer = httpx.get(found[1], timeout=PATIENCE_SECONDS)
        assert answer.status_code == 303
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
        os.close(ours)
    assert found[1].partition("=")[2] not in (tmp_path / "log").read_text()
