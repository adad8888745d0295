"""The repository of recipients: the addresses that are told of problems of an account.

On the wire they are "custom e-mails" (connect-api.md 2.13).
"""

import re
from typing import Any, Final

from sqlalchemy import Row, delete, insert, select, update

from treadle.store.accounts import require_account
from treadle.store.database import StoreRepository, StoreTransaction
from treadle.store.errors import AddressRuleError, RecipientLimitError
from treadle.store.model import MailRecipient
from treadle.store.schema import mails, recipients
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

RECIPIENTS_MAX: Final = 10
"""Most recipients of an account, disabled ones included (connect-api.md 2.13)."""

ADDRESS_CHARACTERS_MAX: Final = 254

_ADDRESS: Final = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff@\"(),:;<>\[\\\]]+"
    r"@(?=[^.])(?=.*\.[^.])[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff@\"(),:;<>\[\\\]]+"
)


def is_mail_address(text: str) -> bool:
    """Return whether mails may be sent to an address (connect-rest.md A.2.5).

    It has one `@` with a dot behind it. Characters that would have to be quoted are refused, so
    that an address is one address in every header.
    """
    return len(text) <= ADDRESS_CHARACTERS_MAX and _ADDRESS.fullmatch(text) is not None


class RecipientRepository(StoreRepository):
    """Addresses that are told of problems of an account."""

    def add_recipient(self, account_id: int, address: str) -> MailRecipient:
        """Add an address; one that is there already is returned as it is.

        Raises:
            AddressRuleError: it is no address.
            RecipientLimitError: the account has as many as it may have.
            NotFoundError: no such account.
        """
        if not is_mail_address(address):
            raise AddressRuleError
        with self._database.change() as tx:
            require_account(tx, account_id)
            present = _list_recipients(tx, account_id)
            for one in present:
                if _make_key(one.address) == _make_key(address):
                    return one
            if len(present) >= RECIPIENTS_MAX:
                raise RecipientLimitError(account_id, RECIPIENTS_MAX)
            row = tx.connection.execute(
                insert(recipients)
                .values(account_id=account_id, address=address, created_at=tx.now)
                .returning(recipients)
            ).one()
            added = MailRecipient(**row._mapping)
            _record(tx, TrailAction.ADD_RECIPIENT, added)
            return added

    def list_recipients(self, account_id: int | None = None) -> list[MailRecipient]:
        """Return the recipients of one account or of all, by id, disabled ones too."""
        with self._database.read() as tx:
            return _list_recipients(tx, account_id)

    def set_disabled(
        self, account_id: int, recipient_id: int, disabled_at: int | None
    ) -> MailRecipient | None:
        """Disable or enable a recipient. A disabled one gets nothing, also no mail that waits.

        Args:
            account_id: of the recipient.
            recipient_id: the recipient.
            disabled_at: kept as it is, microseconds since 1970; whatever it is, the recipient is
                disabled now. None enables it.

        Returns:
            The changed recipient; None where the account has no such one.
        """
        with self._database.change() as tx:
            row = _find_row(tx, account_id, recipient_id)
            if row is None:
                return None
            found = MailRecipient(**row._mapping)
            if found.disabled_at == disabled_at:
                return found
            changed = MailRecipient(
                **tx.connection.execute(
                    update(recipients)
                    .where(recipients.c.id == recipient_id)
                    .values(disabled_at=disabled_at)
                    .returning(recipients)
                )
                .one()
                ._mapping
            )
            if disabled_at is None:
                _record(tx, TrailAction.ENABLE_RECIPIENT, changed)
            else:
                _forget_waiting_mails(tx, recipient_id)
                _record(tx, TrailAction.DISABLE_RECIPIENT, changed)
            return changed

    def remove_recipient(self, account_id: int, recipient_id: int) -> bool:
        """Remove a recipient and the mails that wait for it; return whether there was one."""
        with self._database.change() as tx:
            row = _find_row(tx, account_id, recipient_id)
            if row is None:
                return False
            _forget_waiting_mails(tx, recipient_id)
            tx.connection.execute(delete(recipients).where(recipients.c.id == recipient_id))
            _record(tx, TrailAction.REMOVE_RECIPIENT, MailRecipient(**row._mapping))
            return True


def _list_recipients(tx: StoreTransaction, account_id: int | None) -> list[MailRecipient]:
    query = select(recipients).order_by(recipients.c.id)
    if account_id is not None:
        query = query.where(recipients.c.account_id == account_id)
    return [MailRecipient(**row._mapping) for row in tx.connection.execute(query)]


def _find_row(tx: StoreTransaction, account_id: int, recipient_id: int) -> Row[Any] | None:
    return tx.connection.execute(
        select(recipients).where(
            recipients.c.id == recipient_id, recipients.c.account_id == account_id
        )
    ).one_or_none()


def _make_key(address: str) -> str:
    """Return what two spellings of one address share: names of hosts have no case."""
    local, _, host = address.partition("@")
    return f"{local}@{host.lower()}"


def _forget_waiting_mails(tx: StoreTransaction, recipient_id: int) -> None:
    tx.connection.execute(
        delete(mails).where(
            mails.c.recipient_id == recipient_id,
            mails.c.sent_at.is_(None),
            mails.c.failed_at.is_(None),
        )
    )


def _record(tx: StoreTransaction, action: TrailAction, recipient: MailRecipient) -> None:
    tx.record(
        action,
        TrailTarget(TargetKind.RECIPIENT, recipient.id, recipient.address),
        account_id=recipient.account_id,
    )
