"""How long a connection may stay in each state."""

import math

import pytest

from treadle.http.limits import BODY_BYTES_MAX, BODY_BYTES_PER_SECOND_MIN, BODY_GRACE_SECONDS
from treadle.ingest.fastpath.connection_state import (
    BODY_MARGIN_SECONDS,
    FIRST_BYTE_SECONDS,
    ConnectionState,
    get_patience,
)


def patience(
    state: ConnectionState, *, used: bool = True, declared_bytes: int | None = None
) -> float:
    return get_patience(state, used=used, idle_seconds=75, declared_bytes=declared_bytes)


def test_every_state_has_an_end() -> None:
    for state in ConnectionState:
        has_own_deadline = state is ConnectionState.PIECES
        assert (patience(state) == math.inf) == has_own_deadline


def test_a_connection_without_a_request_waits_less_than_one_that_had_some() -> None:
    assert patience(ConnectionState.READY) == 75
    assert patience(ConnectionState.READY, used=False) == FIRST_BYTE_SECONDS


@pytest.mark.parametrize("declared", [0, 1, 64 * 1024, BODY_BYTES_MAX, 10**18, None])
def test_a_body_has_a_little_longer_than_its_reader_gives_it(declared: int | None) -> None:
    size = BODY_BYTES_MAX if declared is None else min(declared, BODY_BYTES_MAX)
    promised = BODY_GRACE_SECONDS + size / BODY_BYTES_PER_SECOND_MIN
    found = patience(ConnectionState.BODY, declared_bytes=declared)
    assert found == promised + BODY_MARGIN_SECONDS
