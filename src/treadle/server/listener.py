"""The socket that the server listens at, and the rule of which addresses it may take."""

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treadle.certificate import read_certificate
from treadle.config import Config, format_host, is_loopback
from treadle.errors import OperatorError
from treadle.server.file_limit import LISTEN_BACKLOG

PROBE_SECONDS = 2.0
"""Seconds for the attempt to connect to a UNIX socket that exists already, to see if a process
listens there."""

ANY_HOSTS: Final = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
"""Values of the setting `host` that stand for all addresses of a machine."""


@dataclass(frozen=True, slots=True)
class SocketFile:
    """The file of a UNIX socket, as this process made it."""

    path: Path
    inode: int


@dataclass(frozen=True, slots=True)
class ServerListener:
    """A socket that listens.

    Attributes:
        socket: the workers inherit it.
        address: where it listens, as it is announced: a URL, or `unix:` and a path.
        url: at which a client on this machine reaches it; the one inside of a UNIX socket.
        file: of a UNIX socket; None for an address.
    """

    socket: socket.socket
    address: str
    url: str
    file: SocketFile | None = None

    def close(self) -> None:
        """Close the socket, and remove the file of a UNIX socket unless it is another's by now."""
        self.socket.close()
        if self.file is not None:
            with contextlib.suppress(OSError):
                if self.file.path.stat().st_ino == self.file.inode:
                    self.file.path.unlink()


def open_listener(config: Config) -> ServerListener:
    """Listen where the settings say.

    Raises:
        OperatorError: that cannot be had, or other machines would reach it without TLS.
    """
    path = config.socket_path
    if path is not None:
        return _listen_at_socket(config, path)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        check_transport(config, str(address[0]))
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(LISTEN_BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise OperatorError(
            f"Cannot listen at {config.host} port {config.port}: {error.strerror}; stop what "
            "listens there, or choose another address with --host and --port."
        ) from error
    scheme = "http" if config.tls_cert is None else "https"
    port = listening.getsockname()[1]
    return ServerListener(
        listening,
        f"{scheme}://{format_host(config.host)}:{port}",
        config.url.removesuffix(f":{config.port}") + f":{port}",
    )


def check_transport(config: Config, address: str) -> None:
    """Refuse to serve other machines in clear, unless the operator said that it is meant.

    Args:
        config: the settings.
        address: that `host` names, looked up.

    Raises:
        OperatorError: other machines reach the address, without TLS.
    """
    if config.tls_cert is not None or config.insecure_http or is_loopback(address):
        return
    raise OperatorError(
        f"host is {config.host}, which other machines reach, and there is no TLS: tokens and "
        "records would cross the network in clear. Set tls_cert and tls_key; or let a proxy with "
        "TLS listen there, and set host to 127.0.0.1 or to unix: and a path; or set insecure_http "
        "to true where the network is trusted."
    )


def _listen_at_socket(config: Config, path: Path) -> ServerListener:
    _remove_stale_socket(path)
    listening = socket.socket(socket.AF_UNIX)
    try:
        # `PRIVATE_UMASK` keeps others from connecting until the file has the mode of the setting.
        listening.bind(bytes(path))
        path.chmod(int(config.socket_mode, 8))
        listening.listen(LISTEN_BACKLOG)
        file = SocketFile(path, path.stat().st_ino)
    except OSError as error:
        listening.close()
        raise OperatorError(
            f"Cannot listen at the socket {path}: {error.strerror}; make its folder writable for "
            "this user, or name another path in host."
        ) from error
    return ServerListener(listening, f"unix:{path}", config.url, file)


def _remove_stale_socket(path: Path) -> None:
    """Remove a socket that a killed server left: nobody listens at it.

    Raises:
        OperatorError: somebody does, or it is something else than a socket.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OperatorError(
                f"Cannot listen at the socket {path}: something else has this name; move it away, "
                "or name another path in host."
            )
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(PROBE_SECONDS)
            probe.connect(bytes(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    except ConnectionRefusedError:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        return
    except OSError as error:
        if not isinstance(error, TimeoutError) and error.errno != errno.EAGAIN:
            raise OperatorError(
                f"Cannot see whether somebody listens at the socket {path}: "
                f"{os.strerror(error.errno or 0)}; remove it, or name another path in host."
            ) from error
    raise OperatorError(
        f"Cannot listen at the socket {path}: another server does; stop it, or name another path "
        "in host."
    )


def name_address(config: Config, listening: socket.socket) -> str:
    """Return where a server listens, as people on other machines are told.

    In place of an address that stands for all of a machine's it has the name of the machine.

    Args:
        config: the settings.
        listening: the socket, which knows the port.
    """
    if config.socket_path is not None:
        return f"unix:{config.socket_path}"
    scheme = "http" if config.tls_cert is None else "https"
    host = socket.gethostname() if config.host in ANY_HOSTS else config.host
    return f"{scheme}://{format_host(host)}:{listening.getsockname()[1]}"


def choose_client_url(config: Config, listener: ServerListener) -> str:
    """Return a URL of the server that a client can verify, as far as the settings tell one."""
    if config.tls_cert is None or config.socket_path is not None:
        return listener.url
    names = read_certificate(config.tls_cert).names
    hosts = [name for name in names if not set("*=") & set(name)]
    if config.host in names or not hosts:
        return listener.url
    return f"https://{format_host(hosts[0])}:{listener.socket.getsockname()[1]}"
