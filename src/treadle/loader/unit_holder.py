"""What this process has of the units: it beats, takes, gives up, and is asked by its threads.

A loader that is alone, with a store in a file, has nobody to tell that it is there: it takes its
units when it begins, and says nothing more. Every other one beats once a second, in a thread of its
own, so that no log and no destination can keep it from that.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from queue import SimpleQueue
from typing import Any, Final

from treadle import failpoint
from treadle.clock import read_monotonic
from treadle.counting import count_noun
from treadle.errors import RetriableError, TreadleError
from treadle.loader.share import (
    BeatRecord,
    LoaderNotes,
    LostMember,
    MoveName,
    SharePlan,
    plan_share,
)
from treadle.store.membership import (
    FOREVER_US,
    MEMBER_BEAT_SECONDS,
    MEMBER_LASTS_US,
    BeatAnswer,
    ClusterMember,
    HeldUnit,
)
from treadle.store.releases import THIS_RELEASE
from treadle.store.store import Store

AFTER_SECONDS: Final = 0.02
"""A beat that is to see that somebody is lost comes so long after it."""

LOST_KEPT: Final = 100
"""Lost members whose sessions a destination that was not reached so far may still have to end."""

logger = logging.getLogger("treadle.loader")


class UnitHolder:
    """The units of this process.

    Any thread may ask `fences`, `get_fence`, `lost`, `leaving` and `is_current`, and report a fence
    that was overtaken. The thread of the loader's supervisor calls the rest.

    Args:
        store: has members and units.
        member: this process.
        beats: others may take what it has, so that it has to say that it is there.
        monotonic: microseconds, of a clock that nobody sets.
        on_refused: called when the store asks for a newer treadle than this; it begins nothing
            more then.
    """

    def __init__(
        self,
        store: Store,
        member: ClusterMember,
        *,
        beats: bool,
        monotonic: Callable[[], int] = read_monotonic,
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._member = member
        self._own_notes = dict(member.notes)
        self._beats = beats
        self._monotonic = monotonic
        self._on_refused = on_refused
        self._lasts_us = MEMBER_LASTS_US if beats else FOREVER_US
        self._lock = threading.RLock()
        self._woken = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        # Under the lock:
        self._is_joined = False
        self._notes = LoaderNotes()
        self._seen: tuple[object, ...] | None = None
        self._overtaken: dict[str, int] = {}
        """Unit -> the greatest fence that a destination was seen to hold of it."""
        self._asked: Mapping[str, str] = {}
        """Unit -> its former holder, of a take that the store has not answered."""
        self._is_ending = False
        """Whether nothing more is taken; what this process has it keeps until it has finished."""
        self._pause_seconds = MEMBER_BEAT_SECONDS
        self._is_silent = False
        """Whether the store has not answered the last beat."""
        self._reports: SimpleQueue[tuple[str, int]] = SimpleQueue()
        # Replaced as a whole, and read by any thread:
        self._record = BeatRecord()
        self.fences: Mapping[str, int] = {}
        """Unit -> its fence, of the units that this process has; another object after a change."""
        self.leaving: frozenset[str] = frozenset()
        """Units that another loader should have, of those of `fences`: nothing of them begins."""
        self.lost: tuple[LostMember, ...] = ()
        """The members whose units this one took and who did not give them up, the last ones."""

    # --- for any thread ---------------------------------------------------------------------------

    @property
    def member_id(self) -> str:
        """The id of this process."""
        return self._member.id

    @property
    def is_current(self) -> bool:
        """Whether nobody can have taken what this process has; else it begins nothing."""
        return not self._beats or self._record.may_begin(self._monotonic())

    def get_fence(self, unit: str) -> int | None:
        """Return the fence of a unit; None where nothing of it may begin now."""
        if unit in self.leaving or not self.is_current:
            return None
        return self.fences.get(unit)

    def report_overtaken(self, unit: str, held: int) -> None:
        """Have the store asked who has a unit, because a destination holds a greater fence.

        If it is this process all the same, the store was brought back to an earlier state. Then the
        unit is taken again, with a fence above the one that is held.

        Args:
            unit: its name.
            held: the fence of the destination.
        """
        self._reports.put((unit, held))
        self._woken.set()

    # --- for the supervisor's thread --------------------------------------------------------------

    def want(self, logs: Iterable[int], exclusive: Iterable[int]) -> None:
        """Say what this process can load.

        Args:
            logs: numbers of the logs that it has opened.
            exclusive: ids of destinations; see `LoaderNotes`.
        """
        with self._lock:
            wanted = replace(self._notes, logs=frozenset(logs), exclusive=frozenset(exclusive))
            if wanted != self._notes:
                self._notes = wanted
                self._woken.set()

    def note_settled(self, fences: Mapping[str, int], moves: Collection[MoveName]) -> None:
        """Tell the others of which moves this process has nothing open.

        Args:
            fences: those that this was found out with. With others it says nothing.
            moves: all of them.
        """
        with self._lock:
            if fences is self.fences and self._notes.settled != frozenset(moves):
                self._notes = replace(self._notes, settled=frozenset(moves))
                self._woken.set()

    def start(self) -> None:
        """Take what there is to take; then go on in a thread, where others may take from it.

        Raises:
            RetriableError, OperatorError: of the store, at the first beat.
        """
        self._is_ending = False
        self.beat()
        if self._beats and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="beats", daemon=True)
            self._thread.start()

    def beat_if_asked(self) -> None:
        """Take what is wanted now, where no thread does."""
        if self._thread is None and self._woken.is_set():
            self.beat()

    def release(self, leaving: frozenset[str], busy: frozenset[str]) -> None:
        """Give up units that are leaving, of which nothing is under way any more.

        Args:
            leaving: the value of `leaving` from before it was asked what is busy.
            busy: units of which something is under way, or is not recorded yet.
        """
        given = leaving - busy
        if not given:
            return
        with self._lock:
            if leaving is not self.leaving:
                return  # one may have been kept for a moment, and something of it begun
            self._store.units.give_up_units(self._member.id, given)
            self._drop(given)
            self.leaving = leaving - given
        logger.debug("gave up %s", count_noun(len(given), "unit", "units"))

    def finish(self) -> None:
        """Take nothing more. Beats go on, so that nobody takes what is still being loaded."""
        self._is_ending = True

    def stop(self) -> None:
        """End the thread; what is left is lost to others in a few seconds, unless `leave` comes."""
        self._stop.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(MEMBER_BEAT_SECONDS * 5)

    def leave(self) -> None:
        """Give everything up at once, because nothing is under way and this process ends."""
        with self._lock:
            self.fences, self.leaving = {}, frozenset()
            if self._is_joined:
                try:
                    self._store.members.leave(self._member.id)
                except TreadleError as error:
                    logger.warning("others take over in a few seconds, not at once: %s", error)

    # --- beats ------------------------------------------------------------------------------------

    def beat(self) -> None:
        """Say that this process is there, and take and leave what it should.

        Raises:
            RetriableError, OperatorError: of the store; or another process has the seat of this.
        """
        with self._lock:
            self._woken.clear()
            self._take_reports()
            begun = self._monotonic()
            if not self._is_joined:
                self._join()
            answer = self._store.members.beat(self._member.id, self._encode_notes(), self._lasts_us)
            if answer is None:
                self._come_back()
                return
            refusal = THIS_RELEASE.find_refusal(answer.least_schema, answer.form)
            if refusal is not None:
                logger.error("this loader stops: %s", refusal)
                self._stop.set()
                self._on_refused()
                return
            if not self.is_current:
                # It was away: what others have taken is not its own any more, before it begins.
                self._compare(self._store.units.list_units())
            self._record = self._record.add_beat(begun, self._monotonic())
            # So that a loader that is about to be lost is followed the moment it is.
            self._pause_seconds = min(MEMBER_BEAT_SECONDS, answer.next_us / 1e6 + AFTER_SECONDS)
            self._follow(answer)

    def _take_reports(self) -> None:
        while not self._reports.empty():  # only one thread at a time takes from it
            unit, held = self._reports.get()
            self._overtaken[unit] = max(held, self._overtaken.get(unit, 0))

    def _join(self) -> None:
        self._member = replace(self._member, notes=self._encode_notes())
        self._store.members.join(self._member, self._lasts_us)
        self._is_joined = True

    def _come_back(self) -> None:
        """Find out why this process is not listed any more, and join again if nobody replaced it.

        Raises:
            RetriableError: another process runs in its place.
        """
        self._drop(self.fences.keys())
        self._seen = None
        for one in self._store.members.list_members():
            if one.is_live and one.member.seat == self._member.seat:
                raise RetriableError(
                    f"another process is {self._member.name} of {self._member.place}; this one "
                    "loads nothing"
                )
        self._is_joined = False
        self._woken.set()

    def _follow(self, answer: BeatAnswer) -> None:
        """Do about units what follows from a beat."""
        may_take_lost = not self._beats or self._record.may_take_lost(self._monotonic())
        seen = (
            [one.id for one in answer.loaders],
            [one.notes for one in answer.loaders],
            answer.silent,
            answer.changes,
            may_take_lost,
        )
        if seen == self._seen and not self._overtaken:
            return
        units = self._store.units.list_units()
        self._compare(units)
        plan = plan_share(
            self._member.id, answer.loaders, answer.silent, units, may_take_lost=may_take_lost
        )
        again = self._overtaken.keys() & self.fences.keys()
        self.leaving = plan.leave
        if (plan.take or again) and not self._is_ending:
            self._take(plan, again, units)
        self._overtaken.clear()
        self._seen = seen

    def _compare(self, units: Iterable[HeldUnit]) -> None:
        """Follow what the store says of the units that this process has."""
        held = {one.unit: one.fence for one in units if one.holder == self._member.id}
        gone = self.fences.keys() - held.keys()
        if gone:
            logger.warning(
                "other loaders have taken %s of this one, which they did not hear from in time",
                count_noun(len(gone), "unit", "units"),
            )
        # Taken with a take that was not answered: its holders may have left them, or be lost.
        for unit in (held.keys() - self.fences.keys()) & self._asked.keys():
            self._add_lost([LostMember(self._asked[unit], held[unit])])
        if held != self.fences:
            self.fences = held

    def _take(self, plan: SharePlan, again: Collection[str], units: Iterable[HeldUnit]) -> None:
        """Take units; all that follows from it has to hold also if the answer does not come."""
        before = self._notes
        self._notes = replace(before, settled=frozenset())
        self._asked = {
            one.unit: one.holder
            for one in units
            if one.unit in plan.take and one.holder not in (None, self._member.id)
        }
        above = max((self._overtaken[unit] for unit in again), default=0)
        taken = self._store.units.take_units(
            self._member.id, plan.take.union(again), self._encode_notes(), above
        )
        self._asked = {}
        if not taken.units:
            self._notes = before
            return
        failpoint.reach("share.taken")
        if taken.lost:
            logger.warning(
                "took over %s of a loader that was lost",
                count_noun(len(taken.units), "unit", "units"),
            )
            # Before the fences: who sees them has to see whose sessions are to be ended.
            self._add_lost(LostMember(one, taken.fence) for one in sorted(taken.lost))
        self.fences = {**self.fences, **dict.fromkeys(taken.units, taken.fence)}

    def _add_lost(self, members: Iterable[LostMember]) -> None:
        new = [one for one in members if one not in self.lost]
        self.lost = (*self.lost, *new)[-LOST_KEPT:]

    def _drop(self, units: Collection[str]) -> None:
        self.fences = {unit: its for unit, its in self.fences.items() if unit not in units}

    def _run(self) -> None:
        while not self._stop.is_set():
            self._woken.wait(self._pause_seconds)
            if self._stop.is_set():
                return
            try:
                self.beat()
            except TreadleError as error:
                if not self._is_silent:
                    logger.warning(
                        "the beat of this loader was not taken, and without one it begins nothing "
                        "more in a few seconds: %s",
                        error,
                    )
                self._is_silent = True
                self._stop.wait(MEMBER_BEAT_SECONDS / 4)
            except Exception:
                logger.exception("the beat of this loader failed")
                self._stop.wait(MEMBER_BEAT_SECONDS / 4)
            else:
                if self._is_silent:
                    logger.info("the beat of this loader was taken again")
                self._is_silent = False

    def _encode_notes(self) -> dict[str, Any]:
        """Return the notes of a loader for the store, with what its release knows."""
        return {**self._own_notes, **self._notes.encode(), **THIS_RELEASE.notes}
