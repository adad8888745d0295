"""Whether a token can be revoked without a refused request: a function of values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from treadle.counting import count_noun
from treadle.store.model import AccessToken
from treadle.store.tokens import HOUR_US

DAY_US: Final = 24 * HOUR_US


class TokenVerdictKind(StrEnum):
    """What to think of a token.

    SAFE: another active one of its owner took over, or it was never used for a day.
    ONLY: there is no other active one of its owner.
    ENDED: it was revoked, has expired or is disabled.
    """

    SAFE = "safe_to_revoke"
    IN_USE = "in_use"
    ONLY = "only_token"
    NEVER_USED = "never_used"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class TokenVerdict:
    """What to think of a token, and a sentence for people."""

    kind: TokenVerdictKind
    text: str


def judge_token(
    token: AccessToken, others: Iterable[AccessToken], hours: Sequence[int], now: int
) -> TokenVerdict:
    """Return whether a token can be revoked.

    Args:
        token: the token.
        others: all tokens of its kind and owner, it may be among them.
        hours: its uses in each hour, the present one last.
        now: microseconds since 1970.
    """
    if not token.is_active(now):
        return TokenVerdict(TokenVerdictKind.ENDED, _describe_refused(token, now))
    active = [one for one in others if one.id != token.id and one.is_active(now)]
    used = token.last_used_at
    if not active:
        return TokenVerdict(
            TokenVerdictKind.ONLY, f"only token; {_describe_use(token, hours, now)}"
        )
    if used is None:
        if now - token.created_at < DAY_US:
            return TokenVerdict(TokenVerdictKind.NEVER_USED, "never used")
        text = f"safe to revoke: never used since it was made {_format_age(token.created_at, now)}"
        return TokenVerdict(TokenVerdictKind.SAFE, text)
    later = any(one.last_used_at is not None and one.last_used_at > used for one in active)
    if later and now - used >= DAY_US:
        text = f"safe to revoke: last used {_format_age(used, now)}, another one was used later"
        return TokenVerdict(TokenVerdictKind.SAFE, text)
    return TokenVerdict(TokenVerdictKind.IN_USE, f"in use: {_describe_use(token, hours, now)}")


def count_last_hour(hours: Sequence[int], now: int) -> int:
    """Return about how many uses the last 60 minutes had.

    Args:
        hours: uses in each hour, the present one last.
        now: microseconds since 1970.
    """
    if not hours:
        return 0
    before = hours[-2] if len(hours) > 1 else 0
    return hours[-1] + round(before * (1 - now % HOUR_US / HOUR_US))


def _describe_use(token: AccessToken, hours: Sequence[int], now: int) -> str:
    if token.last_used_at is None:
        return "never used"
    count = count_last_hour(hours, now)
    if count:
        said = f"{count_noun(count, 'request')} in the last hour"
    else:
        said = f"last used {_format_age(token.last_used_at, now)}"
    if token.last_used_from is None:
        return said
    return (
        f"{said}, last from {token.last_used_from}"
        if count
        else (f"{said} from {token.last_used_from}")
    )


def _describe_refused(token: AccessToken, now: int) -> str:
    if token.revoked_at is not None:
        ended = f"revoked {_format_age(token.revoked_at, now)}"
    elif token.disabled_at is not None:
        ended = f"disabled {_format_age(token.disabled_at, now)}"
    else:
        ended = f"expired {_format_age(token.expires_at or 0, now)}"
    if not token.refused:
        return f"{ended}; no request refused since"
    plural = "" if token.refused == 1 else "s"
    last = "" if token.refused_at is None else f", last {_format_age(token.refused_at, now)}"
    return f"{ended}; {token.refused} request{plural} refused since{last}"


def _format_age(at: int, now: int) -> str:
    seconds = max(now - at, 0) // 1_000_000
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "less than a minute ago"
