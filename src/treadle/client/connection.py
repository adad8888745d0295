"""The connection to a server: where it is, and how it is trusted."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from treadle.client.connection_fault import make_trust
from treadle.client.request_sender import TIMEOUT
from treadle.config import is_loopback
from treadle.errors import OperatorError


@dataclass(frozen=True, slots=True, repr=False)
class ServerAddress:
    """A server, and the token to show it.

    Attributes:
        url: without a path of the API.
        token: an import token of a source.
        socket: the UNIX socket to connect to; None to connect to the host of the URL.
        authority: file with certificates of the authorities to trust, in PEM; None for the
            common ones, or those that SSL_CERT_FILE names.
    """

    url: str
    token: str
    socket: Path | None = None
    authority: Path | None = None


def open_http(address: ServerAddress, connections: int) -> httpx.AsyncClient:
    """Open a client with the base URL and the token.

    Args:
        address: of the server.
        connections: at the same time, at most.

    Raises:
        OperatorError: the URL is none, or the file of the authorities cannot be used.
    """
    try:
        base_url = httpx.URL(address.url)
    except httpx.InvalidURL as error:
        raise OperatorError(f"The URL of the server is not valid: {error}") from error
    trust = make_trust(address.authority) or True
    limits = httpx.Limits(max_connections=connections)
    transport = None
    if address.socket is not None:
        transport = httpx.AsyncHTTPTransport(uds=str(address.socket), limits=limits, verify=trust)
    return httpx.AsyncClient(
        base_url=base_url,
        transport=transport,
        headers={
            "Authorization": f"Bearer {address.token}",
            "Content-Type": "application/json",
        },
        timeout=TIMEOUT,
        # A proxy of the environment is for other machines, not for this one.
        trust_env=not is_loopback(urlsplit(address.url).hostname or ""),
        limits=limits,
        verify=trust,
    )
