"""nginx and Caddy in front of a server, with TLS, under a name and under a path."""

import json
import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.front import FrontSite, find_program, pick_port, run_front
from tests.servers.treadle import PATIENCE_SECONDS, TreadleServer, eventually

from treadle.records.limits import BODY_BYTES_MAX

NAME, SITE = "treadle.example.com", "www.example.com"
BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "none"}
PROXY_LIMIT = 21 * 2**20
NGINX = pytest.mark.skipif(
    find_program("nginx") is None and os.environ.get("CI") != "true",
    reason="nginx is not installed: apt-get install nginx-light",
)
CADDY = pytest.mark.skipif(find_program("caddy") is None, reason="Caddy is not installed")


@pytest.mark.parametrize(
    ("file", "host", "path"),
    [
        pytest.param("nginx/treadle.conf", NAME, "", marks=NGINX),
        pytest.param("nginx/treadle-path.conf", SITE, "/treadle", marks=NGINX),
        pytest.param("caddy/Caddyfile", NAME, "", marks=CADDY),
        pytest.param("caddy/Caddyfile.path", SITE, "/treadle", marks=CADDY),
    ],
    ids=["nginx-name", "nginx-path", "caddy-name", "caddy-path"],
)
def test_all_of_it_works(file: str, host: str, path: str, tmp_path: Path) -> None:
    site = FrontSite(file, host, path, pick_port())
    settings = {
        "public_url": site.url,
        "trusted_proxies": "127.0.0.1",
        "load_age_seconds": "0.2",
    }
    with (
        TreadleServer(tmp_path / "data", settings=settings) as server,
        run_front(site, server.port) as trust,
        httpx.Client(
            base_url=f"https://127.0.0.1:{site.port}{path}",
            verify=trust,
            timeout=PATIENCE_SECONDS,
            headers={"Host": f"{host}:{site.port}"},
        ) as http,
    ):
        http.event_hooks = {"request": [lambda request: name_host(request, host)]}
        require_api(http, server)
        require_docs(http, path)
        require_console(http, server, site)
        assert http.get("/metrics").status_code == 404


def name_host(request: httpx.Request, host: str) -> None:
    """Have the certificate checked for the name of the site: it is no name that resolves."""
    request.extensions["sni_hostname"] = host


def require_api(http: httpx.Client, server: TreadleServer) -> None:
    """A source, a push of two megabytes, and bodies that are too large for one and for both."""
    client_id, account = server.account()
    made = http.post(
        "/v4/sources",
        json={"type": "import_api", "display_name": "Shop"},
        headers={"Authorization": f"Bearer {account}"},
    ).json()
    [token] = made["properties"]["token"].values()

    def push(body: bytes) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return http.post("/v2/import/push", content=body, headers=headers)

    record: dict[str, Any] = {
        "client_id": client_id,
        "table_name": "orders",
        "sequence": 1,
        "action": "upsert",
        "key_names": ["id"],
        "data": {"id": 1, "text": "x" * 2_000_000},
    }
    answer = push(json.dumps([record]).encode())
    assert (answer.status_code, answer.json()["status"]) == (201, "OK")
    answer = push(b" " * (BODY_BYTES_MAX + 1))
    assert answer.status_code == 413
    assert "(20971521 bytes)" in answer.text, "the answer is treadle's"
    assert push(b" " * (PROXY_LIMIT + 1)).status_code == 413
    assert push(b"[]").status_code != 413
    query = "select count(*) as n, max(length(text)) as size from shop.orders"
    eventually(lambda: server.query(query) == [{"n": 1, "size": 2_000_000}])


def require_docs(http: httpx.Client, path: str) -> None:
    """The page about the API, all that it loads, and where it sends requests to."""
    page = http.get("/docs").raise_for_status().text
    links = re.findall(r'(?:href|src)="([^"]+)"', page) + re.findall(r"url: '([^']+)'", page)
    assert len(links) == 4
    for link in links:
        assert link.startswith(f"{path}/")
        http.get(link.removeprefix(path)).raise_for_status()
    servers = http.get("/openapi.json").json().get("servers", [{"url": ""}])
    assert servers == [{"url": path}]


def require_console(http: httpx.Client, server: TreadleServer, site: FrontSite) -> None:
    """A link signs in, pages have all links below the path, and numbers come while they change."""
    link = server.treadle("console", "--public-url", site.url).split()[0]
    assert link.startswith(f"{site.url}/console/login?")
    answer = http.get(link.removeprefix(site.url), headers=BROWSER)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{site.path}/console")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Secure-treadle_session=")
    assert f"Path={site.path}/console;" in cookie
    # By hand, since the client asks an address and not the name that the cookie is for.
    signed = {**BROWSER, "Cookie": cookie.partition(";")[0]}
    page = http.get("/console/sources", headers=signed).raise_for_status()
    assert "Shop" in page.text
    links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
    assert len(links) > 10
    assert [one for one in links if not one.startswith(f"{site.path}/console")] == []
    events = "/console/events?topics=overview"
    with http.stream("GET", events, headers={**signed, "Accept": "text/event-stream"}) as stream:
        assert stream.status_code == 200
        assert any("event: region" in line for line in stream.iter_lines())
