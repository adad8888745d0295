"""Who a process is among the members."""

import logging
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Final

from treadle import __version__
from treadle.config import Config
from treadle.errors import OperatorError
from treadle.server.factories import name_home, name_place
from treadle.store.members import MemberRepository
from treadle.store.membership import HOME_NOTE, MEMBER_LASTS_US, ClusterMember, SeenMember
from treadle.store.releases import THIS_RELEASE

logger = logging.getLogger("treadle.server")

_LOOK_SECONDS: Final = 0.5


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
        notes={**THIS_RELEASE.notes, HOME_NOTE: name_home(config)},
    )


def take_place(
    config: Config, members: MemberRepository, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Take the processes off the list that were in the place of a server before it.

    The data folder is locked by then: no process that ran there before is there any more. A name of
    the setting `member` may have been given to a server of another folder, too. Of those that are
    listed under it and ran elsewhere, only one that lives goes on to say that it is there. So that
    is waited for, until they are lost. What a dead one has sent to the store may be done late: so
    one word of a process is none.

    Args:
        config: the settings.
        members: the list.
        sleep: waits some seconds.

    Raises:
        OperatorError: another server has the name.
    """
    if config.store is None:  # the store itself is in the folder
        members.forget_place(None)
        return
    place = name_place(config)
    if config.member is not None:
        _await_end(members, place, name_home(config), sleep)
    members.forget_place(place)


def _await_end(
    members: MemberRepository, place: str, home: str, sleep: Callable[[float], None]
) -> None:
    before = _list_live(members, place, home)
    if before:
        logger.info("the name %s was in use a moment ago; waiting for its end", place)
    words: Counter[str] = Counter()
    while before:
        sleep(_LOOK_SECONDS)
        found = _list_live(members, place, home)
        for member_id, seen in found.items():
            if member_id in before and seen.left_us > before[member_id].left_us:
                words[member_id] += 1
            if words[member_id] > 1:
                raise OperatorError(
                    f"member is {place}, and another server of that name is at work on the host "
                    f"{seen.member.host}: give each server a name of its own, or remove the "
                    "setting, and one is made of the machine and the data folder"
                )
        before = found


def _list_live(members: MemberRepository, place: str, home: str) -> dict[str, SeenMember]:
    """Return id -> process of a place that said a moment ago that it is there, from elsewhere."""
    return {
        seen.member.id: seen
        for seen in members.list_members()
        if seen.member.place == place
        and seen.member.notes.get(HOME_NOTE) != home
        and 0 < seen.left_us <= MEMBER_LASTS_US
    }
