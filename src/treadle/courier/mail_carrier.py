"""Tells recipients of problems by mail: looks for problems, decides, writes mails, sends them."""

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from treadle.courier.mail_relay import MailRelay, SendResult
from treadle.courier.mail_text import MailStyle, write_mails
from treadle.courier.notice_decisions import decide_notices
from treadle.errors import TreadleError
from treadle.log.protocol import LogReader
from treadle.log.quota import LogQuota
from treadle.store.model import MailRecipient, NewNotice, WaitingMail
from treadle.store.store import Store
from treadle.tracking.problem_finder import RejectionWatch, find_problems
from treadle.tracking.problem_kinds import ProblemIdentity

logger: Final = logging.getLogger(__name__)
"""Logs ids of mails, never an address."""

LOOK_SECONDS: Final = 60.0
"""Seconds between looks for problems."""

IDLE_SECONDS: Final = 3_600.0
"""Seconds between runs where there is no mail server: its setting is read at the start only."""

RETRY_SECONDS: Final = (60.0, 300.0, 900.0, 3_600.0)
"""Seconds until a mail is tried again after its first, second, ... try; the last one repeats."""

GIVE_UP_US: Final = 3 * 86_400_000_000
"""How long a mail is tried."""

KEEP_US: Final = 30 * 86_400_000_000
"""How long notices that ended and mails that were sent are kept."""

MAILS_PER_RUN: Final = 200


def compute_next_try(mail: WaitingMail, now: int) -> int | None:
    """Return when a mail is tried again that was just postponed; None for never.

    Args:
        mail: as it was before the try.
        now: microseconds since 1970.
    """
    pause = RETRY_SECONDS[min(mail.tries, len(RETRY_SECONDS) - 1)]
    next_at = now + int(pause * 1_000_000)
    return None if next_at > mail.created_at + GIVE_UP_US else next_at


@dataclass(slots=True)
class MailCarrier:
    """Tells recipients of problems, and when they are over.

    One thread at a time calls `run_once`; any thread may call `stop`.

    Attributes:
        store: recipients, notices, mails, and most of what is known of problems.
        open_reader: opens the log; called at the first look.
        relay: sends mails; None where there is no mail server, so that nothing is decided either.
            Whoever sets one later is told of the problems that there are then.
        style: how mails look.
        quota: the bounds of the log.
        load_age_us: how long records wait by the settings, microseconds.
    """

    store: Store
    open_reader: Callable[[], LogReader]
    relay: MailRelay | None
    style: MailStyle = field(default_factory=MailStyle)
    quota: LogQuota = field(default_factory=LogQuota)
    load_age_us: int = 1_000_000
    _reader: LogReader | None = None
    _watch: RejectionWatch = field(default_factory=RejectionWatch)
    _look_at: int | None = None

    def run_once(self, now_us: int) -> float:
        """Do what is due; return the seconds until it wants to run again.

        Args:
            now_us: microseconds since 1970.
        """
        if self.relay is None:
            return IDLE_SECONDS
        look_us = int(LOOK_SECONDS * 1_000_000)
        # A time far ahead means that the clock was set back.
        if self._look_at is None or not now_us < self._look_at <= now_us + look_us:
            self._look_at = now_us + look_us
            try:
                self._look_for_problems(now_us)
            except TreadleError as error:
                logger.warning("problems cannot be looked for now: %s", error)
        next_at: int | None = None
        try:
            if self._send_due_mails(self.relay, now_us):
                return 0.0
            next_at = self.store.notices.find_next_mail_time()
        except TreadleError as error:
            logger.warning("mails cannot be read or noted now: %s", error)
        wanted = self._look_at if next_at is None else min(self._look_at, next_at)
        return max(1.0, (wanted - now_us) / 1_000_000)

    def finish(self, seconds: float) -> None:
        """Close; a mail that was not noted as sent is sent again after the next start."""
        del seconds
        self.close()

    def close(self) -> None:
        """Close the log, if it was opened."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _look_for_problems(self, now: int) -> None:
        """Find problems, and note what is to be told, with the mails about it."""
        recipients: dict[int, list[MailRecipient]] = defaultdict(list)
        for one in self.store.recipients.list_recipients():
            if one.disabled_at is None:
                recipients[one.account_id].append(one)
        notices = self.store.notices.list_open_notices()
        self.store.notices.delete_notices_before(now - KEEP_US)
        if not recipients and not notices:
            return
        if self._reader is None:
            self._reader = self.open_reader()
        problems = find_problems(
            self.store, self._reader, self.quota, self._watch, now, self.load_age_us
        )
        snoozed = {ProblemIdentity(*key) for key in self.store.snoozes.list_snoozes(now)}
        decision = decide_notices(problems, notices, now, recipients, snoozed)
        if decision.is_empty():
            return
        self.store.notices.record_notices(
            now,
            begun=[
                NewNotice(one.account_id, one.kind, one.key, one.named, one.since)
                for one in decision.begun
            ],
            gone=decision.gone,
            ended=[one.id for one in decision.ended],
            written=write_mails(decision, recipients, self.style, now),
        )
        if decision.begun or decision.ended:
            logger.info(
                "recipients are told of %d problems, and that %d are over",
                len(decision.begun),
                len(decision.ended),
            )

    def _send_due_mails(self, relay: MailRelay, now: int) -> bool:
        """Send mails that are due; return whether more of them are left.

        Raises:
            RetriableError: the store cannot note what became of a mail. It is sent again later,
                with the same message id.
        """
        due = self.store.notices.list_due_mails(now, MAILS_PER_RUN)
        if not due:
            return False
        mails = {mail.id: mail for mail in due}
        results = relay.send_mails(due)
        counts: dict[str, int] = defaultdict(int)
        why = ""
        try:
            for result in results:
                counts[result.status] += 1
                why = result.why or why
                self._record_result(mails[result.mail_id], result, now)
        finally:
            results.close()
        if counts["sent"]:
            logger.info("%s took %d mails", relay.identity, counts["sent"])
        if counts["postponed"]:
            logger.warning(
                "%s took %d mails not; they are tried again: %s",
                relay.identity,
                counts["postponed"],
                why,
            )
        return len(due) == MAILS_PER_RUN and not counts["postponed"]

    def _record_result(self, mail: WaitingMail, result: SendResult, now: int) -> None:
        if result.status == "sent":
            self.store.notices.record_sent(mail.id, now)
            return
        next_at = compute_next_try(mail, now) if result.status == "postponed" else None
        if next_at is not None:
            self.store.notices.record_try(mail.id, result.why, next_at=next_at)
            return
        self.store.notices.record_failed(mail.id, result.why, now)
        logger.error("mail %d is given up: %s", mail.id, result.why)
