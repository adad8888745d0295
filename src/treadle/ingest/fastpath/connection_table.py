"""The connections of a worker, bounded, and which of them are closed when there are too many.

A connection over which no known token came belongs to a stranger. Strangers have a part of the
places, and one address has a part of theirs. When no place is left, the oldest connection of a
stranger is closed for the newest: a caller shows its token within milliseconds, so a connection
without one is soon the oldest. So a stranger who opens connections without end closes strangers'
connections only.

An account with known tokens has one place, or at most as many as it leaves free: one that opens
connections without end gets half of them, two get a third each. Its further connections are served
like any other, but they stay in the part of strangers, where they are closed for newer ones.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

from treadle.http.refusal_log import RefusalLog

CONNECTIONS_STATE: Final = "treadle.connections"
"""Key of the table in the application's state, by which connections find it."""

OWN_FILES: Final = 128
"""Files that a worker has open beside connections: the log, the store for each thread, counters."""

CONNECTIONS_MAX: Final = 8192
"""Most connections of a worker. An idle one takes about 15 KB."""

STRANGERS_MAX: Final = 1024
"""Most connections of strangers in a worker. At worst one takes 160 KB: a head, what was sent
ahead, 64 KB of a body and 64 KB of an answer."""

LOCAL_CONNECTIONS: Final = 16
"""Connections that are kept for this machine when all others are taken."""

EVICTED: Final = "a connection without a known token was closed, because a newer one took its place"
REFUSED: Final = "a request that is not served was refused, and its connection closed"
TURNED_AWAY: Final = "a connection was closed at once, because the worker has no more places"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The most connections that a worker has.

    Attributes:
        connections: from everywhere, without the places that are kept for this machine.
        local: further places that only this machine gets, for its health checks and commands.
        strangers: the most of `connections` that strangers may have.
        strangers_of_address: the most of `strangers` that may come from one address.
    """

    connections: int
    local: int
    strangers: int
    strangers_of_address: int

    @classmethod
    def from_open_files(cls, files: int, backlog: int) -> Self:
        """Return the limits of a worker that may have so many files open.

        Where files run out no log and no store can be opened either, so connections end below.

        Args:
            files: of the process, at most.
            backlog: connections that wait to be accepted, at most. All may be accepted at once,
                before any other is closed for them.
        """
        free = files - OWN_FILES - backlog - LOCAL_CONNECTIONS
        # A stranger may have two: a page of the documentation is read from a file.
        strangers = max(4, min(STRANGERS_MAX, free // 4))
        connections = max(8, min(free - strangers, CONNECTIONS_MAX))
        return cls(connections, LOCAL_CONNECTIONS, strangers, strangers // 2)


class TableConnection(Protocol):
    """A connection that can be closed to make room for another one."""

    def abort(self) -> None:
        """Close at once."""


@dataclass(slots=True)
class ConnectionTable:
    """The open connections of a worker.

    Attributes:
        limits: how many there may be.
        log: is told of connections that had to go, and of requests that were refused.
        count_refusal: called with the status of each such request, the address of its client, and
            why it was refused.
    """

    limits: ConnectionLimits
    log: RefusalLog
    count_refusal: Callable[[int, str, str], None]
    # With the account of the first token; None for a token of the whole installation.
    _known: dict[TableConnection, int | None] = field(default_factory=dict)
    _by_account: Counter[int | None] = field(default_factory=Counter)
    # In the order of their arrival, with the key of their address.
    _strangers: dict[TableConnection, str] = field(default_factory=dict)
    _by_address: dict[str, dict[TableConnection, None]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._known) + len(self._strangers)

    def add(self, connection: TableConnection, address: str) -> bool:
        """Give a new connection a place; another may have to go for it.

        Args:
            connection: as a stranger's.
            address: where it comes from; empty for a socket of this machine.

        Returns:
            False where there is no place for it.
        """
        key = get_address_key(address)
        limits = self.limits
        same = self._by_address.get(key, {})
        if len(same) >= limits.strangers_of_address:
            self._evict(next(iter(same)))
        elif self._strangers and (
            len(self._strangers) >= limits.strangers or len(self) >= limits.connections
        ):
            self._evict(next(iter(self._strangers)))
        places = limits.connections + (limits.local if is_local_address(address) else 0)
        if len(self) >= places:
            self.log.record(TURNED_AWAY, address)
            return False
        self._strangers[connection] = key
        self._by_address.setdefault(key, {})[connection] = None
        return True

    def mark_known(self, connection: TableConnection, account_id: int | None) -> bool:
        """Note that a known token came over a connection.

        Args:
            connection: that has a place.
            account_id: whose token it is; None for one of the whole installation.

        Returns:
            Whether it has a place of its account now; if not, it stays among the strangers.
        """
        free = self.limits.connections - len(self._known)
        its = self._by_account[account_id]
        if connection in self._strangers and (not its or its < free):
            self._remove_stranger(connection)
            self._known[connection] = account_id
            self._by_account[account_id] += 1
        return connection in self._known

    def remove(self, connection: TableConnection) -> None:
        """Forget a connection that is closed."""
        if connection in self._known:
            account_id = self._known.pop(connection)
            self._by_account[account_id] -= 1
            if not self._by_account[account_id]:
                del self._by_account[account_id]
        self._remove_stranger(connection)

    def record_refusal(self, status: int, address: str, why: str) -> None:
        """Count and log a request that was refused before anybody read it."""
        self.count_refusal(status, address, why)
        self.log.record(REFUSED, address, why)

    def _evict(self, connection: TableConnection) -> None:
        self.log.record(EVICTED, self._strangers[connection])
        self._remove_stranger(connection)
        connection.abort()

    def _remove_stranger(self, connection: TableConnection) -> None:
        key = self._strangers.pop(connection, None)
        if key is None:
            return
        same = self._by_address[key]
        del same[connection]
        if not same:
            del self._by_address[key]


def get_address_key(address: str) -> str:
    """Return what counts as one address: of IPv6 the network of 64 bits, which one user has."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))


def is_local_address(address: str) -> bool:
    """Return whether an address is of this machine; a socket in the file system has none."""
    if not address:
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.is_loopback
    return found.is_loopback
