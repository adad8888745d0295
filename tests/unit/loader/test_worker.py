"""What a destination's thread begins next, of what it was told that waits."""

from typing import Any, cast

from treadle.loader.schedule import FlushPolicy
from treadle.loader.worker import TOLD_US_MAX, DestinationLoader, Surroundings
from treadle.log.protocol import TableBacklog
from treadle.store.model import Source

NOW = 10**12
KEY = 1, "t"


def thread(now: int) -> DestinationLoader:
    """Of a destination that holds what was loaded into table `t` up to 10, at `NOW`."""
    nothing = cast(Any, None)
    outside = Surroundings(
        open_reader=nothing,
        open_destination=nothing,
        store=nothing,
        trigger=FlushPolicy(age_us=1000, records=100),
        clock=lambda: now,
        new_id=nothing,
        marked=nothing,
        lease=nothing,
    )
    found = DestinationLoader(1, outside)
    found.own({1: cast(Source, None)})
    found._held = {KEY: 10}
    found._ended = {KEY: NOW}
    return found


def test_what_was_loaded_counts_until_the_log_was_told_and_makes_no_little_load() -> None:
    counted = TableBacklog(
        *KEY, last=11, entries=11, records=110, size=1, oldest=NOW - 5000, loaded=0
    )
    one = TableBacklog(*KEY, last=11, entries=1, records=10, size=1, oldest=NOW - 5, loaded=10)
    other = TableBacklog(1, "other", last=12, entries=1, records=1, size=1, oldest=NOW - 5000)
    for now, backlog, found in (
        (NOW, counted, []),
        (NOW, one, []),
        (NOW + 1000, one, [one]),
        (NOW + TOLD_US_MAX, counted, [counted]),  # what was told is not to be waited for for ever
    ):
        loader = thread(now)
        loader.offer([backlog, other])
        expected = sorted([*found, other], key=lambda each: each.oldest)
        assert loader._chosen(now) == expected
        # Also while others are being loaded, in a round that did not begin with it.
        assert loader._further({}, {KEY: 10}, set()) == expected
