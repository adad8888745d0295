"""Who sends over a connection, and what the table is told of it."""

import logging
from typing import cast

import pytest

from treadle.errors import RequestRefusedError
from treadle.http.refusal_log import RefusalLog
from treadle.ingest.fastpath.connection_sender import ConnectionSender
from treadle.ingest.fastpath.connection_table import ConnectionLimits, ConnectionTable
from treadle.ingest.fastpath.handler import FastPathHandler
from treadle.ingest.fastpath.request_framing import RequestFraming


class Place:
    """A connection that notes whether it had to go."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True


class Tokens:
    """Knows every token, or none."""

    def __init__(self, *, known: bool) -> None:
        self.known = known

    def find_account(self, headers: object) -> int | None:
        return 1 if self.known else None


def make_table(statuses: list[int]) -> ConnectionTable:
    """A table with one place for a stranger."""
    log = RefusalLog(logging.getLogger("test"), lambda: 0.0)
    return ConnectionTable(
        ConnectionLimits(2, 0, 1, 1), log, lambda status, *_: statuses.append(status)
    )


def make_handler(*, known: bool) -> FastPathHandler:
    return cast(FastPathHandler, Tokens(known=known))


@pytest.mark.parametrize("known", [False, True])
def test_a_known_token_keeps_a_place_from_the_next_stranger(*, known: bool) -> None:
    table, place = make_table([]), Place()
    sender = ConnectionSender(place, table, make_handler(known=known))
    assert sender.take_place("192.0.2.1")
    sender.check_token(RequestFraming())
    assert sender.is_known == known
    assert ConnectionSender(Place(), table, None).take_place("192.0.2.1")
    assert place.aborted != known


def test_a_place_is_given_back() -> None:
    table = make_table([])
    sender = ConnectionSender(Place(), table, None)
    sender.take_place("192.0.2.1")
    sender.mark_known(1)
    sender.mark_known(1)
    assert len(table) == 1
    sender.leave_place()
    assert len(table) == 0


def test_a_refusal_is_counted() -> None:
    statuses: list[int] = []
    sender = ConnectionSender(Place(), make_table(statuses), None)
    sender.take_place("192.0.2.1")
    sender.record_refusal(RequestRefusedError(431, "too large"))
    assert statuses == [431]


def test_without_a_table_and_tokens_every_sender_has_a_place_and_none_is_known() -> None:
    sender = ConnectionSender(Place(), None, None)
    assert sender.take_place("")
    sender.check_token(RequestFraming())
    assert not sender.is_known
    sender.mark_known(1)
    sender.record_refusal(RequestRefusedError(400, "no request"))
    sender.leave_place()
    assert sender.is_known
