"""Reports of an hour become one, and nothing that is needed of them is lost."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.loads import load

from treadle.store.load_folding import (
    HOUR_US,
    LoadFold,
    choose_folds,
    count_parts,
    is_telling,
    list_parts,
)
from treadle.store.model import LoadReport

ROOT = [["orders", "orders"]]


def report(last: int, at: int, rows: int = 1, **changes: Any) -> LoadReport:
    plain = load(
        1,
        "orders",
        last,
        at,
        rows_received=rows,
        rows_loaded=rows,
        tables={"orders": rows, "orders__lines": 2 * rows},
        details={"batched_at": at, "relations": ROOT, "table_version": 0, "trouble": None},
        waited_max_us=10 * rows,
        waited_p50_us=rows,
    )
    return replace(plain, **changes)


def fold(reports: list[LoadReport]) -> list[LoadReport]:
    """The reports that are there afterwards."""
    numbered = dict(enumerate(reports))
    for one in choose_folds(list(numbered.items())):
        for number in one.removed:
            del numbered[number]
        numbered[one.number] = one.report
    return list(numbered.values())


def test_the_reports_of_an_hour_become_one() -> None:
    reports = [report(n, HOUR_US + n, rows=n) for n in (2, 5, 9)]
    [found] = choose_folds(list(enumerate(reports)))
    assert found == LoadFold(
        2,
        (0, 1),
        replace(
            reports[2],
            first=2,
            started_at=HOUR_US + 2,
            rows_received=16,
            rows_loaded=16,
            tables={"orders": 16, "orders__lines": 32},
            waited_max_us=90,
            waited_p50_us=(4 + 25 + 81) // 16,
            details=reports[2].details | {"parts": found.report.details["parts"]},
        ),
    )
    assert [tuple(part) for part in list_parts(found.report)] == [
        (n, n, HOUR_US + n, n) for n in (2, 5, 9)
    ]
    assert count_parts(found.report) == 3


def test_what_tells_more_stays_whole_and_parts_the_others() -> None:
    plain = [report(n, n) for n in range(1, 8)]
    for telling in (
        report(4, 4, error="no"),
        report(4, 4, rows_rejected=1),
        report(4, 4, details={"left_out": [{"field": "x"}]}),
        report(4, 4, details={"schema_changes": [{"kind": "column_added"}]}),
    ):
        assert is_telling(telling)
        found = fold([*plain[:3], telling, *plain[4:]])
        assert [(one.first, one.last) for one in found] == [(1, 3), (4, 4), (5, 7)]
        assert found[1] == telling


def test_other_hours_versions_and_places_are_apart() -> None:
    for other in (
        report(2, HOUR_US),
        report(2, 2, details={"relations": ROOT, "table_version": 9}),
        report(2, 2, details={"relations": [["orders", "other"]], "table_version": 0}),
        report(2, 2, first=1),  # loaded again, as into a place that a source came back to
    ):
        both = [report(1, 1), other]
        assert fold(both) == both


entries = st.lists(
    st.tuples(
        st.integers(1, 5),  # positions further
        st.integers(0, HOUR_US // 2),  # microseconds further
        st.integers(0, 50),
        st.sampled_from(["plain", "plain", "plain", "failed", "rejecting", "nothing"]),
    ),
    max_size=25,
)


@given(entries)
def test_nothing_that_is_needed_is_lost(steps: list[tuple[int, int, int, str]]) -> None:
    position, at, reports = 0, 0, []
    for further, later, rows, kind in steps:
        first, position, at = position + 1, position + further, at + later
        one = report(position, at, rows, first=first)
        if kind == "failed":
            one = replace(one, error="no", first=first)
        elif kind == "rejecting":
            one = replace(one, rows_rejected=1)
        elif kind == "nothing":
            one = replace(one, tables={}, details={"table_version": 0})
        reports.append(one)
    found = fold(reports)
    assert [part for one in found for part in list_parts(one)] == [
        part for one in reports for part in list_parts(one)
    ]
    for name in ("rows_received", "rows_loaded", "rows_discarded", "rows_rejected"):
        assert sum(getattr(one, name) for one in found) == sum(
            getattr(one, name) for one in reports
        )
    assert sum(count_parts(one) for one in found) == len(reports)
    assert [one for one in found if is_telling(one)] == [one for one in reports if is_telling(one)]
    # Each position is covered by one committed report, as before.
    for reported in reports:
        covering = [one for one in found if one.first <= reported.last <= one.last]
        assert len(covering) == 1
        assert (covering[0].error is None) == (reported.error is None)
    assert fold(found) == found
    assert [one.id for one in found[-1:]] == [one.id for one in reports[-1:]]
