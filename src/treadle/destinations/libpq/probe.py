"""A connection phase by phase, to say where it fails and how long each phase takes.

libpq tells the state of a connection that does not block. The connection is the one that a load
would make, with the same parameters.
"""

import ipaddress
import select
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Final

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGconn

from treadle.destinations.libpq.errors import translate_login
from treadle.destinations.protocol import DestinationUnavailableError
from treadle.destinations.rehearsal_result import CheckPhase, PhaseTimer

SECONDS_DEFAULT: Final = 10
"""Time of a connection whose parameters name no `connect_timeout`."""

_PHASES: Final[Mapping[pq.ConnStatus, CheckPhase]] = {
    pq.ConnStatus.STARTED: CheckPhase.CONNECT,
    pq.ConnStatus.SSL_STARTUP: CheckPhase.TLS,
    pq.ConnStatus.GSS_STARTUP: CheckPhase.TLS,
    pq.ConnStatus.AWAITING_RESPONSE: CheckPhase.LOG_IN,
    pq.ConnStatus.AUTHENTICATING: CheckPhase.LOG_IN,
    pq.ConnStatus.AUTH_OK: CheckPhase.LOG_IN,
}
"""States of libpq that begin a phase; in any other one the phase before goes on."""


def probe_connection(
    server: str, conninfo: str, parameters: Mapping[str, str], timer: PhaseTimer
) -> None:
    """Connect and close again; begin each phase of it at a timer.

    Args:
        server: the name of its kind, for errors.
        conninfo: that a load connects with.
        parameters: those of it, and for others their defaults.
        timer: of the rehearsal.

    Raises:
        DestinationUnavailableError, AccessDeniedError: as `Destination.open`.
    """
    names = list_host_names(parameters)
    if names:
        timer.begin(CheckPhase.NAME)
        _look_up(server, names, parameters.get("port") or "5432")
    timer.begin(CheckPhase.CONNECT)
    connection = pq.PGconn.connect_start(conninfo.encode())
    try:
        _await_connection(server, connection, timer, _read_seconds(parameters))
    finally:
        connection.finish()


def list_host_names(parameters: Mapping[str, str]) -> list[str]:
    """Return the hosts if all are names; a socket or an address among them needs no look-up."""
    if parameters.get("hostaddr"):
        return []
    hosts = [host.strip() for host in (parameters.get("host") or "").split(",")]
    are_names = all(host and host[0] not in "/@" and not _is_address(host) for host in hosts)
    return hosts if are_names else []


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def judge_state(state: int, phase: CheckPhase | None) -> CheckPhase | None:
    """Return the phase that a connection is in.

    Args:
        state: as libpq tells it.
        phase: it was in before.
    """
    return _PHASES.get(pq.ConnStatus(state), phase)


def _look_up(server: str, names: Sequence[str], port: str) -> None:
    """Look up the addresses of hosts; one that has any is enough."""
    fault = ""
    for name in names:
        try:
            socket.getaddrinfo(name, port.split(",")[0], type=socket.SOCK_STREAM)
        except OSError as error:
            fault = f"the host {name} has no address: {error.strerror}"
        else:
            return
    raise DestinationUnavailableError(f"{server} cannot be reached: {fault}")


def _read_seconds(parameters: Mapping[str, str]) -> float:
    """Return the time that connecting may take."""
    try:
        seconds = int(parameters.get("connect_timeout") or 0)
    except ValueError:
        seconds = 0
    return seconds if seconds > 0 else SECONDS_DEFAULT


def _await_connection(server: str, connection: PGconn, timer: PhaseTimer, seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        polled: int = pq.PollingStatus.FAILED
        if connection.status != pq.ConnStatus.BAD:
            polled = connection.connect_poll()
        phase = judge_state(connection.status, timer.phase)
        if phase is not None and phase is not timer.phase:
            timer.begin(phase)
            if phase is CheckPhase.LOG_IN and not connection.ssl_in_use:
                timer.drop(CheckPhase.TLS)  # it was asked for, and not to be had
        if polled == pq.PollingStatus.OK:
            return
        if polled == pq.PollingStatus.FAILED:
            text = connection.error_message.decode("utf-8", "replace")
            raise translate_login(psycopg.OperationalError(f"connection failed: {text}"), server)
        if not _await_socket(connection.socket, polled, until):
            raise DestinationUnavailableError(
                f"{server} cannot be reached: no answer within {seconds:g} s"
            )


def _await_socket(descriptor: int, polled: int, until: float) -> bool:
    """Wait until libpq can go on; return False when the time is over."""
    poller = select.poll()
    wanted = select.POLLIN if polled == pq.PollingStatus.READING else select.POLLOUT
    poller.register(descriptor, wanted)
    return bool(poller.poll(max(until - time.monotonic(), 0.0) * 1000))
