"""Finds the problems that there are now, in what the store and the log know already.

The functions whose names begin with `judge_` ask nothing. `find_problems` asks for mails, and
`find_shown_problems` for whoever looks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from treadle.log.protocol import LogReader, TableBacklog
from treadle.log.quota import LogQuota, LogSpace
from treadle.store.deliveries import DELIVERED, FAILED
from treadle.store.model import (
    AccessToken,
    ConfiguredDestination,
    RejectionTimes,
    Source,
    TableLoadStatus,
)
from treadle.store.store import Store
from treadle.text import digest_text
from treadle.traces.append_trace import AppendFailures, find_append_failures
from treadle.traces.examination import ExaminationKind, ExaminationNote, read_examination
from treadle.traces.log_server_note import LogServerTrouble, read_log_servers
from treadle.traces.refusals import RefusalCount
from treadle.tracking.problem_kinds import (
    APPENDS_FAILING,
    DATA_DELAYED,
    DESTINATION_DENIED,
    DESTINATION_UNAVAILABLE,
    DESTINATION_UNCHECKED,
    ENTRIES_DAMAGED,
    HOOK_FAILED,
    LOG_NEARLY_FULL,
    LOG_SERVER,
    NO_DESTINATION,
    RECORDS_REJECTED,
    SERVER_FINDING,
    TABLE_FAILING,
    TABLE_STOPPED,
    TOKEN_STILL_USED,
    TOKEN_UNUSED,
    FoundProblem,
)

REJECTION_US: Final = 86_400_000_000
"""How long after the last load that rejected records a table counts as one that rejects some. The
same holds for damaged entries."""

OVERLAP_US: Final = 600_000_000
"""How far a look at the loads reaches back before the last look: a load may be noted late."""

LATE_SHOWN_US: Final = 900_000_000
"""How much longer than usual records wait before that is shown. Mails are sent later."""

UNCHECKED_US: Final = 120_000_000
"""How long a destination may wait for its first check. A check takes a minute at most."""

STILL_SENT_US: Final = 3_600_000_000
"""How long after its last refusal a token that has ended counts as one that is still sent."""

CHANGEOVER_US: Final = 60_000_000
"""How long after its end a token may come without being a problem: in requests that were under way,
or as a last try whether it has ended, which the guide makes."""

UNUSED_US: Final = 30 * 86_400_000_000
"""How long a token is not used before somebody should look at it."""

UNUSED_TOKENS_MAX: Final = 1000
"""Most unused tokens that are shown."""


FINDING_US: Final = 86_400_000_000
"""How long after an examination its findings are shown as problems."""

TOLD_OTHERWISE: Final = frozenset(("server", "destination", "table", "hook"))
"""Subjects of findings that are problems of other kinds."""


@dataclass(slots=True)
class RejectionWatch:
    """Remembers which tables rejected records, or left damaged entries out, in the last day.

    At first it looks at the loads of a day, later only at those since the last look.
    """

    _looked_at: int | None = None
    _times: dict[tuple[int, str, str], tuple[int, int]] = field(default_factory=dict)
    """(source id, table, kind) -> when it began, and when it happened last."""

    def get_start(self, now: int) -> int:
        """Return since when loads have to be looked at, microseconds since 1970."""
        if self._looked_at is None or self._looked_at > now:
            return now - REJECTION_US
        return max(self._looked_at - OVERLAP_US, now - REJECTION_US)

    def add_times(self, found: Iterable[RejectionTimes], now: int) -> None:
        """Take what a look at the loads found, and forget what is over."""
        for one in found:
            for kind, first, last in (
                (RECORDS_REJECTED.name, one.rejected_first, one.rejected_last),
                (ENTRIES_DAMAGED.name, one.damaged_first, one.damaged_last),
            ):
                if first is not None and last is not None:
                    key = one.source_id, one.table_name, kind
                    began, ended = self._times.get(key, (first, last))
                    self._times[key] = min(began, first), max(ended, last)
        self._times = {
            key: times for key, times in self._times.items() if times[1] > now - REJECTION_US
        }
        self._looked_at = now

    def list_problems(self, sources: Mapping[int, Source]) -> Iterator[FoundProblem]:
        """Return the problems of sources that there are; others are deleted."""
        for (source_id, table_name, kind), (began, _) in self._times.items():
            source = sources.get(source_id)
            if source is not None:
                yield _make_table_problem(kind, source, table_name, began)


def judge_destinations(rows: Iterable[ConfiguredDestination]) -> Iterator[FoundProblem]:
    """Return the problems of destinations."""
    for row in rows:
        if row.trouble is None or row.deleted_at is not None:
            continue
        denied = row.trouble_kind == "denied"
        yield FoundProblem(
            row.account_id,
            (DESTINATION_DENIED if denied else DESTINATION_UNAVAILABLE).name,
            f"destination {row.id}",
            f"destination {row.id} ({row.name})",
            row.trouble_since or 0,
            row.trouble,
        )


def judge_tables(
    statuses: Iterable[TableLoadStatus], sources: Mapping[int, Source]
) -> Iterator[FoundProblem]:
    """Return the problems of tables that are stopped, and of sources whose schema lacks a right.

    A right is missing for many tables at once as a rule, so it is told for the source.
    """
    for status in statuses:
        source = sources.get(status.source_id)
        if source is None:
            continue
        if status.denied and not status.stopped:
            yield FoundProblem(
                source.account_id,
                DESTINATION_DENIED.name,
                f"source {source.id}",
                f"tables of {source.name}",
                status.error_since or 0,
                status.error or "",
                source_id=source.id,
            )
        elif status.stopped:
            yield _make_table_problem(
                TABLE_STOPPED.name,
                source,
                status.table_name,
                status.error_since or 0,
                status.error or "",
            )


def judge_delays(
    backlogs: Iterable[TableBacklog],
    statuses: Iterable[TableLoadStatus],
    sources: Mapping[int, Source],
    troubled: frozenset[int],
    now: int,
    load_age_us: int,
    least_us: int = DATA_DELAYED.delay_us,
) -> Iterator[FoundProblem]:
    """Return the problems of sources with records that wait too long, for no reason that is told.

    Args:
        backlogs: what waits, as the log sees it.
        statuses: how far tables are loaded, and which are stopped or lack a right.
        sources: by id, without deleted ones.
        troubled: ids of sources whose destination has a problem of its own.
        now: microseconds since 1970.
        load_age_us: how long records wait by the settings, microseconds.
        least_us: how much longer they wait at least.
    """
    known = {(one.source_id, one.table_name): one for one in statuses}
    oldest: dict[int, int] = {}
    for waits in backlogs:
        status = known.get((waits.source_id, waits.table_name))
        if waits.source_id not in sources or waits.source_id in troubled:
            continue
        if status is not None and (status.stopped or status.denied or status.loaded >= waits.last):
            continue
        oldest[waits.source_id] = min(waits.oldest, oldest.get(waits.source_id, waits.oldest))
    for source_id, accepted in oldest.items():
        late_since = accepted + load_age_us
        if now - late_since >= least_us:
            source = sources[source_id]
            yield FoundProblem(
                source.account_id,
                DATA_DELAYED.name,
                f"source {source_id}",
                source.name,
                late_since,
                source_id=source_id,
            )


def judge_log(
    quota: LogQuota, space: LogSpace, account_ids: Iterable[int], now: int
) -> Iterator[FoundProblem]:
    """Return the problem of the log, for each account: the requests of all are refused at last.

    It says nothing about figures, which are those of the whole server.
    """
    if quota.is_nearly_full(space):
        for account_id in account_ids:
            yield FoundProblem(account_id, LOG_NEARLY_FULL.name, "log", "the log", now)


def judge_appends(
    failures: AppendFailures | None, account_ids: Iterable[int]
) -> Iterator[FoundProblem]:
    """Return the problem of a disk that does not take writes, for each account.

    Args:
        failures: that are not over yet; None for none.
        account_ids: of all accounts: the requests of each are refused.
    """
    if failures is not None:
        for account_id in account_ids:
            yield FoundProblem(
                account_id, APPENDS_FAILING.name, "appends", "the log", failures.first
            )


def judge_log_servers(
    troubles: Iterable[LogServerTrouble], account_ids: Sequence[int]
) -> Iterator[FoundProblem]:
    """Return the problems of servers of logs, for each account.

    Args:
        troubles: that last for a while already.
        account_ids: of all accounts. Where there are several, none is told where the server is.
    """
    for one in troubles:
        key = f"log server {digest_text(one.place + one.said).hex()}"
        named = one.place if len(account_ids) == 1 else "the log"
        for account_id in account_ids:
            yield FoundProblem(account_id, LOG_SERVER.name, key, named, one.since, one.said)


def judge_findings(
    note: ExaminationNote | None, account_id: int, now: int
) -> Iterator[FoundProblem]:
    """Return the problems that the last examination found and nobody else tells.

    Args:
        note: the last examination; None for none.
        account_id: the only account of the server.
        now: microseconds since 1970. What was found more than a day ago may be mended since.
    """
    if note is None or note.finished_at is None or now - note.finished_at >= FINDING_US:
        return
    for one in note.findings:
        if one.level == "good" or one.subject in TOLD_OTHERWISE:
            continue
        yield FoundProblem(
            account_id,
            SERVER_FINDING.name,
            f"finding {digest_text(f'{one.subject} {one.found}').hex()[:16]}",
            one.subject,
            note.started_at,
            " ".join(part for part in (one.found, one.meaning) if part),
            remedy=one.remedy,
        )


def list_failed_deliveries(store: Store) -> Sequence[FoundProblem]:
    """Return the problems of hooks with a delivery that failed for good.

    A hook has this problem from the last try of a delivery on, until it takes a later one.
    """
    found: list[FoundProblem] = []
    for hook in store.hooks.list_hooks():
        if hook.disabled_at is not None or not hook.failed:
            continue
        failed = store.deliveries.list_deliveries(hook.id, state=FAILED, limit=1)
        taken = store.deliveries.list_deliveries(hook.id, state=DELIVERED, limit=1)
        if failed and not (taken and taken[0].number > failed[0].number):
            since = failed[0].finished_at or failed[0].created_at
            name = f"hook {hook.id}"
            found.append(FoundProblem(hook.account_id, HOOK_FAILED.name, name, name, since))
    return found


def judge_unserved(
    sources: Mapping[int, Source], of_source: Mapping[int, int]
) -> Iterator[FoundProblem]:
    """Return the problems of sources without a destination.

    Args:
        sources: by id, without deleted ones.
        of_source: source id -> its destination.
    """
    for source in sources.values():
        if source.id not in of_source:
            yield FoundProblem(
                source.account_id,
                NO_DESTINATION.name,
                f"source {source.id}",
                source.name,
                source.updated_at,
                source_id=source.id,
            )


def judge_unchecked(
    rows: Iterable[ConfiguredDestination], of_source: Mapping[int, int], now: int
) -> Iterator[FoundProblem]:
    """Return the problems of destinations with sources, of which no check has succeeded.

    Args:
        rows: all destinations.
        of_source: source id -> its destination, without deleted sources.
        now: microseconds since 1970.
    """
    used = frozenset(of_source.values())
    for row in rows:
        if row.usable_since is not None or row.deleted_at is not None or row.id not in used:
            continue
        if now - row.updated_at >= UNCHECKED_US:
            yield FoundProblem(
                row.account_id,
                DESTINATION_UNCHECKED.name,
                f"destination {row.id}",
                f"destination {row.id} ({row.name})",
                row.updated_at,
            )


def judge_failing(
    statuses: Iterable[TableLoadStatus], sources: Mapping[int, Source], troubled: frozenset[int]
) -> Iterator[FoundProblem]:
    """Return the problems of tables whose last load failed, for a reason of their own.

    Args:
        statuses: of tables that are not well; others may be among them.
        sources: by id, without deleted ones.
        troubled: ids of sources whose destination has a problem of its own.
    """
    for status in statuses:
        source = sources.get(status.source_id)
        if source is None or status.error is None or source.id in troubled:
            continue
        if not (status.stopped or status.denied):
            yield _make_table_problem(
                TABLE_FAILING.name,
                source,
                status.table_name,
                status.error_since or 0,
                status.error,
            )


def judge_ended_tokens(
    refused: Iterable[RefusalCount], ended: Mapping[int, AccessToken], now: int
) -> Iterator[FoundProblem]:
    """Return the problems of tokens that have ended and were sent in the last hour.

    One that was sent within a minute after its end only is none.

    Args:
        refused: counts of refused requests.
        ended: tokens that have ended, by id.
        now: microseconds since 1970.
    """
    firsts: dict[int, int] = {}
    for count in refused:
        token = ended.get(count.group.token_id)
        if token is None or not is_still_sent(count, now):
            continue
        if count.last >= _find_end(token) + CHANGEOVER_US:
            firsts[token.id] = min(count.first, firsts.get(token.id, count.first))
    for token_id, first in firsts.items():
        token = ended[token_id]
        if token.account_id is not None:
            yield FoundProblem(
                token.account_id,
                TOKEN_STILL_USED.name,
                f"token {token_id}",
                _name_token(token),
                max(first, _find_end(token)),
                source_id=token.source_id,
            )


def _find_end(token: AccessToken) -> int:
    """Return when a token ended, microseconds since 1970; 0 if that is not known."""
    return token.revoked_at or token.expires_at or 0


def is_still_sent(count: RefusalCount, now: int) -> bool:
    """Return whether refusals are those of a known token that was sent in the last hour."""
    return bool(
        count.group.token_id and count.group.status == 401 and now - count.last < STILL_SENT_US
    )


def judge_unused_tokens(
    tokens: Iterable[AccessToken], sources: Mapping[int, Source]
) -> Iterator[FoundProblem]:
    """Return the problems of tokens that nobody used for long.

    Args:
        tokens: active ones that were not used for `UNUSED_US`.
        sources: by id, without deleted ones.
    """
    for token in tokens:
        if token.account_id is not None and token.source_id in sources:
            yield FoundProblem(
                token.account_id,
                TOKEN_UNUSED.name,
                f"token {token.id}",
                _name_token(token),
                (token.last_used_at or token.created_at) + UNUSED_US,
                source_id=token.source_id,
            )


def _name_token(token: AccessToken) -> str:
    """Name a token for people: its id, its last four characters and what it is for."""
    named = f"token {token.id} (...{token.last_four})"
    return f"{named}, {token.description}" if token.description else named


@dataclass(frozen=True, slots=True)
class ProblemReadings:
    """What the store and the log know, at one time.

    Attributes:
        now: microseconds since 1970.
        statuses: of tables that are not well, and of those of which something waits.
        of_source: source id -> its destination.
        sources: by id, without deleted ones.
    """

    now: int
    backlogs: Sequence[TableBacklog]
    space: LogSpace
    statuses: Sequence[TableLoadStatus]
    destinations: Sequence[ConfiguredDestination]
    of_source: Mapping[int, int]
    sources: Mapping[int, Source]
    account_ids: Sequence[int]

    @property
    def troubled(self) -> frozenset[int]:
        """Return the ids of sources whose destination has a problem of its own."""
        down = {row.id for row in self.destinations if row.trouble is not None}
        return frozenset(source_id for source_id, id_ in self.of_source.items() if id_ in down)


@dataclass(frozen=True, slots=True)
class ServerReadings:
    """What the processes of the server left of themselves.

    Attributes:
        failures: writes to the log that failed a short time ago; None for none.
        examination: the last one; None for none.
        log_servers: what is wrong with servers of logs.
    """

    failures: AppendFailures | None = None
    examination: ExaminationNote | None = None
    log_servers: Sequence[LogServerTrouble] = ()


def read_server(counters: Path, examinations: Path | None, now: int) -> ServerReadings:
    """Read what the processes of the server left of themselves.

    Args:
        counters: the folder of the counters.
        examinations: the folder of the examinations; None for none.
        now: microseconds since 1970.
    """
    return ServerReadings(
        find_append_failures(counters, now),
        None if examinations is None else read_examination(examinations, ExaminationKind.DOCTOR),
        read_log_servers(counters, now),
    )


def _read(store: Store, reader: LogReader, watch: RejectionWatch, now: int) -> ProblemReadings:
    # The log before the store, which knows of more loads then: nothing loaded counts as waiting.
    backlogs = reader.list_backlogs()
    space = reader.statistics.measure_space()
    statuses = store.tables.list_noted_statuses(
        [(one.source_id, one.table_name) for one in backlogs]
    )
    destinations = store.destinations.list_destinations()
    of_source = store.destinations.list_ids_by_source()
    sources = {one.id: one for one in store.sources.list_sources() if one.deleted_at is None}
    watch.add_times(store.loads.list_rejection_times(watch.get_start(now)), now)
    account_ids = [one.id for one in store.accounts.list_accounts()]
    return ProblemReadings(
        now, backlogs, space, statuses, destinations, of_source, sources, account_ids
    )


def find_problems(
    store: Store,
    reader: LogReader,
    quota: LogQuota,
    watch: RejectionWatch,
    now: int,
    load_age_us: int,
) -> list[FoundProblem]:
    """Return all problems that there are now and that recipients are told of by mail.

    Args:
        store: knows destinations, tables and loads.
        reader: of the log.
        quota: the bounds of the log.
        watch: remembers what was seen before.
        now: microseconds since 1970.
        load_age_us: how long records wait by the settings, microseconds.

    Raises:
        RetriableError: the store or the log is not available now.
        OperatorError: one of them cannot be used.
    """
    seen = _read(store, reader, watch, now)
    return _judge(store, seen, quota, watch, load_age_us, DATA_DELAYED.delay_us)


def find_shown_problems(
    store: Store,
    reader: LogReader,
    quota: LogQuota,
    watch: RejectionWatch,
    now: int,
    load_age_us: int,
    refused: Sequence[RefusalCount],
    server: ServerReadings | None = None,
) -> list[FoundProblem]:
    """Return all problems that there are now; those that are mailed after a while are told early.

    Args:
        store: see `find_problems`.
        reader: see there.
        quota: see there.
        watch: see there.
        now: see there.
        load_age_us: see there.
        refused: counts of refused requests.
        server: what the server left of itself; None for nothing.

    Raises:
        RetriableError: the store or the log is not available now.
        OperatorError: one of them cannot be used.
    """
    seen = _read(store, reader, watch, now)
    left = server or ServerReadings()
    only = seen.account_ids[0] if len(seen.account_ids) == 1 else None
    sent = {one.group.token_id for one in refused if is_still_sent(one, now)}
    ended = {one.id: one for one in store.tokens.list_ended_tokens(sent)} if sent else {}
    unused = store.tokens.list_unused_tokens(now - UNUSED_US, UNUSED_TOKENS_MAX)
    return [
        *_judge(store, seen, quota, watch, load_age_us, LATE_SHOWN_US),
        *judge_unserved(seen.sources, seen.of_source),
        *judge_unchecked(
            seen.destinations,
            {one: seen.of_source[one] for one in seen.sources if one in seen.of_source},
            now,
        ),
        *judge_failing(seen.statuses, seen.sources, seen.troubled),
        *judge_ended_tokens(refused, ended, now),
        *judge_unused_tokens(unused, seen.sources),
        *judge_appends(left.failures, seen.account_ids),
        *judge_log_servers(left.log_servers, seen.account_ids),
        *([] if only is None else judge_findings(left.examination, only, now)),
    ]


def _judge(
    store: Store,
    seen: ProblemReadings,
    quota: LogQuota,
    watch: RejectionWatch,
    load_age_us: int,
    least_us: int,
) -> list[FoundProblem]:
    """Return the problems of the kinds of which recipients are told by mail."""
    return [
        *judge_destinations(seen.destinations),
        *judge_tables(seen.statuses, seen.sources),
        *watch.list_problems(seen.sources),
        *judge_delays(
            seen.backlogs,
            seen.statuses,
            seen.sources,
            seen.troubled,
            seen.now,
            load_age_us,
            least_us,
        ),
        *judge_log(quota, seen.space, seen.account_ids, seen.now),
        *list_failed_deliveries(store),
    ]


def _make_table_problem(
    kind: str, source: Source, table_name: str, since: int, said: str = ""
) -> FoundProblem:
    # A name may be longer than what an index of PostgreSQL takes.
    key = f"table {source.id} {digest_text(table_name).hex()}"
    return FoundProblem(
        source.account_id,
        kind,
        key,
        f"{table_name} of {source.name}",
        since,
        said,
        source_id=source.id,
        table_name=table_name,
    )
