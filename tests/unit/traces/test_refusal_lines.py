import pytest

from treadle.traces import refusal_lines
from treadle.traces.refusal_lines import LINE_US, RefusalLines, SourceNote
from treadle.traces.refusals import RefusalGroup

SOURCES = {7: SourceNote("shop"), 8: SourceNote("old", is_paused=True)}
MISSING = RefusalGroup("push", 422, "Record N has no key", 1, 7, 3)


def texts(lines: RefusalLines, now: int | None) -> list[str]:
    return [line.text for line in lines.take_lines(now, SOURCES)]


def test_the_first_refusal_is_told_at_once_and_further_ones_once_a_minute() -> None:
    lines = RefusalLines()
    lines.add(MISSING, "192.0.2.1", "1-4")
    assert lines.find_next(0) == 0
    [told] = texts(lines, 0)
    assert told == (
        "refused 1 request of shop: 422 Record N has no key "
        "(push, the latest from 192.0.2.1, request 1-4)"
    )
    assert lines.find_next(0) is None
    for _ in range(1_200):
        lines.add(MISSING, "192.0.2.2", "1-5")
    assert lines.find_next(10) == LINE_US - 10
    assert texts(lines, LINE_US - 1) == []
    [line] = lines.take_lines(LINE_US, SOURCES)
    assert line.text.startswith("refused 1,200 requests of shop: 422")
    assert line.fields == {
        "source": "shop",
        "source_id": 7,
        "endpoint": "push",
        "status": 422,
        "reason": "Record N has no key",
        "count": 1_200,
        "paused": False,
        "address": "192.0.2.2",
        "request": "1-5",
    }
    assert texts(lines, 3 * LINE_US) == []


@pytest.mark.parametrize("status", [400, 401, 413, 415, 422, 429, 503])
def test_each_status_and_reason_has_a_line_of_its_own(status: int) -> None:
    lines = RefusalLines()
    lines.add(RefusalGroup("batch", status, "no", 1, 7), "", "1-1")
    lines.add(RefusalGroup("batch", status, "not so", 1, 7), "", "1-2")
    assert texts(lines, 0) == [
        f"refused 1 request of shop: {status} no (batch, request 1-1)",
        f"refused 1 request of shop: {status} not so (batch, request 1-2)",
    ]


def test_a_paused_source_is_named_with_the_way_out() -> None:
    lines = RefusalLines()
    lines.add(RefusalGroup("push", 401, "Forbidden", 1, 8), "", "1-1")
    [line] = lines.take_lines(0, SOURCES)
    assert line.text.endswith("; the source is paused, `treadle source unpause` ends that")
    assert line.fields["paused"] is True


def test_strangers_choose_no_words_and_what_is_no_push_is_not_told() -> None:
    lines = RefusalLines()
    for n in range(50):
        lines.add(RefusalGroup("push", 415, f"type {n}"), "192.0.2.1", f"1-{n}")
    lines.add(RefusalGroup("push", 401, "Not Authenticated."), "192.0.2.1", "1-60")
    lines.add(RefusalGroup("control", 404, "no"), "192.0.2.1", "1-61")
    [line] = texts(lines, 0)
    assert line.startswith("refused 50 requests with no known token: 415 type 49 (push")


def test_there_are_so_many_keys_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal_lines, "KEYS_MAX", 3)
    lines = RefusalLines()
    for n in range(10):
        lines.add(RefusalGroup("push", 400, f"reason {n}", 1, 7), "", f"1-{n}")
    told = texts(lines, None)
    assert len(told) == 4
    assert told[-1].startswith("refused 7 requests of further sources: 400 reason 9")


def test_a_clock_that_is_set_back_holds_no_line_up() -> None:
    lines = RefusalLines()
    lines.add(MISSING, "", "1-1")
    assert len(texts(lines, 100 * LINE_US)) == 1
    lines.add(MISSING, "", "1-2")
    assert len(texts(lines, 0)) == 1
