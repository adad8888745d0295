"""How much of the log one look at its latest requests reads."""

from dataclasses import dataclass, field

from treadle.log.protocol import EntryNote
from treadle.tracking.request_tail import PAGE_ENTRIES, SCAN_ENTRIES_MAX, read_tail


@dataclass
class OneTimeLog:
    """A log whose entries were all accepted at one time, as if they were one request."""

    end: int
    read: int = field(default=0)

    def list_entries_below(
        self, position: int | None, limit: int, table: tuple[int, str] | None = None
    ) -> list[EntryNote]:
        assert table is None
        top = self.end if position is None else position
        self.read += min(limit, top - 1)
        return [
            EntryNote(at, 1, "t", 7, 1, 10) for at in range(top - 1, max(0, top - 1 - limit), -1)
        ]


def test_a_request_that_would_be_the_whole_log_is_cut() -> None:
    log = OneTimeLog(1_000_000)
    tail = read_tail(log, None, 1, lambda _: True, lambda: 0.0)  # type: ignore[arg-type]
    [cut] = tail.requests
    assert cut.entries == SCAN_ENTRIES_MAX
    assert log.read <= SCAN_ENTRIES_MAX + PAGE_ENTRIES
    assert tail.end == cut.first
    following = read_tail(log, tail.end, 1, lambda _: True, lambda: 0.0)  # type: ignore[arg-type]
    assert following.requests[0].positions.stop == cut.first
