"""Overview, problems and health: what they show, what they do, and what they say when blind."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.integration.console.visitor import Console, Visitor
from tests.loads import load as make_load

from treadle.console.pages import REGIONS
from treadle.errors import RetriableError
from treadle.store.model import ConsoleRole, EntryOutcome, RecordRejection, Source
from treadle.traces.append_trace import AppendTrace
from treadle.traces.examination import (
    ExaminationKind,
    ExaminationNote,
    ExaminedFinding,
    write_examination,
)
from treadle.traces.process_board import note_start
from treadle.traces.series_file import SeriesWriter
from treadle.traces.series_layout import SERVER_FIGURES, SeriesStep
from treadle.tracking.problem_spells import ProblemSpell, write_spells

MINUTE = 60_000_000


@pytest.fixture
def visitor(console: Console) -> Visitor:
    console.store.sessions.leave_guide(console.account.id)  # by the server itself
    return console.sign_in()


def make_source(console: Console) -> Source:
    return console.store.sources.create_source(
        console.account.id,
        type="import_api",
        display_name="Shop",
        name="shop",
        bootstrap_token=False,
    )


def load_some(console: Console, source: Source) -> None:
    """A load of ten records, of which one is rejected, that makes a column."""
    console.store.use_log("log")
    load = make_load(
        source.id, "orders", 1, console.now, rows_received=10, rows_loaded=9, rows_rejected=1
    )
    outcome = EntryOutcome(load.last, source.id, "orders", 0, (RecordRejection(0, "no number"),))
    console.store.loads.record_load(load, [outcome])


def stop_table(console: Console, source: Source, table: str = "orders") -> None:
    console.store.use_log("log")
    failed = make_load(source.id, table, 2, console.now, error="the key is text")
    console.store.loads.record_failure(failed, stopped=True)


def sample(console: Console, at: int = 10, **figures: float) -> None:
    """Write a step of the series, seconds before the present one."""
    plain: dict[str, float | None] = dict.fromkeys(SERVER_FIGURES, 0.0)
    writer = SeriesWriter(console.traces.series)
    present = console.now // 10_000_000 * 10
    writer.write(SeriesStep(present - at, tuple((plain | figures).values()), {}))
    writer.close()


def number(page: Any, name: str) -> str:
    """The number of a card."""
    [found] = re.findall(rf'data-number="{name}">(.*?)</dd>', page.text)
    return re.sub("<[^>]+>", "", found).strip()


def badge(page: Any, section: str) -> str:
    pattern = rf'data-region="{section}-badge">(.*?)</span>\s*</a>'
    [found] = re.findall(pattern, page.text, re.DOTALL)
    return re.sub("<[^>]+>", "", found).strip()


# Overview ----------------------------------------------------------------------------------------


def test_the_overview_has_every_card(visitor: Visitor, console: Console) -> None:
    source = make_source(console)
    load_some(console, source)
    sample(
        console, loaded=9, accepted=50, freshness_p50_seconds=1.5, freshness_p99_seconds=4,
        log_bytes=52_000_000, disk_free_bytes=9e9,
    )  # fmt: skip
    page = visitor.see("/")
    assert {name: number(page, name) for name in ("accepted", "loaded", "rejected", "waiting")} == {
        "accepted": "10",
        "loaded": "9",
        "rejected": "1",
        "waiting": "0",
    }
    assert number(page, "oldest") == "-"
    assert number(page, "freshness") == "1.5 s"
    assert number(page, "log") == "52 MB"
    assert "99 of 100 below 4.0 s" in page.words
    assert "9.0 GB free" in page.words
    assert "5.0 a second now" in page.words
    assert "usable" in number(page, "destination")
    assert "Records of these tables are rejected" in page.words
    assert "shop.orders" in page.words
    assert len(page.text) < 60_000


def test_plots_of_each_range_have_a_table(visitor: Visitor, console: Console) -> None:
    for at in range(10, 600, 10):
        sample(console, at, accepted=at, log_bytes=1000)
    for name in ("1h", "24h", "7d", "90d"):
        page = visitor.see(f"/?range={name}")
        assert f'data-region="plots-{name}"' in page.text
        assert page.text.count("<svg") == 5
        assert page.text.count("<summary") == 6  # of the account, and of five tables
        for svg in re.findall("<svg.*?</svg>", page.text, re.DOTALL):
            assert "<title" in svg
            assert "<desc" in svg
        assert len(page.text) < 60_000
    assert 'data-region="plots-1h"' in visitor.see("/?range=%3Cscript%3E").text


def test_problems_are_first_and_counted_beside_the_link(visitor: Visitor, console: Console) -> None:
    source = make_source(console)
    load_some(console, source)
    for number_ in range(7):
        stop_table(console, source, f"orders_{number_}")
    visitor.see("/problems")  # looks for them
    console.now += 5_000_000
    page = visitor.see("/")
    assert "And 3 more" in page.words  # a rejected record is one, too
    assert page.words.index("the key is text") < page.words.index("Over time")
    assert badge(page, "problems") == "8"
    assert badge(page, "rejects") == "1"
    assert badge(visitor.see("/help"), "problems") == "8"


def test_a_card_that_cannot_be_read_keeps_its_value_and_says_so(
    visitor: Visitor, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_some(console, make_source(console))
    assert number(visitor.see("/"), "accepted") == "10"

    def fail() -> None:
        raise RetriableError("the log does not answer")

    monkeypatch.setattr(console.sampler, "read", fail)
    page = visitor.see("/")
    assert number(page, "accepted") == "10"
    assert page.text.count("card stale") == 7
    assert "cannot be read since 08:00 UTC" in page.words
    monkeypatch.undo()
    assert "card stale" not in visitor.see("/").text


def test_regions_of_a_page_are_sent(visitor: Visitor, console: Console) -> None:
    load_some(console, make_source(console))
    for topic in REGIONS:
        answer = visitor.get(f"/console/regions?topics={topic}")
        assert answer.status == 200, topic
        assert topic in answer.text


# Problems ----------------------------------------------------------------------------------------


def test_a_problem_is_snoozed_and_counts_again(visitor: Visitor, console: Console) -> None:
    source = make_source(console)
    stop_table(console, source)
    page = visitor.see("/problems")
    assert "the key is text" in page.words
    assert "critical" in page.words
    assert f'href="/console/sources/{source.id}/tables/orders"' in page.text
    [problem_id] = re.findall(r'name="snooze" value="([0-9a-f]+)"', page.text)
    assert visitor.post("/problems", snooze=problem_id).location == "/console/problems?done=snoozed"
    console.now += 2_000_000
    page = visitor.see("/problems")
    assert "snoozed, ends" in page.words
    assert badge(page, "problems") == ""
    assert visitor.post("/problems", wake=problem_id).location == "/console/problems?done=woken"
    console.now += 2_000_000
    assert badge(visitor.see("/problems"), "problems") == "1"
    assert console.store.trail.list_events(limit=1)[0].action == "snooze_problem"
    assert visitor.post("/problems", snooze="0" * 16).status == 404
    viewer = console.sign_in(ConsoleRole.VIEWER).see("/problems")
    assert "Snooze 1 d" not in viewer.text


def test_problems_are_paged_and_end_by_themselves(visitor: Visitor, console: Console) -> None:
    source = make_source(console)
    for count in range(45):
        stop_table(console, source, f"orders_{count}")
    page = visitor.see("/problems")
    assert page.text.count("Snooze 1 d") == 40
    assert len(page.text) < 60_000
    second = visitor.see("/problems?page=2")
    assert second.text.count("Snooze 1 d") == 5
    assert 'data-region="problems"' not in second.text
    for count in range(45):
        console.store.loads.record_load(make_load(source.id, f"orders_{count}", 3), [])
    console.now += 10_000_000
    assert "Nothing to act on" in visitor.see("/problems").words


def test_failed_writes_and_findings_of_the_doctor_are_problems(
    visitor: Visitor, console: Console
) -> None:
    console.traces.counters.mkdir()
    trace = AppendTrace(console.traces.counters, "worker 1", lambda: console.now)
    trace.note_failure()
    trace.close()
    bad = ExaminedFinding(
        "certificate", "bad", "It has expired.", "Clients refuse it.", "Renew it."
    )
    good = ExaminedFinding("clock", "good", "The clock is right.")
    told = ExaminedFinding("table", "bad", "A table is stopped.")
    assert console.traces.examinations is not None
    write_examination(
        console.traces.examinations,
        ExaminationNote(
            ExaminationKind.DOCTOR, False, console.now, console.now, console.now,
            findings=(bad, good, told),
        ),
    )  # fmt: skip
    page = visitor.see("/problems")
    assert "The disk of the log did not take what was sent" in page.words
    assert "It has expired. Clients refuse it." in page.words
    assert "Renew it." in page.words
    assert "A table is stopped" not in page.words
    assert page.text.count('href="/console/health"') >= 3
    console.now += 86_400_000_000
    assert "Nothing to act on" in console.sign_in().see("/problems").words


def test_problems_that_ended_are_listed(visitor: Visitor, console: Console) -> None:
    assert console.traces.problems is not None
    began = console.now - 3_600_000_000
    spell = ProblemSpell(1, "table_stopped", "table 1", "<b> of shop", began, console.now - MINUTE)
    write_spells(console.traces.problems, [spell] * 50)
    page = visitor.see("/problems")
    assert "Nothing to act on" in page.words
    assert "table stopped <b> of shop began 1 h ago ended 1 min ago" in page.words
    assert "And 10 more" in page.words


# Health ------------------------------------------------------------------------------------------


def test_the_health_of_the_server(visitor: Visitor, console: Console) -> None:
    console.traces.counters.mkdir()
    trace = AppendTrace(console.traces.counters, "worker 1", lambda: console.now)
    trace.note_commit(2_100)
    trace.close()
    sample(console, log_bytes=52_000_000, disk_free_bytes=9e9)
    note_start(console.traces.processes, "worker 1", console.now - MINUTE)
    page = visitor.see("/health")
    assert number(page, "disk-free") == "9.0 GB"
    assert number(page, "log") == "52 MB"
    assert number(page, "fsync") == "2.1 ms"
    assert number(page, "clock") == "08:00:00"
    assert "none" in number(page, "failures")
    assert "not in sight" in number(page, "full")
    assert "worker 1" in page.words
    assert "1 min ago" in page.words
    assert "never run from here" in page.words


def test_an_examination_is_shown_as_far_as_it_is(visitor: Visitor, console: Console) -> None:
    folder = console.traces.examinations
    assert folder is not None
    note = ExaminationNote(
        ExaminationKind.DOCTOR, True, console.now, console.now, step="log", done=9, total=15,
        entries=20_000,
    )  # fmt: skip
    write_examination(folder, note)
    page = visitor.see("/health")
    assert "going on" in page.words
    assert "9 of 15 checks, now log, 20,000 entries of the log read" in page.words
    console.now += 200_000_000
    assert "ended without a result" in console.sign_in().see("/health").words
    counts = ExaminationNote(
        ExaminationKind.COUNTS, False, console.now, console.now, console.now,
        findings=(ExaminedFinding("shop.<b>", "bad", "2 rows fewer than its loads wrote."),),
    )  # fmt: skip
    write_examination(folder, counts)
    page = console.sign_in().see("/health")
    assert "0 ok, 0 warnings, 1 problem" in page.words
    assert "shop.<b>" in page.words
    failed = ExaminationNote(
        ExaminationKind.DOCTOR, False, console.now, console.now, console.now, failure="No desk."
    )
    write_examination(folder, failed)
    assert "No desk." in console.sign_in().see("/health").words


def test_an_examination_needs_a_desk_and_the_only_account(
    visitor: Visitor, console: Console, tmp_path: Path
) -> None:
    for wanted, status in (("quick", 503), ("whole", 503), ("counts", 503), ("x", 400)):
        assert visitor.post("/health", examine=wanted).status == status
    viewer = console.sign_in(ConsoleRole.VIEWER)
    assert "Run the doctor" not in viewer.see("/health").text
    console.store.accounts.create_account("second")
    page = console.sign_in().see("/health")
    assert "has several accounts" in page.words
    assert "Processes" not in page.words
    assert 'data-number="log"' not in console.sign_in().get("/console/").text
