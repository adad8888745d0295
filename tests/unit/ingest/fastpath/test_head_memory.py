"""Which heads are remembered, and how often."""

import asyncio

import pytest

from treadle.ingest.fastpath.head_memory import HEADS_LEARNED_MAX, HeadMemory
from treadle.ingest.fastpath.request_framing import RequestFraming

HEAD = b"POST /v2/import/push HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
TOKEN = b"Authorization: Bearer at_1\r\n"


class OpenTransport(asyncio.Transport):
    """A transport that is open or closing."""

    def __init__(self, *, closing: bool = False) -> None:
        super().__init__()
        self.closing = closing

    def is_closing(self) -> bool:
        return self.closing


def learn(memory: HeadMemory, head: bytes, *, body: bytes = b"[1]", closing: bool = False) -> bytes:
    """Let a memory learn the head of a request, of which this is there; return what is there."""
    sent = head + b"Content-Length: 3\r\n\r\n" + body
    framing = RequestFraming()
    passed, rest = framing.feed(sent)
    assert rest == b""
    memory.learn(framing, sent, passed, OpenTransport(closing=closing))
    return sent


def test_a_plain_head_is_remembered_with_what_it_says() -> None:
    memory = HeadMemory()
    sent = learn(memory, HEAD + TOKEN)
    assert memory.template is not None
    assert memory.head is not None
    assert memory.passed is not None
    assert memory.template.is_head_of(sent)
    assert memory.passed.is_head_of(sent)
    assert memory.head.path == "/v2/import/push"


@pytest.mark.parametrize("extra", [b"Idempotency-Key: 7\r\n", b"Prefer: wait=1\r\n"])
def test_an_unusual_head_is_remembered_only_as_one_that_went_on(extra: bytes) -> None:
    memory = HeadMemory()
    sent = learn(memory, HEAD + TOKEN + extra)
    assert (memory.template, memory.head) == (None, None)
    assert memory.passed is not None
    assert memory.passed.is_head_of(sent)


@pytest.mark.parametrize(("extra", "closing"), [(b"Connection: close\r\n", False), (b"", True)])
def test_nothing_is_remembered_of_a_connection_that_ends(extra: bytes, *, closing: bool) -> None:
    memory = HeadMemory()
    learn(memory, HEAD + TOKEN + extra, body=b"[", closing=closing)
    assert (memory.template, memory.head, memory.passed) == (None, None, None)


def test_heads_that_all_differ_are_learned_for_a_while() -> None:
    memory = HeadMemory()
    sent = [
        learn(memory, HEAD + TOKEN + b"Trace: %d\r\n" % number)
        for number in range(HEADS_LEARNED_MAX + 5)
    ]
    assert memory.template is not None
    assert memory.template.is_head_of(sent[HEADS_LEARNED_MAX - 1])
