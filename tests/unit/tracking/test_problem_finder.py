"""Which problems there are, judged by what the store and the log know."""

from dataclasses import replace

import pytest

from treadle.log.protocol import TableBacklog
from treadle.log.quota import LogQuota, LogSpace
from treadle.store.model import ConfiguredDestination, RejectionTimes, Source, TableLoadStatus
from treadle.traces.append_trace import AppendFailures
from treadle.traces.examination import ExaminationNote, ExaminedFinding
from treadle.tracking.problem_finder import (
    OVERLAP_US,
    REJECTION_US,
    UNCHECKED_US,
    RejectionWatch,
    judge_appends,
    judge_delays,
    judge_destinations,
    judge_findings,
    judge_log,
    judge_tables,
    judge_unchecked,
)

NOW = 1_700_000_000_000_000
HOUR_US = 3_600_000_000
SHOP = Source(5, 1, "import_api", "Shop", "shop", None, 0, 0, None, None, None, {})
WEB = replace(SHOP, id=6, account_id=2, name="web")
SOURCES = {5: SHOP, 6: WEB}
DESTINATION = ConfiguredDestination(
    7, 1, "postgres", "postgres", "postgresql://u:pa55word@h/d", 0, 0, None, "refused", 3, 0
)


def make_status(table: str = "orders", **changes: object) -> TableLoadStatus:
    plain = TableLoadStatus(5, table, 10, NOW, None, None, stopped=False)
    return replace(plain, **changes)  # type: ignore[arg-type]


def make_backlog(age_us: int, *, last: int = 20, source_id: int = 5) -> TableBacklog:
    return TableBacklog(source_id, "orders", last, 1, 1, 1, NOW - age_us)


@pytest.mark.parametrize(
    ("trouble_kind", "kind"),
    [
        ("denied", "destination_denied"),
        ("unavailable", "destination_unavailable"),
        (None, "destination_unavailable"),  # noted by an earlier treadle
    ],
)
def test_a_destination_in_trouble(trouble_kind: str | None, kind: str) -> None:
    row = replace(DESTINATION, trouble_kind=trouble_kind)
    [problem] = judge_destinations([row])
    assert (problem.account_id, problem.kind, problem.key) == (1, kind, "destination 7")
    assert (problem.since, problem.said) == (3, "refused")
    assert "pa55word" not in repr(problem)


@pytest.mark.parametrize(
    ("changes", "of_source", "age_us", "told"),
    [
        ({}, {5: 7}, UNCHECKED_US, True),
        ({}, {5: 7}, UNCHECKED_US - 1, False),  # its check may be under way
        ({}, {5: 8}, UNCHECKED_US, False),  # nothing waits for it
        ({"usable_since": 1}, {5: 7}, UNCHECKED_US, False),
        ({"deleted_at": 1}, {5: 7}, UNCHECKED_US, False),
    ],
)
def test_a_destination_that_no_check_found_usable(
    changes: dict[str, int], of_source: dict[int, int], age_us: int, *, told: bool
) -> None:
    unchecked = replace(DESTINATION, updated_at=NOW, trouble=None, usable_since=None)
    row = replace(unchecked, **changes)  # type: ignore[arg-type]
    found = list(judge_unchecked([row], of_source, NOW + age_us))
    assert [(one.kind, one.key, one.since) for one in found] == (
        [("destination_unchecked", "destination 7", NOW)] if told else []
    )


def test_a_destination_that_is_well_or_deleted() -> None:
    rows = [
        replace(DESTINATION, trouble=None, trouble_since=None),
        replace(DESTINATION, deleted_at=5),
    ]
    assert list(judge_destinations(rows)) == []


def test_only_stopped_tables_of_sources_that_are_there() -> None:
    stopped = make_status(error="key types differ", error_since=4, stopped=True)
    found = list(
        judge_tables(
            [
                stopped,
                make_status("failing", error="lock not available", error_since=4),
                make_status("well"),
                replace(stopped, source_id=99),
            ],
            SOURCES,
        )
    )
    assert [(one.kind, one.named, one.since, one.said) for one in found] == [
        ("table_stopped", "orders of shop", 4, "key types differ")
    ]


def test_a_missing_right_is_one_problem_of_the_source_since_its_first_table() -> None:
    denied = make_status(error="permission denied", error_since=9, denied=True)
    found = list(judge_tables([denied, replace(denied, table_name="x", error_since=4)], SOURCES))
    assert {(one.identity, one.named) for one in found} == {
        ((1, "destination_denied", "source 5"), "tables of shop")
    }
    assert min(one.since for one in found) == 4


def test_a_key_fits_whatever_the_name_is() -> None:
    names = ["o" * 100_000, "\0", "\ud800", "x y", "x"]
    stopped = [make_status(name, error="e", error_since=4, stopped=True) for name in names]
    keys = {one.key for one in judge_tables(stopped, SOURCES)}
    assert len(keys) == len(names)
    assert max(map(len, keys)) <= 100


@pytest.mark.parametrize(
    ("age_us", "is_late"),
    [(0, False), (3 * HOUR_US, False), (4 * HOUR_US - 1, False), (4 * HOUR_US, True)],
)
def test_records_are_late_behind_the_age_of_the_settings(age_us: int, is_late: bool) -> None:
    found = list(
        judge_delays([make_backlog(age_us)], [], SOURCES, frozenset(), NOW, load_age_us=HOUR_US)
    )
    assert len(found) == is_late
    for problem in found:
        assert (problem.account_id, problem.key, problem.named) == (1, "source 5", "shop")
        assert problem.since == NOW - age_us + HOUR_US


