"""The operations on custom e-mails, the addresses that are told of problems.

(connect-api.md 2.13, connect-rest.md A.2.5)

As in `operations`, everything here blocks, and `recipient_routes` runs it in threads.
"""

import logging
from dataclasses import dataclass
from typing import Final

from treadle.control import errors, schemas
from treadle.control.lookups import parse_id
from treadle.control.recipient_requests import parse_recipient_change, parse_recipient_creation
from treadle.control.trials import TrialSender
from treadle.store.errors import RecipientLimitError
from treadle.store.model import Account, MailRecipient
from treadle.store.store import Store
from treadle.store.trail_event import TargetKind, TrailAction, TrailOutcome, TrailTarget
from treadle.timestamps import format_seconds

logger: Final = logging.getLogger(__name__)
"""Logs ids only, and no addresses of people."""


@dataclass(frozen=True, slots=True)
class RecipientOperations:
    """The operations on custom e-mails.

    Attributes:
        store: every look-up is inside the account.
    """

    store: Store

    def list_custom_emails(self, account: Account) -> object:
        """Serve `GET .../custom-emails`: by id, disabled ones too."""
        return [
            render_custom_email(one) for one in self.store.recipients.list_recipients(account.id)
        ]

    def create_custom_email(self, account: Account, raw: bytes) -> object:
        """Serve `POST .../custom-emails`; an address that is there already is answered as it is."""
        address = parse_recipient_creation(raw)
        try:
            added = self.store.recipients.add_recipient(account.id, address)
        except RecipientLimitError as error:
            raise errors.too_many_custom_emails() from error
        logger.info("account %d has recipient %d", account.id, added.id)
        return render_custom_email(added)

    def update_custom_email(self, account: Account, email_id: str, raw: bytes) -> object:
        """Serve `PUT .../custom-emails/{id}`: disable or enable it."""
        number = parse_id(email_id)
        known = {one.id for one in self.store.recipients.list_recipients(account.id)}
        if number is None or number not in known:
            raise errors.custom_email_not_found()
        disabled_at = parse_recipient_change(raw)
        changed = self.store.recipients.set_disabled(account.id, number, disabled_at)
        if changed is None:
            raise errors.custom_email_not_found()
        logger.info(
            "account %d %s recipient %d",
            account.id,
            "enabled" if changed.disabled_at is None else "disabled",
            changed.id,
        )
        return {"disabled_at": _format_optional(changed.disabled_at)}

    def delete_custom_email(self, account: Account, email_id: str) -> object:
        """Serve `DELETE .../custom-emails/{id}`: the answer is the number of deleted ones."""
        number = parse_id(email_id)
        if number is None or not self.store.recipients.remove_recipient(account.id, number):
            raise errors.custom_email_not_found()
        logger.info("account %d removed recipient %d", account.id, number)
        return [1]

    def send_test(
        self, account: Account, email_id: str, sender: TrialSender
    ) -> schemas.MailTrialAnswer:
        """Serve `POST /v1/custom-emails/{id}/test`: send a mail, and wait for the mail server.

        Args:
            account: whose recipient it is.
            email_id: of the recipient.
            sender: sends it.
        """
        known = {str(one.id): one for one in self.store.recipients.list_recipients(account.id)}
        if email_id not in known:
            raise errors.custom_email_not_found()
        recipient = known[email_id]
        found = sender.send_mail(recipient)
        if found is None:
            raise errors.no_mail_server()
        self.store.trail.record_event(
            TrailAction.TEST_RECIPIENT,
            TrailTarget(TargetKind.RECIPIENT, recipient.id, recipient.address),
            TrailOutcome.DONE if found.is_success else TrailOutcome.FAILED,
            account_id=account.id,
        )
        logger.info("account %d tested recipient %d", account.id, recipient.id)
        return {
            "id": recipient.id,
            "sent": found.is_success,
            "error": found.error,
            "took_ms": found.took_us // 1000,
        }


def render_custom_email(recipient: MailRecipient) -> schemas.CustomEmailAnswer:
    """Return the object of a custom e-mail (connect-api.md 3.16)."""
    return {
        "id": recipient.id,
        "client_id": recipient.account_id,
        "email_address": recipient.address,
        "created_at": format_seconds(recipient.created_at),
        "disabled_at": _format_optional(recipient.disabled_at),
    }


def _format_optional(instant: int | None) -> str | None:
    return None if instant is None else format_seconds(instant)
