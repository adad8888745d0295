"""What is sent now, what an answer means, and when the next try is (connect-rest.md A.2.6).

Pure functions of values. Times are microseconds since 1970, UTC.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from treadle.store.deliveries import DELIVERED, FAILED, WAITING
from treadle.store.model import DueDelivery, RecordedTry

PAUSES_SECONDS: Final = (10, 30, 120, 600, 3_600)
"""The pauses behind the first tries. After one more the delivery is given up."""

TRIES_MAX: Final = len(PAUSES_SECONDS) + 1

JITTER: Final = 0.1
"""A pause is longer by up to this part, so that what failed together does not come together."""

AT_ONCE_MAX: Final = 8
"""Most deliveries under way, of all hooks."""

AT_ONCE_OF_HOOK_MAX: Final = 2
"""Most deliveries under way of one hook."""


@dataclass(frozen=True, slots=True)
class TryResult:
    """How a try to send a delivery ended.

    Attributes:
        status: HTTP status of the answer; None without an answer.
        answer: the beginning of its body, as text.
        error: why there is no answer, or why it was not sent at all; None with an answer.
        took_us: how long it took.
    """

    status: int | None
    answer: str
    error: str | None
    took_us: int


def choose_deliveries(
    due: Sequence[DueDelivery], under_way: Collection[DueDelivery]
) -> list[DueDelivery]:
    """Return what is to be sent now.

    Accounts take turns, and so do the hooks of an account: next is who has the fewest under way,
    and of those whose delivery is due the longest. So a receiver that is slow holds up its own
    hook alone.

    Args:
        due: each the first one of its hook and table that waits; its time has come.
        under_way: what is being sent.
    """
    busy = {(one.hook_id, one.table_id) for one in under_way}
    left = [one for one in due if (one.hook_id, one.table_id) not in busy]
    of_account = Counter(one.account_id for one in under_way)
    of_hook = Counter(one.hook_id for one in under_way)
    chosen: list[DueDelivery] = []
    while len(under_way) + len(chosen) < AT_ONCE_MAX:
        free = [one for one in left if of_hook[one.hook_id] < AT_ONCE_OF_HOOK_MAX]
        if not free:
            break
        following = min(
            free,
            key=lambda one: (
                of_account[one.account_id],
                of_hook[one.hook_id],
                one.due_at,
                one.number,
            ),
        )
        left.remove(following)
        chosen.append(following)
        of_account[following.account_id] += 1
        of_hook[following.hook_id] += 1
    return chosen


def judge_try(sent: DueDelivery, result: TryResult, now: int, dice: float) -> RecordedTry:
    """Return what follows from a try: delivered, another try later, or given up.

    Args:
        sent: the delivery, with the number of tries before this one.
        result: how the try ended.
        now: the end of the try.
        dice: a random number from 0 to 1.
    """
    error = explain_failure(result)
    tries = sent.tries + 1
    state, due_at = DELIVERED, sent.due_at
    if error is not None:
        state = WAITING if tries < TRIES_MAX else FAILED
    if state == WAITING:
        due_at = now + int(PAUSES_SECONDS[tries - 1] * (1 + JITTER * dice) * 1_000_000)
    return RecordedTry(
        number=sent.number,
        hook_id=sent.hook_id,
        state=state,
        due_at=due_at,
        tries_before=sent.tries,
        due_before=sent.due_at,
        at=now,
        took_us=result.took_us,
        status=result.status,
        answer=None if result.status is None else result.answer,
        error=error,
    )


def explain_failure(result: TryResult) -> str | None:
    """Return why a try was no success; None for an answer of 200 to 299."""
    if result.error is not None or result.status is None:
        return result.error or "there was no answer"
    if 200 <= result.status < 300:
        return None
    if 300 <= result.status < 400:
        return (
            f"it answered {result.status}, which sends the caller elsewhere; redirects are not "
            "followed, so give the hook the URL that it leads to"
        )
    return f"it answered {result.status}"
