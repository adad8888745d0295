"""Deliveries and mails that are sent on trial, by hand: what they are, and how they ended.

Whoever has a sender gives it in: nothing here sends anything.
"""

import json
from dataclasses import dataclass
from typing import Any, Final, Protocol

from treadle.store.hook_body import build_hook_body
from treadle.store.model import LoadReport, MailRecipient, PostLoadHook

TRIAL_NAME: Final = "treadle_test"
"""Stands for the source and the table in what is sent on trial."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """How something that was sent on trial ended.

    Attributes:
        status: HTTP status of the answer, or the code of the mail server; None without an answer.
        answer: the beginning of what was answered, as text.
        error: why there is no answer, or why it was not sent at all; None with an answer.
        took_us: how long it took.
    """

    status: int | None
    answer: str
    error: str | None
    took_us: int

    @property
    def is_success(self) -> bool:
        """Return whether it was taken."""
        return self.error is None and (self.status is None or 200 <= self.status < 300)


class TrialSender(Protocol):
    """Sends on trial, once, and waits for the answer: half a minute at most."""

    def send_delivery(self, hook: PostLoadHook, body: str) -> TrialResult:
        """Call a hook, also one that is disabled or paused; nothing of it is kept."""

    def send_mail(self, recipient: MailRecipient) -> TrialResult | None:
        """Send a mail to an address; None where the server has no mail server."""


class SilentSender:
    """Sends nothing, and says so."""

    def send_delivery(self, hook: PostLoadHook, body: str) -> TrialResult:
        """Return that nothing was sent."""
        return TrialResult(None, "", "nothing is sent by this process", 0)

    def send_mail(self, recipient: MailRecipient) -> TrialResult | None:
        """Return that there is no mail server."""
        return None


SILENT: Final = SilentSender()


def make_trial_load(now: int) -> LoadReport:
    """Return the report of a load of no rows.

    Args:
        now: microseconds since 1970.
    """
    return LoadReport(
        id="test",
        source_id=0,
        table_name=TRIAL_NAME,
        first=0,
        last=0,
        started_at=now,
        finished_at=now,
        rows_received=0,
        rows_loaded=0,
        rows_discarded=0,
        rows_rejected=0,
        tables={TRIAL_NAME: 0},
        details={},
        error=None,
    )


def encode_trial_body(now: int) -> str:
    """Return the body of a delivery on trial, as JSON.

    It is like that of a load of no rows, with one key more, `"test": true`, so that a receiver can
    tell.

    Args:
        now: microseconds since 1970.
    """
    return json.dumps(
        build_hook_body(make_trial_load(now), TRIAL_NAME) | {"test": True}, separators=(",", ":")
    )


def make_sample_body(now: int) -> dict[str, Any]:
    """Return what a delivery of a load of twelve rows looks like.

    Args:
        now: microseconds since 1970.
    """
    body = build_hook_body(make_trial_load(now), "shop")
    table = body["tables"][0] | {
        "source_table_name": "orders",
        "destination_table_name": "orders",
        "num_rows": 12,
    }
    return body | {
        "source_root_table_name": "orders",
        "destination_root_table_name": "orders",
        "tables": [table],
    }
