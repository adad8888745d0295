"""When a connection is late, and how it ends then."""

import pytest

from treadle.errors import RequestRefusedError
from treadle.ingest.fastpath.connection_state import (
    ANSWER_SECONDS,
    DRAIN_SECONDS,
    HEAD_SECONDS,
    LINGER_SECONDS,
    WRITE_BYTES_MIN,
    WRITE_SECONDS,
    ConnectionState,
)
from treadle.ingest.fastpath.state_watch import LATE_BODY, LATE_HEAD, LateEnd, StateWatch

IDLE_SECONDS = 75.0


def check(
    watch: StateWatch, now: float, state: ConnectionState, *, requests: int = 1, unsent: int = 0
) -> LateEnd | RequestRefusedError | None:
    return watch.check(
        now,
        state,
        requests=requests,
        unsent_bytes=unsent,
        idle_seconds=IDLE_SECONDS,
        declared_bytes=0,
    )


@pytest.mark.parametrize(
    ("state", "seconds", "end"),
    [
        (ConnectionState.READY, IDLE_SECONDS, LateEnd.CLOSE),
        (ConnectionState.ANSWER, ANSWER_SECONDS, LateEnd.ABORT),
        (ConnectionState.DRAIN, DRAIN_SECONDS, LateEnd.ABORT),
        (ConnectionState.CLOSING, LINGER_SECONDS, LateEnd.ABORT),
    ],
)
def test_a_state_ends_when_its_time_is_over(
    state: ConnectionState, seconds: float, end: LateEnd
) -> None:
    watch = StateWatch()
    assert check(watch, 100.0, state) is None
    assert check(watch, 100.0 + seconds - 0.1, state) is None
    assert check(watch, 100.0 + seconds, state) is end


@pytest.mark.parametrize(
    ("state", "body"), [(ConnectionState.HEAD, LATE_HEAD), (ConnectionState.BODY, LATE_BODY)]
)
def test_a_request_that_is_late_gets_an_answer(state: ConnectionState, body: str) -> None:
    watch = StateWatch()
    assert check(watch, 0.0, state) is None
    late = check(watch, 1000.0, state)
    assert isinstance(late, RequestRefusedError)
    assert (late.status, late.body) == (408, body)


def test_time_counts_anew_for_another_state_and_another_request() -> None:
    watch = StateWatch()
    assert check(watch, 0.0, ConnectionState.HEAD) is None
    assert check(watch, HEAD_SECONDS, ConnectionState.READY) is None
    assert check(watch, 2 * HEAD_SECONDS, ConnectionState.HEAD, requests=2) is None
    assert check(watch, 3 * HEAD_SECONDS, ConnectionState.HEAD, requests=3) is None
    assert check(watch, 4 * HEAD_SECONDS - 0.1, ConnectionState.HEAD, requests=3) is None


def test_a_reader_has_to_take_some_of_its_answer() -> None:
    watch = StateWatch()
    assert check(watch, 0.0, ConnectionState.ANSWER, unsent=200_000) is None
    less = 200_000 - WRITE_BYTES_MIN
    assert check(watch, WRITE_SECONDS, ConnectionState.ANSWER, unsent=less) is None
    late = check(watch, 2 * WRITE_SECONDS, ConnectionState.ANSWER, unsent=less - 1)
    assert late is LateEnd.ABORT


@pytest.mark.parametrize("how", ["all was taken", "more may be written"])
def test_a_reader_that_has_read_gets_its_time_again(how: str) -> None:
    watch = StateWatch()
    assert check(watch, 0.0, ConnectionState.READY, unsent=100) is None
    if how == "all was taken":
        assert check(watch, 1.0, ConnectionState.READY) is None
    else:
        watch.forget_reader()
    assert check(watch, WRITE_SECONDS, ConnectionState.READY, unsent=100) is None
