"""Who a process is among the members."""

import socket
import uuid

from treadle import __version__
from treadle.config import Config
from treadle.server.factories import name_place
from treadle.store.membership import ClusterMember
from treadle.store.releases import THIS_RELEASE


def make_member(config: Config, name: str, role: str, since: int) -> ClusterMember:
    """Make the member that a process is.

    Args:
        config: the settings.
        name: of the process among those of the server, as in "worker 1".
        role: what it does.
        since: when it began, microseconds since 1970.
    """
    return ClusterMember(
        id=str(uuid.uuid4()),
        place=name_place(config),
        name=name,
        role=role,
        host=socket.gethostname(),
        version=__version__,
        since=since,
        notes=THIS_RELEASE.notes,
    )
