"""Sends deliveries of hooks and mails on trial: what the courier does, once and at once."""

import asyncio
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Final

from treadle import clock
from treadle.config import Config
from treadle.control.trials import TrialResult
from treadle.http.outbound_url import OutboundRules
from treadle.store.model import DueDelivery, MailRecipient, PostLoadHook, WaitingMail

AT_ONCE_MAX: Final = 4
"""Tests of a worker that wait for an answer; each has a thread for half a minute at most."""

BUSY: Final = TrialResult(None, "", f"{AT_ONCE_MAX} tests are under way already; try again", 0)

SUBJECT: Final = "This is a test"
TEXT: Final = (
    "This mail was asked for at a treadle server, to see whether mails about problems arrive.\n"
    "Nothing is wrong.\n"
)


@dataclass(frozen=True, slots=True)
class OutboundTrials:
    """A `TrialSender` by the settings.

    Attributes:
        config: the settings.
        installation_id: of the store.
    """

    config: Config
    installation_id: str
    _places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(AT_ONCE_MAX))

    def send_delivery(self, hook: PostLoadHook, body: str) -> TrialResult:
        """Call a hook as the courier does, under the same rules, and wait for the answer."""
        # Imported here: HTTP is a large import, and most workers never send anything.
        from treadle.courier.hook_sender import HookSender

        sender = HookSender(OutboundRules.from_setting(self.config.hook_urls), clock.read_clock)
        delivery = DueDelivery(
            number=0,
            id=str(uuid.uuid4()),
            account_id=hook.account_id,
            hook_id=hook.id,
            table_id=0,
            url=hook.url,
            secret=hook.secret,
            body=body,
            due_at=0,
            tries=0,
        )
        if not self._places.acquire(blocking=False):
            return BUSY
        try:
            found = asyncio.run(sender.send(delivery))
        finally:
            self._places.release()
        return TrialResult(found.status, found.answer, found.error, found.took_us)

    def send_mail(self, recipient: MailRecipient) -> TrialResult | None:
        """Hand a mail to the mail server."""
        from treadle.server.mail_carriers import make_mail_relay

        relay = make_mail_relay(self.config, self.installation_id)
        if relay is None:
            return None
        now = clock.read_clock()
        # The time as its number: no two tests have the same message id.
        subject = f"{self.config.mail_subject_prefix}{SUBJECT}"
        mail = WaitingMail(now, recipient.address, subject, TEXT, now, 0)
        if not self._places.acquire(blocking=False):
            return BUSY
        began = time.monotonic()
        try:
            [found] = relay.send_mails([mail])
        finally:
            self._places.release()
        took_us = int((time.monotonic() - began) * 1_000_000)
        why = None if found.status == "sent" else found.why or "the mail server did not take it"
        return TrialResult(None, "", why, took_us)
