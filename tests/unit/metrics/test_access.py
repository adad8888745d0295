from typing import Any

import pytest

from treadle.metrics.access import came_through_proxy, is_local_request


def make_scope(
    headers: dict[str, str] | None = None,
    *,
    peer: tuple[str, int] | None = ("127.0.0.1", 5),
    host: str | None = "localhost:8484",
    version: str = "1.1",
) -> Any:
    sent = {**({} if host is None else {"host": host}), **(headers or {})}
    return {
        "type": "http",
        "http_version": version,
        "client": peer,
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
    }


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.5.5.5", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8484", "[::1]:8484", "LOCALHOST."])
def test_a_monitor_on_this_machine(peer: str, host: str) -> None:
    headers = {"Accept": "*/*", "User-Agent": "Prometheus/3", "X-Prometheus-Scrape-Timeout": "1"}
    assert is_local_request(make_scope(headers, peer=(peer, 5), host=host))


@pytest.mark.parametrize(
    "name",
    [
        "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
        "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-By", "X-Forwarded-Prefix",
        "X-Forwarded-Ssl", "X-Forwarded", "Forwarded-For", "X-Real-IP", "X-RealIP", "X-Client-IP",
        "Client-IP", "X-Cluster-Client-IP", "True-Client-IP", "CF-Connecting-IP", "CF-Ray",
        "Fastly-Client-IP", "Fly-Client-IP", "X-Original-Forwarded-For", "X-Original-Host",
        "X-Envoy-External-Address", "X-Envoy-Expected-Rq-Timeout-Ms", "X-Appengine-User-IP",
        "X-Azure-ClientIP", "X-Azure-SocketIP", "X-Originating-IP", "X-Remote-IP", "X-Remote-Addr",
        "WL-Proxy-Client-IP", "Proxy-Client-IP", "Proxy-Authorization", "Proxy-Connection",
        "X-ProxyUser-IP", "X-Amzn-Trace-Id", "X-Amz-Cf-Id", "X-ARR-LOG-ID",
        "X_Forwarded_For", "X_Real_IP",
    ],
)  # fmt: skip
def test_a_header_of_a_proxy(name: str) -> None:
    assert came_through_proxy(make_scope({name: "1.2.3.4"}))
    assert not is_local_request(make_scope({name: ""}))


def test_nginx_that_adds_no_header_speaks_an_old_version() -> None:
    scope = make_scope({"Connection": "close"}, host="127.0.0.1:8484", version="1.0")
    assert not is_local_request(scope)


@pytest.mark.parametrize(
    "scope",
    [
        make_scope(host="evil.example"),
        make_scope(host="localhost.evil.example"),
        make_scope(host=None),
        make_scope(host="0.0.0.0"),  # noqa: S104 - compared
        make_scope(peer=("192.0.2.7", 5)),
        make_scope(peer=("::ffff:192.0.2.7", 5)),
        make_scope(peer=None),
        make_scope(peer=("", 0)),
    ],
)
def test_what_did_not_surely_come_from_this_machine(scope: Any) -> None:
    assert not is_local_request(scope)
