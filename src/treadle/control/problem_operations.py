"""What is told of problems, and how nobody is told of one for a while."""

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from treadle.control import errors
from treadle.control.load_operations import invalid_parameter
from treadle.control.traces import TraceFiles
from treadle.errors import TreadleError
from treadle.log.protocol import LogReader
from treadle.store.model import Account
from treadle.store.store import Store
from treadle.timestamps import format_microseconds
from treadle.traces.refusal_file import read_counts
from treadle.traces.refusals import merge_counts
from treadle.tracking.problem_finder import RejectionWatch, find_shown_problems, read_server
from treadle.tracking.problem_kinds import (
    SHOWN_KINDS,
    FoundProblem,
    ProblemIdentity,
    order_problems,
)
from treadle.tracking.problem_spells import list_ended_spells, read_spells

FRESH_SECONDS: Final = 2.0
"""For how long what was found is shown, at least."""

FRESH_FACTOR: Final = 20
"""And so many times as long as finding it took, so that looks take a twentieth of a processor."""

COUNT_SECONDS: Final = 4.0
"""For how long a number of problems is shown that nobody looked for."""

ENDED_US: Final = 7 * 86_400_000_000
"""How long problems are shown that are over."""

SNOOZE_SECONDS: Final = 86_400
SNOOZE_SECONDS_MAX: Final = 30 * 86_400

PROBLEMS_MAX: Final = 1000
"""Most problems of one answer."""

_PLACE: Final = re.compile(r"(destination|hook|token) ([0-9]+)")


class SnoozeBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a snooze.

    Attributes:
        seconds: for how long; 0 ends it.
    """

    seconds: int = SNOOZE_SECONDS


@dataclass(slots=True)
class ProblemWatch:
    """Finds problems for whoever looks, not more often than it pays; any thread may ask.

    Attributes:
        store: knows most of what problems are made of.
        open_reader: opens the log; called at the first look.
        files: of the server.
        load_age_us: how long records wait by the settings, microseconds.
    """

    store: Store
    open_reader: Callable[[], LogReader]
    files: TraceFiles
    load_age_us: int = 1_000_000
    monotonic: Callable[[], float] = time.monotonic
    _reader: LogReader | None = None
    _watch: RejectionWatch = field(default_factory=RejectionWatch)
    _found: Sequence[FoundProblem] | None = None
    _found_at: int = 0
    _looked_at: float = 0.0
    _fresh_seconds: float = FRESH_SECONDS
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    _is_closed: bool = False

    def look(self) -> tuple[Sequence[FoundProblem], int]:
        """Return the problems that there are, and when they were looked for.

        Raises:
            RetriableError: the store or the log is not available now.
            OperatorError: one of them cannot be used.
        """
        with self._lock:
            began = self.monotonic()
            if self._found is None or began - self._looked_at >= self._fresh_seconds:
                self._find()
                self._looked_at = self.monotonic()
                took = self._looked_at - began
                self._fresh_seconds = max(FRESH_SECONDS, FRESH_FACTOR * took)
            return self._found or (), self._found_at

    def count(self, account_id: int) -> int | None:
        """Return how many problems an account has that are not snoozed.

        It waits for nothing: another thread looks now and then.

        Returns:
            None where nobody has looked for problems yet.
        """
        found = self._found
        if found is None or self.monotonic() - self._looked_at >= COUNT_SECONDS:
            self._look_apart()
        if found is None:
            return None
        snoozed = self.store.snoozes.list_snoozes(self.files.clock())
        return sum(one.account_id == account_id and one.identity not in snoozed for one in found)

    def _look_apart(self) -> None:
        """Look in a thread, unless one does so already."""
        thread = self._thread
        if (thread is None or not thread.is_alive()) and not self._is_closed:
            self._thread = threading.Thread(target=self._look_quietly, daemon=True)
            self._thread.start()

    def _look_quietly(self) -> None:
        with contextlib.suppress(TreadleError):  # who asks for the list is told
            self.look()

    def close(self) -> None:
        """Close the log, if it was opened."""
        with self._lock:
            self._is_closed = True
            reader, self._reader = self._reader, None
            if reader is not None:
                reader.close()

    def _find(self) -> None:
        if self._is_closed:
            return
        if self._reader is None:
            self._reader = self.open_reader()
        now = self.files.clock()
        refused = merge_counts(read_counts(self.files.refusals, now))
        self._found = find_shown_problems(
            self.store,
            self._reader,
            self.files.log_quota,
            self._watch,
            now,
            self.load_age_us,
            refused,
            read_server(self.files.counters, self.files.examinations, now),
        )
        self._found_at = now


def list_problems(store: Store, watch: ProblemWatch, account: Account) -> dict[str, Any]:
    """Return the problems of an account, the worst first, and those that ended in the last days."""
    found, looked_at = watch.look()
    now = watch.files.clock()
    snoozed = store.snoozes.list_snoozes(now)
    own = order_problems(one for one in found if one.account_id == account.id)
    return {
        "problems": [render_problem(one, snoozed.get(one.identity)) for one in own[:PROBLEMS_MAX]],
        "ended": _list_ended(store, watch.files, account, now),
        "looked_at": format_microseconds(looked_at),
    }


def snooze_problem(
    store: Store, watch: ProblemWatch, account: Account, problem_id: str, raw: bytes
) -> dict[str, Any]:
    """Let nobody be told of a problem for a while, and return it.

    Raises:
        RequestRefusedError: 400 for a body that does not fit; 404 for no such problem now.
    """
    body = _parse_body(raw)
    found, _ = watch.look()
    for one in found:
        if one.account_id == account.id and name_problem(one.identity) == problem_id:
            until = watch.files.clock() + body.seconds * 1_000_000
            store.snoozes.snooze_problem(one.identity, one.named, until)
            return render_problem(one, until if body.seconds else None)
    raise errors.problem_not_found(problem_id)


def _parse_body(raw: bytes) -> SnoozeBody:
    try:
        body = msgspec.json.decode(raw or b"{}", type=SnoozeBody)
    except (ValueError, RecursionError) as error:
        raise invalid_parameter("the body", f"an object with the key seconds: {error}") from error
    if not 0 <= body.seconds <= SNOOZE_SECONDS_MAX:
        raise invalid_parameter("seconds", f"a number from 0 to {SNOOZE_SECONDS_MAX}")
    return body


def name_problem(identity: ProblemIdentity) -> str:
    """Return the id of a problem: the same as long as the problem lasts."""
    return hashlib.sha256("\0".join(map(str, identity)).encode()).hexdigest()[:16]


def render_problem(problem: FoundProblem, snoozed_until: int | None) -> dict[str, Any]:
    """Return a problem as JSON."""
    kind = SHOWN_KINDS[problem.kind]
    place = _PLACE.fullmatch(problem.key)
    return {
        "problem_id": name_problem(problem.identity),
        "kind": kind.name,
        "level": kind.level,
        "since": format_microseconds(problem.since),
        "found": kind.found,
        "named": problem.named,
        "said": problem.said or None,
        "remedy": problem.remedy or kind.remedy,
        "source_id": problem.source_id,
        "table": problem.table_name,
        "destination_id": int(place[2]) if place and place[1] == "destination" else None,
        "hook_id": int(place[2]) if place and place[1] == "hook" else None,
        "token_id": int(place[2]) if place and place[1] == "token" else None,
        "snoozed_until": None if snoozed_until is None else format_microseconds(snoozed_until),
    }


def _list_ended(
    store: Store, files: TraceFiles, account: Account, now: int
) -> list[dict[str, Any]]:
    """Return what ended in the last days, the last one first, as noted or as told by mail."""
    since = now - ENDED_US
    spells = [] if files.problems is None else read_spells(files.problems)
    ended = [
        (one.kind, one.named, one.began, one.ended or 0)
        for one in list_ended_spells(spells, since)
        if one.account_id == account.id
    ]
    ended += [
        (one.kind, one.named, one.began_at, one.ended_at)
        for one in store.notices.list_ended_notices(since)
        if one.account_id == account.id
        and (one.kind, one.named, one.began_at) not in {found[:3] for found in ended}
    ]
    ended.sort(key=lambda one: -one[3])
    return [
        {
            "kind": kind,
            "named": named,
            "began_at": format_microseconds(began),
            "ended_at": format_microseconds(ended_at),
        }
        for kind, named, began, ended_at in ended[:PROBLEMS_MAX]
    ]
