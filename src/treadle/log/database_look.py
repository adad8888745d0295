"""What a look at the server of a database tells: its standbys, and its logs."""

from typing import NamedTuple


class StandbyLook(NamedTuple):
    """A standby as its primary shows it.

    Attributes:
        name: its application name.
        address: of its connection; empty where it is not shown.
        state: such as streaming.
        sync_state: sync, quorum, potential or async.
        lag_bytes: of the write-ahead log that it has not applied; None where it is not known.
    """

    name: str
    address: str
    state: str
    sync_state: str
    lag_bytes: int | None

    @property
    def is_synchronous(self) -> bool:
        """Return whether a commit may wait for it."""
        return self.sync_state in ("sync", "quorum")


class DatabaseLook(NamedTuple):
    """A server that takes writes.

    Attributes:
        host: as the URL names it.
        port: of it.
        version: of PostgreSQL.
        standby_names: its setting `synchronous_standby_names`.
        standbys: that are connected.
        shows_standbys: whether this user may see them.
        positions: log id -> the greatest position given, of the logs in the database.
    """

    host: str
    port: int
    version: str
    standby_names: str
    standbys: tuple[StandbyLook, ...]
    shows_standbys: bool
    positions: dict[str, int]
