"""The page about the API: what a browser may do with it, and who gets it."""

import asyncio
import base64
import hashlib
import re
from typing import Any

import httpx
import pytest
from tests.integration.control.api import NOT_FOUND, Api

from treadle.control.app import create_control_app
from treadle.http.hosts import AllowedHosts


def fetch(app: Any, path: str, host: str = "localhost:8484", method: str = "GET") -> httpx.Response:
    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, headers={"Host": host})

    return asyncio.run(get())


def make_app(api: Api, **options: Any) -> Any:
    return create_control_app(
        api.store,
        api.settings,
        changed=lambda: None,
        **{"allowed_hosts": AllowedHosts.parse("127.0.0.1", "docs.example.com"), **options},
    )


def read_policy(answer: httpx.Response) -> dict[str, set[str]]:
    parts = answer.headers["content-security-policy"].split(";")
    return {name: set(rest) for name, *rest in (part.split() for part in parts)}


def test_the_policy_allows_no_inline_code_and_no_frame(api: Api) -> None:
    answer = fetch(api.app, "/docs")
    policy = read_policy(answer)
    assert "unsafe" not in answer.headers["content-security-policy"]
    for name in ("default-src", "frame-ancestors", "base-uri", "form-action"):
        assert policy[name] == {"'none'"}
    assert policy["style-src"] == {"'self'"}
    assert policy["connect-src"] == {"'self'"}
    assert answer.headers["x-frame-options"] == "DENY"
    assert len(answer.headers.get_list("content-security-policy")) == 1


def test_the_policy_names_the_script_that_is_in_the_page(api: Api) -> None:
    answer = fetch(api.app, "/docs")
    scripts = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    assert len(scripts) == 1
    assert "SwaggerUIBundle" in scripts[0]
    digests = {
        "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"
        for script in scripts
    }
    assert read_policy(answer)["script-src"] == {"'self'"} | digests
    # Nothing else in the page would need 'unsafe-inline'.
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", answer.text)


def test_every_page_below_it_has_a_policy(api: Api) -> None:
    assert "sha256-" in fetch(api.app, "/docs/oauth2-redirect").headers["content-security-policy"]
    script = fetch(api.app, "/docs/static/swagger-ui-bundle.js")
    assert script.status_code == 200
    assert int(script.headers["content-length"]) == len(script.content)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8484", "", "localhost.evil.example", "127.0.0.1.evil.example",
     "192.168.0.9", "localhost:80@evil.example"],
)  # fmt: skip
def test_under_an_unknown_name_there_is_no_page(api: Api, host: str) -> None:
    app = make_app(api)
    for path in ("/docs", "/docs/", "/docs/static/swagger-ui.css", "/docs/oauth2-redirect"):
        answer = fetch(app, path, host)
        assert answer.status_code == 421
        assert answer.json()["error"] == "UnknownHost"
        assert "allowed_hosts" in answer.json()["data"]["message"]
        assert host == "" or host not in answer.text


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1:8484", "[::1]:8484", "docs.example.com", "DOCS.EXAMPLE.COM:443"],
)
def test_under_a_known_name_there_is_one(api: Api, host: str) -> None:
    assert fetch(make_app(api), "/docs", host).status_code == 200


def test_the_api_itself_is_served_under_any_name(api: Api) -> None:
    app = make_app(api)
    assert fetch(app, "/v4/sources", "anything.example").status_code == 401
    assert fetch(app, "/openapi.json", "anything.example").status_code == 200


def test_the_page_can_be_turned_off(api: Api) -> None:
    app = make_app(api, serves_docs=False)
    for path in ("/docs", "/docs/static/swagger-ui.css", "/docs/oauth2-redirect"):
        answer = fetch(app, path)
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    assert fetch(app, "/openapi.json").status_code == 200


def test_behind_a_path_all_links_of_the_page_have_it(api: Api) -> None:
    app = make_app(api, public_path="/data/treadle")
    answer = fetch(app, "/docs")
    assert answer.status_code == 200
    links = re.findall(r'(?:href|src)="([^"]+)"', answer.text)
    links += re.findall(r"url: '([^']+)'", answer.text)
    assert len(links) == 4
    for link in links:
        assert link.startswith(("/data/treadle/docs/static/", "/data/treadle/openapi.json"))
        # The proxy takes the path away.
        found = fetch(app, link.removeprefix("/data/treadle"))
        assert found.status_code == 200, link
