"""What must hold for any bytes: bodies are accepted or refused, nothing else, and both ways agree.

Each target takes bytes and raises AssertionError, or whatever escaped, when something is wrong.
"""

from typing import Any

import msgspec

from treadle.errors import Refused
from treadle.records import batch, json, message, push, reading, transit
from treadle.records.validation.conformity import conformity

CLIENT = 4321


def _outcome(work: Any, *arguments: Any) -> Any:
    """The batches, or the answer; an answer must be one that can be sent."""
    try:
        return work(*arguments)
    except Refused as refused:
        answer = refused.status, refused.body
    msgspec.json.encode(answer)
    assert answer[0] in (400, 401, 403, 422), answer
    return answer


def _readable(batches: list[message.Batch]) -> None:
    """What was accepted can be kept, read and quoted."""
    for one in batches:
        assert message.unpack(message.pack(one)) == one
        for exact in (False, True):
            records = reading.read(one, exact=exact)
            assert len(records) == len(one)
            assert all(type(record) is dict for record in records)
        texts = reading.texts(one, range(len(one)))
        for text in texts:
            json.decode(text.encode())


def push_json(data: bytes) -> None:
    """A JSON body of /v2/import/push."""
    pushed = _outcome(lambda: push.decode(data, transit=False))
    quick = push.quickly(data, CLIENT)
    if isinstance(pushed, tuple):
        assert quick is None
        return
    outcome = _outcome(push.check, pushed, CLIENT)
    general = _outcome(push.check_generally, pushed, CLIENT)
    assert outcome == general
    assert quick in (None, general)
    if isinstance(outcome, list):
        _readable(outcome)


def push_transit(data: bytes) -> None:
    """A Transit body of /v2/import/push."""
    value = _outcome(transit.decode, data)
    singly = _outcome(transit.decode_singly, data)
    assert repr(value) == repr(singly)  # NaN is not equal to itself
    pushed = _outcome(lambda: push.decode(data, transit=True))
    if isinstance(pushed, tuple):
        return
    outcome = _outcome(push.check, pushed, CLIENT)
    general = _outcome(push.check_generally, pushed, CLIENT)
    assert outcome == general
    if isinstance(outcome, list):
        _readable(outcome)


def batch_json(data: bytes) -> None:
    """A body of /v2/import/batch."""
    outcome = _outcome(lambda: batch.check(batch.decode(data)))
    general = _outcome(lambda: batch.check(batch.decode_generally(data)))
    assert outcome == general
    assert batch.quickly(data) in (None, general)
    if isinstance(outcome, list):
        _readable(outcome)
        [accepted] = outcome
        node = conformity(accepted.schema).node
        assert not any(node.check(record) for record in reading.read(accepted))


TARGETS = {"push": push_json, "transit": push_transit, "batch": batch_json}
"""By the name of their folder in `corpus`."""