@pytest.mark.parametrize(
    ("status", "troubled", "sources"),
    [
        (make_status(loaded=20), frozenset(), SOURCES),  # the log was not told yet
        (make_status(error="e", error_since=1, stopped=True), frozenset(), SOURCES),
        (make_status(error="e", error_since=1, denied=True), frozenset(), SOURCES),
        (make_status(), frozenset({5}), SOURCES),
        (make_status(), frozenset(), {6: WEB}),
    ],
)
def test_records_that_wait_for_another_reason_are_not_late(
    status: TableLoadStatus, troubled: frozenset[int], sources: dict[int, Source]
) -> None:
    waits = [make_backlog(9 * HOUR_US)]
    assert list(judge_delays(waits, [status], sources, troubled, NOW, 0)) == []


def test_a_source_is_as_late_as_its_oldest_record() -> None:
    waits = [
        make_backlog(4 * HOUR_US),
        replace(make_backlog(6 * HOUR_US), table_name="customers"),
        replace(make_backlog(5 * HOUR_US), table_name="items"),
        make_backlog(9 * HOUR_US, source_id=6),
    ]
    found = list(judge_delays(waits, [], SOURCES, frozenset(), NOW, 0))
    assert [(one.named, NOW - one.since) for one in found] == [
        ("shop", 6 * HOUR_US),
        ("web", 9 * HOUR_US),
    ]


@pytest.mark.parametrize(
    ("quota", "space", "is_told"),
    [
        (LogQuota(), LogSpace(10**12, 0), False),
        (LogQuota(100), LogSpace(89, 5), False),
        (LogQuota(100), LogSpace(90, 5), True),
        (LogQuota(0, 100), LogSpace(5, 200), False),
        (LogQuota(0, 100), LogSpace(5, 199), True),
        (LogQuota(100, 100), LogSpace(89, None), False),
        (LogQuota(100, 100), LogSpace(90, None), True),
    ],
)
def test_the_log_is_nearly_full(quota: LogQuota, space: LogSpace, is_told: bool) -> None:
    found = list(judge_log(quota, space, [1, 2], NOW))
    assert [one.account_id for one in found] == ([1, 2] if is_told else [])


def make_times(first: int | None, last: int | None, damaged: int | None = None) -> RejectionTimes:
    return RejectionTimes(5, "orders", first, last, damaged, damaged)


def test_a_watch_looks_at_a_day_first_and_later_at_what_is_new() -> None:
    watch = RejectionWatch()
    assert watch.get_start(NOW) == NOW - REJECTION_US
    watch.add_times([], NOW)
    assert watch.get_start(NOW + HOUR_US) == NOW - OVERLAP_US
    assert watch.get_start(NOW + 10 * REJECTION_US) == NOW + 9 * REJECTION_US
    assert watch.get_start(NOW - HOUR_US) == NOW - HOUR_US - REJECTION_US


def test_a_watch_remembers_the_first_and_forgets_a_day_after_the_last() -> None:
    watch = RejectionWatch()
    watch.add_times([make_times(NOW - 5, NOW - 3)], NOW)
    watch.add_times([make_times(NOW - 4, NOW + HOUR_US, NOW)], NOW + 2 * HOUR_US)
    rejected, damaged = watch.list_problems(SOURCES)
    assert (rejected.kind, rejected.since) == ("records_rejected", NOW - 5)
    assert (damaged.kind, damaged.since) == ("entries_damaged", NOW)
    assert rejected.key == damaged.key
    assert list(watch.list_problems({6: WEB})) == []
    watch.add_times([], NOW + REJECTION_US)
    assert [one.kind for one in watch.list_problems(SOURCES)] == ["records_rejected"]
    watch.add_times([], NOW + HOUR_US + REJECTION_US)
    assert list(watch.list_problems(SOURCES)) == []


def test_a_disk_that_takes_no_writes_is_a_problem_of_each_account() -> None:
    assert list(judge_appends(None, [1, 2])) == []
    found = list(judge_appends(AppendFailures(3, NOW, 2), [1, 2]))
    assert [(one.account_id, one.kind, one.since) for one in found] == [
        (1, "appends_failing", 3),
        (2, "appends_failing", 3),
    ]


def test_findings_that_nobody_else_tells_are_problems_for_a_day() -> None:
    findings = (
        ExaminedFinding("files", "odd", "Others may read the log.", "They see data.", "chmod 600"),
        ExaminedFinding("disk", "good", "All is well."),
        ExaminedFinding("destination", "bad", "It cannot be reached."),
    )
    note = ExaminationNote("doctor", False, NOW, NOW, NOW, findings=findings)
    [problem] = judge_findings(note, 1, NOW + HOUR_US)
    assert (problem.kind, problem.named, problem.said, problem.remedy) == (
        "server_finding",
        "files",
        "Others may read the log. They see data.",
        "chmod 600",
    )
    assert list(judge_findings(note, 1, NOW + 24 * HOUR_US)) == []
    assert list(judge_findings(None, 1, NOW)) == []
    going_on = ExaminationNote("doctor", False, NOW, NOW, findings=findings)
    assert list(judge_findings(going_on, 1, NOW)) == []
