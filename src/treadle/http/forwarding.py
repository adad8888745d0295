"""Finds the client of a request that came through proxies.

A proxy adds a header that names its client. Anybody else can send such a header, too, so it is
believed as far as it was written by proxies that the operator trusts: the right-most address that
is not one of theirs counts (RFC 7239 8.1). What stands further left was sent by that address.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from starlette.types import ASGIApp, Receive, Scope, Send

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
RawHeaders = Iterable[tuple[bytes, bytes]]
"""Names in lower case."""

SOCKET_PEER: Final = "unix"
"""Among the trusted: whoever connects to a UNIX socket, and so has no address."""

HOPS_MAX: Final = 32
"""Proxies that a request may have come through, and are looked at."""

_FORWARDED: Final = re.compile(
    r"""\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[^\s",;]*)\s*([;,]|$)"""
)
"""One parameter of `Forwarded`, and what ends it: `;`, `,` or the end (RFC 7239 4)."""


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies that are believed.

    Attributes:
        networks: theirs.
        socket: whoever connects to the UNIX socket is one.
    """

    networks: tuple[Network, ...]
    socket: bool

    @classmethod
    def parse(cls, texts: Iterable[str], *, socket: bool) -> Self:
        """Make them of networks and `unix`, as the setting has them.

        Args:
            texts: of the setting.
            socket: the server listens at a UNIX socket. Elsewhere `unix` trusts nobody: a
                connection that is gone by now has no address either.
        """
        texts = tuple(texts)
        networks = tuple(ipaddress.ip_network(text) for text in texts if text != SOCKET_PEER)
        return cls(networks, socket and SOCKET_PEER in texts)

    def trust(self, address: Address | None) -> bool:
        """Return whether an address is a trusted proxy's; None stands for the UNIX socket."""
        if address is None:
            return self.socket
        return any(address in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """Whom a request comes from.

    Attributes:
        address: in its usual form; None where it came through a UNIX socket and no proxy told.
        scheme: `http` or `https`, as the client spoke it.
    """

    address: str | None
    scheme: str


def find_origin(
    peer: str | None, scheme: str, headers: RawHeaders, trusted: TrustedProxies
) -> RequestOrigin:
    """Return whom a request comes from.

    Where `X-Forwarded-For` and `Forwarded` name different clients, a proxy has written one of
    them and passed the other one on, and nothing tells which. Then neither is believed.

    Args:
        peer: the address at the other end of the connection; None for a UNIX socket.
        scheme: of the connection.
        headers: of the request.
        trusted: the proxies that are believed.
    """
    direct = RequestOrigin(peer, scheme)
    here = None if peer is None else parse_address(peer)
    if (peer is not None and here is None) or not trusted.trust(here):
        return direct
    simple: list[str] = []
    standard: list[str] = []
    spoken: list[str] = []
    by_name = {b"x-forwarded-for": simple, b"forwarded": standard, b"x-forwarded-proto": spoken}
    for name, value in headers:
        if name in by_name:
            by_name[name].append(value.decode("latin-1"))
    proto = spoken[-1].rpartition(",")[2].strip().lower() if spoken else ""
    told = RequestOrigin(peer, proto if _is_scheme(proto) else scheme)
    found: list[RequestOrigin] = []
    if simple:
        hops = [(hop.strip(), "") for hop in ",".join(simple).rsplit(",", HOPS_MAX)[-HOPS_MAX:]]
        found.append(_walk_back(told, hops, trusted))
    if standard:
        found.append(_walk_back(told, list(_read_forwarded(",".join(standard))), trusted))
    if not found or any(one.address != found[0].address for one in found):
        return told
    return found[-1]


def _walk_back(
    direct: RequestOrigin, hops: list[tuple[str, str]], trusted: TrustedProxies
) -> RequestOrigin:
    """Return the right-most client that is no trusted proxy, or the left-most of all.

    What is no address ends the walk: the proxy that wrote it is the last that is known.

    Args:
        direct: the other end of the connection.
        hops: node and scheme of each proxy's client, in the order of the header.
        trusted: the proxies that are believed.
    """
    origin = direct
    for node, proto in reversed(hops):
        address = parse_node(node)
        if address is None:
            break
        origin = RequestOrigin(str(address), proto if _is_scheme(proto) else direct.scheme)
        if not trusted.trust(address):
            break
    return origin


def _read_forwarded(text: str) -> Iterator[tuple[str, str]]:
    """Yield node and scheme of the last elements of `Forwarded`, in order.

    Nothing is yielded of what cannot be read as a whole: where one element ends is then not known.
    """
    hops: list[tuple[str, str]] = []
    element: dict[str, str] = {}
    place = 0
    while place < len(text):
        found = _FORWARDED.match(text, place)
        if found is None:
            return
        name, value, end = found[1].lower(), found[2], found[3]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        if name in element:
            return
        element[name] = value
        if end != ";":
            hops.append((element.get("for", ""), element.get("proto", "").lower()))
            element = {}
        place = found.end()
    yield from hops[-HOPS_MAX:]


def parse_node(text: str) -> Address | None:
    """Return the address of `1.2.3.4`, `1.2.3.4:80`, `[::1]:80` or `::1`; None for anything else.

    A proxy may also write `unknown` or a name of its own (RFC 7239 6).
    """
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        return parse_address(host)
    if text.count(":") == 1:
        text = text.partition(":")[0]
    return parse_address(text)


def parse_address(text: str) -> Address | None:
    """Return an address, an IPv4 address in IPv6 as the former; None where it is none.

    An address with a zone is none: it means something on one machine only, and the zone may hold
    any character.
    """
    if "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_scheme(text: str) -> bool:
    return text in ("http", "https")


class ForwardedOrigin:
    """An application that is told whom a request comes from, and not which proxy sent it on."""

    def __init__(self, app: ASGIApp, trusted: TrustedProxies) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            client = scope.get("client")
            peer = None if client is None else client[0]
            origin = find_origin(peer, scope["scheme"], scope["headers"], self._trusted)
            if origin.address is not None and origin.address != peer:
                scope["client"] = (origin.address, 0)
            scope["scheme"] = origin.scheme
        await self._app(scope, receive, send)
