"""A process that says each second that it is there, as a member that shares the work with others.

Loaders do so where they share their units. This is for all other members: gates, and those that
answer the Connect API.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from treadle.config import Config
from treadle.config.roles import MemberRole, format_roles
from treadle.errors import TreadleError
from treadle.server.child_channel import end_server
from treadle.server.member_identity import make_member
from treadle.store.members import MemberRepository
from treadle.store.membership import (
    ADDRESS_NOTE,
    DRAINING_NOTE,
    MEMBER_BEAT_SECONDS,
    MEMBER_LASTS_US,
    ClusterMember,
)
from treadle.store.releases import THIS_RELEASE, TreadleRelease
from treadle.store.store import Store

logger = logging.getLogger("treadle.server")

MARGIN_SECONDS: Final = 0.5
"""A member counts itself as lost so long before the others do."""

JOIN_SECONDS_MAX: Final = 3.0
"""The last statement is waited for so long."""


@dataclass(slots=True)
class MemberBeat:
    """Says for a process that it is there; `run` is for a thread.

    Attributes:
        members: the list of members.
        member: the process.
        release: of this treadle.
        address: where it listens, for people; empty where it does not.
        tell: returns what others are to know besides, for each beat; must not fail.
        on_refused: called once, when the upgrade to a newer treadle was finished.
        after_beat: called after each beat that was taken; what it raises counts as a failed beat.
        monotonic: seconds.
    """

    members: MemberRepository
    member: ClusterMember
    release: TreadleRelease = THIS_RELEASE
    address: str = ""
    tell: Callable[[], Mapping[str, Any]] = dict
    on_refused: Callable[[], None] = end_server
    after_beat: Callable[[], None] = lambda: None
    monotonic: Callable[[], float] = time.monotonic
    _beaten_at: float | None = None
    _is_failing: bool = False
    _is_draining: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)
    _woken: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to beat, in a thread of its own; the store may be away meanwhile."""
        self._thread = threading.Thread(target=self.run, name="beat", daemon=True)
        self._thread.start()

    def begin_drain(self) -> None:
        """Tell the others with a beat at once that this process is about to stop."""
        self._is_draining = True
        self._woken.set()

    def close(self) -> None:
        """Beat no more, and take the process off the list; a store that is away is not awaited."""
        self._stop.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS_MAX)

    @property
    def notes(self) -> dict[str, Any]:
        """What the others are to know of this process."""
        notes = {**self.member.notes, **self.release.notes, **self.tell()}
        if self.address:
            notes[ADDRESS_NOTE] = self.address
        if self._is_draining:
            notes[DRAINING_NOTE] = True
        return notes

    @property
    def is_live(self) -> bool:
        """Whether the others surely take this member for one that is there."""
        if self._beaten_at is None:
            return False
        lasts = MEMBER_LASTS_US / 1e6 - MARGIN_SECONDS
        return self.monotonic() - self._beaten_at < lasts

    def run(self) -> None:
        """Beat until `close`."""
        while not self._stop.is_set():
            self._woken.clear()
            self.beat()
            if not self._stop.is_set():
                self._woken.wait(MEMBER_BEAT_SECONDS)
        try:
            self.members.leave(self.member.id)
        except TreadleError as error:
            logger.debug("the member cannot be taken off the list: %s", error)

    def beat(self) -> None:
        """Beat once; what fails is said once, and tried again by the next beat."""
        began = self.monotonic()
        try:
            answer = self.members.note_beat(self.member.id, self.notes)
            if answer is None:
                self.members.join(replace(self.member, notes=self.notes))
            else:
                refusal = self.release.find_refusal(answer.least_schema, answer.form)
                if refusal is not None and not self._stop.is_set():
                    logger.error("this server stops: %s", refusal)
                    self._stop.set()
                    self.on_refused()
                    return
            self._beaten_at = began
            self.after_beat()
        except TreadleError as error:
            if not self._is_failing:
                logger.warning("other members cannot be told that this one is there: %s", error)
            self._is_failing = True
        else:
            self._is_failing = False


def start_beat(
    config: Config,
    store: Store,
    name: str,
    since: int,
    address: str = "",
    tell: Callable[[], Mapping[str, Any]] = dict,
) -> MemberBeat | None:
    """Begin to beat for a process that answers requests; None where the store is a file.

    Args:
        config: the settings.
        store: open.
        name: of the process among those of the server.
        since: when it began, microseconds since 1970.
        address: where it listens, for people.
        tell: see `MemberBeat`.
    """
    roles = config.roles - {MemberRole.LOADER}
    if config.store is None or not roles:
        return None
    member = make_member(config, name, format_roles(roles), since)
    found = MemberBeat(store.members, member, address=address, tell=tell)
    found.start()
    return found
