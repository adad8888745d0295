"""Key names of any characters: whatever a JSON text can hold may name a field."""

import json
from typing import Any

import pytest

from treadle.errors import RequestRefusedError
from treadle.records import batch, push

NAMES = ['"', "\\", "\x00", "a\nb", "\x1f", "\x7f", "\ud800", "\u2028", "", " ", "é", "a/b~c"]


def pushed(name: str, data: dict[str, Any]) -> Any:
    record = {
        "client_id": 1,
        "table_name": "t",
        "sequence": 1,
        "action": "upsert",
        "key_names": [name],
        "data": data,
    }
    return push.check_body(push.decode_body(json.dumps([record]).encode(), transit=False), 1)


def batched(name: str, data: dict[str, Any]) -> Any:
    body = {
        "table_name": "t",
        "schema": {},
        "key_names": [name],
        "messages": [{"action": "upsert", "sequence": 1, "data": data}],
    }
    return batch.check_body(batch.decode_body(json.dumps(body).encode()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("send", [pushed, batched])
def test_a_key_that_is_there_and_one_that_is_not(send: Any, name: str) -> None:
    [found] = send(name, {name: 1})
    # Half a surrogate pair becomes the replacement character, in names as in values.
    assert found.key_names == (name.replace("\ud800", "\ufffd"),)
    for data in ({}, {name: None}):
        with pytest.raises(RequestRefusedError) as refused:
            send(name, data)
        assert refused.value.status == (422 if send is pushed else 400)
