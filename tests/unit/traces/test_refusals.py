"""How refused requests are named, shortened and summed."""

import json

import pytest

from treadle.traces.refusals import (
    BODY_BYTES_MAX,
    KeptRefusal,
    RefusalCount,
    RefusalGroup,
    keep_body,
    merge_counts,
    name_reason,
    shift_minutes,
)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, {"message": "Not Authorized"}, "Not Authorized"),
        (401, {"error": "Forbidden", "errors": {"error": "x"}}, "Forbidden"),
        (
            400,
            {"status": "ERROR", "message": 'The table "orders" has 7 keys'},
            'The table "…" has N keys',
        ),
        (415, "Content-Type must be application/json", "Content-Type must be application/json"),
        (400, "a JSON text with 12 in it", "a JSON text with N in it"),
        (400, {"errors": []}, '{"…": []}'),
        (404, None, "Not Found"),
        (599, None, "status N"),
    ],
)
def test_the_reason_is_the_sentence_without_names_and_numbers(
    status: int, body: object, reason: str
) -> None:
    written = (
        b""
        if body is None
        else body.encode()
        if isinstance(body, str)
        else json.dumps(body).encode()
    )
    assert name_reason(status, written) == reason


def test_a_reason_is_short_whatever_a_sender_writes() -> None:
    assert len(name_reason(400, b"x" * 10_000)) == 100
    assert name_reason(400, b"\xff\xfe") == "��"
    assert name_reason(400, b"[" * 100_000)


def test_the_token_is_not_in_what_is_kept() -> None:
    kept = keep_body(b'{"message":"no at_secret here, at_secret"}', "at_secret")
    assert kept == '{"message":"no *** here, ***"}'
    assert len(keep_body("é".encode() * 1000, None).encode()) <= BODY_BYTES_MAX
    # A token that is cut by the bound is hidden as well.
    assert "at_sec" not in keep_body(b"x" * (BODY_BYTES_MAX - 3) + b"at_secret", "at_secret")


def test_counts_of_workers_are_one() -> None:
    group = RefusalGroup("push", 401, "Not Authorized")
    other = RefusalGroup("push", 400, "bad")
    older = KeptRefusal(5, group, "", "", 0, "old", "1-1")
    newer = KeptRefusal(9, group, "", "", 0, "new", "2-1")
    merged = merge_counts(
        [
            RefusalCount(group, 1, 5, 2, (1, 1), older),
            RefusalCount(other, 1, 7, 1, (0, 1)),
            RefusalCount(group, 2, 9, 3, (0, 3), newer),
        ]
    )
    assert merged == [
        RefusalCount(group, 1, 9, 5, (1, 4), newer),
        RefusalCount(other, 1, 7, 1, (0, 1)),
    ]


def test_minutes_end_with_the_present_one() -> None:
    counted = [0] * 60
    counted[59], counted[0] = 3, 4  # the minutes 119 and 120
    assert shift_minutes(counted, 120, 120)[-2:] == (3, 4)
    assert shift_minutes(counted, 120, 122)[-4:] == (3, 4, 0, 0)
    assert set(shift_minutes(counted, 120, 180)) == {0}
