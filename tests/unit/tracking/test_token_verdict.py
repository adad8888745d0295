"""Which token can be revoked: by values."""

from typing import Any

import pytest

from treadle.store.model import AccessToken
from treadle.tracking.token_verdict import TokenVerdictKind, count_last_hour, judge_token

HOUR = 3_600_000_000
DAY = 24 * HOUR
NOW = 1_000 * DAY + HOUR // 2
SAFE, IN_USE = TokenVerdictKind.SAFE, TokenVerdictKind.IN_USE
ONLY, NEVER, ENDED = TokenVerdictKind.ONLY, TokenVerdictKind.NEVER_USED, TokenVerdictKind.ENDED


def token(
    number: int, *, made: int = 10 * DAY, used: int | None = None, **more: Any
) -> AccessToken:
    """A token that was made and used so long ago."""
    return AccessToken(
        id=number,
        kind="import",
        account_id=1,
        source_id=2,
        secret=None,
        last_four="63ab",
        description="",
        tables=(),
        signature=None,
        bootstrap=False,
        created_at=NOW - made,
        created_by="",
        first_used_at=None,
        last_used_at=None if used is None else NOW - used,
        last_used_from=more.pop("origin", None),
        uses=0,
        expires_at=None,
        revoked_at=more.pop("revoked_at", None),
        **more,
    )


OTHER = token(2, used=HOUR)
GONE = token(3, used=0, revoked_at=NOW)


@pytest.mark.parametrize(
    ("one", "others", "expected", "text"),
    [
        (token(1, used=2 * DAY), [OTHER], SAFE, "safe to revoke: last used 2 days ago, another"),
        (token(1, used=23 * HOUR), [OTHER], IN_USE, "in use: last used 23 hours ago"),
        (token(1, used=0, origin="10.0.0.7"), [OTHER], IN_USE, "last used less than a minute ago"),
        (token(1), [OTHER], SAFE, "safe to revoke: never used since it was made 10 days ago"),
        (token(1, made=HOUR), [OTHER], NEVER, "never used"),
        (token(1, used=2 * DAY), [], ONLY, "only token; last used 2 days ago"),
        (token(1, used=2 * DAY), [GONE], ONLY, "only token"),
        (token(1), [], ONLY, "only token; never used"),
        # Nothing took over: the other one was used before, or never.
        (token(1, used=2 * DAY), [token(2, used=3 * DAY)], IN_USE, "in use: last used 2 days"),
        (token(1, used=2 * DAY), [token(2)], IN_USE, "in use: last used 2 days ago"),
        (GONE, [OTHER], ENDED, "revoked less than a minute ago; no request refused since"),
        (
            token(1, revoked_at=NOW - HOUR, refused=3, refused_at=NOW - 300_000_000),
            [OTHER],
            ENDED,
            "revoked 1 hour ago; 3 requests refused since, last 5 minutes ago",
        ),
        (
            token(1, disabled_at=NOW - DAY, refused=1),
            [OTHER],
            ENDED,
            "disabled 1 day ago; 1 request",
        ),
    ],
)
def test_what_to_think_of_a_token(
    one: AccessToken, others: list[AccessToken], expected: TokenVerdictKind, text: str
) -> None:
    found = judge_token(one, [one, *others], [], NOW)
    assert found.kind is expected
    assert text in found.text


def test_uses_of_the_last_hour_are_said() -> None:
    found = judge_token(token(1, used=0, origin="10.0.0.7"), [OTHER], [0, 8, 10], NOW)
    assert found.text == "in use: 14 requests in the last hour, last from 10.0.0.7"
    one = judge_token(token(1, used=0), [], [1], NOW)
    assert one.text == "only token; 1 request in the last hour"


def test_the_last_hour_has_a_part_of_the_hour_before() -> None:
    assert count_last_hour([], NOW) == 0
    assert count_last_hour([3], NOW) == 3
    assert count_last_hour([99, 8, 10], NOW) == 14
    assert count_last_hour([8, 10], NOW - NOW % HOUR) == 18
