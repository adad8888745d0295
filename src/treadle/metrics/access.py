"""Decides which requests come from this machine: they need no token for `/metrics`."""

import re
from typing import Final

from starlette.types import Scope

from treadle.http.hosts import is_loopback_host, parse_address, read_host

_PROXY_HEADER: Final = re.compile(
    rb"forwarded|via|forwarded-.*|x-forwarded|x-forwarded-.*|x-original-.*|x-envoy-.*|x-appengine-.*"
    rb"|cf-.*|fastly-.*|x-azure-.*|x-amz-cf-.*|x-amzn-.*|x-arr-.*|x-proxy-.*|x-proxyuser-.*|x-nginx-.*"
    rb"|proxy-.*|wl-proxy-.*|x-real-.*|.*-?client-?ip|.*-?remote-?(?:ip|addr|host|user)"
    rb"|.*-?(?:cluster|originating|connecting|user|source|real|true)-?(?:client-?)?ip"
)
"""Headers that proxies add: the client behind them is not on this machine."""


def came_through_proxy(scope: Scope) -> bool:
    """Return whether somebody passed a request on.

    Each usual header of a proxy says so. A proxy that adds none may still speak HTTP/1.0, as nginx
    does by default, and no monitor of today does.
    """
    if scope.get("http_version") == "1.0":
        return True
    # Underscores count as hyphens, because some proxies replace hyphens by them.
    return any(_PROXY_HEADER.fullmatch(name.replace(b"_", b"-")) for name, _ in scope["headers"])


def is_local_request(scope: Scope) -> bool:
    """Return whether a request was certainly made on this machine, for this machine.

    Its connection comes from a loopback address, no proxy passed it on, and it names the server by
    a loopback name, as a page of another server that was led here cannot.
    """
    client = scope.get("client")
    peer = parse_address(str(client[0])) if client else None
    return (
        peer is not None
        and peer.is_loopback
        and not came_through_proxy(scope)
        and is_loopback_host(read_host(scope))
    )
