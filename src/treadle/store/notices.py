"""The repository of notices: which problems recipients were told of, and the mails about them.

A notice and its mails are written in one transaction, so that a problem is told once, whatever
happens to the process. A mail waits here until it was sent. Nobody changes anything by that, so
none of it has an event.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import delete, func, insert, or_, select, update

from treadle.store.database import StoreRepository
from treadle.store.model import EndedNotice, NewMail, NewNotice, OpenNotice, WaitingMail
from treadle.store.schema import mails, notices
from treadle.text import shorten_line

ERROR_CHARACTERS_MAX: Final = 500
"""Most characters that are kept of why a mail was not sent."""

_waits = mails.c.sent_at.is_(None) & mails.c.failed_at.is_(None)


class NoticeRepository(StoreRepository):
    """Problems that recipients were told of, and the mails that wait or were sent."""

    def list_open_notices(self) -> list[OpenNotice]:
        """Return the notices of problems that are not over, by id."""
        query = (
            select(
                notices.c.id,
                notices.c.account_id,
                notices.c.kind,
                notices.c.key,
                notices.c.named,
                notices.c.began_at,
                notices.c.gone_at,
            )
            .where(notices.c.ended_at.is_(None))
            .order_by(notices.c.id)
        )
        with self._database.read() as tx:
            return [OpenNotice(**row._mapping) for row in tx.connection.execute(query)]

    def list_ended_notices(self, since: int) -> list[EndedNotice]:
        """Return the notices of problems that ended at this time or later, the last one first."""
        query = (
            select(
                notices.c.account_id,
                notices.c.kind,
                notices.c.named,
                notices.c.began_at,
                notices.c.ended_at,
            )
            .where(notices.c.ended_at >= since)
            .order_by(notices.c.ended_at.desc(), notices.c.id.desc())
        )
        with self._database.read() as tx:
            return [EndedNotice(**row._mapping) for row in tx.connection.execute(query)]

    def record_notices(
        self,
        now: int,
        *,
        begun: Sequence[NewNotice] = (),
        gone: Mapping[int, int | None] | None = None,
        ended: Sequence[int] = (),
        written: Sequence[NewMail] = (),
    ) -> None:
        """Record what was decided, all of it or nothing.

        Args:
            now: microseconds since 1970.
            begun: problems of which recipients are told.
            gone: notice id -> since when its problem is not seen; None where it is seen again.
            ended: ids of notices whose problems are over.
            written: the mails about what began and ended.
        """
        with self._database.write() as tx:
            for one in begun:
                tx.connection.execute(
                    insert(notices).values(
                        account_id=one.account_id,
                        kind=one.kind,
                        key=one.key,
                        named=one.named,
                        began_at=one.began_at,
                        told_at=now,
                    )
                )
            for notice_id, gone_at in (gone or {}).items():
                tx.connection.execute(
                    update(notices).where(notices.c.id == notice_id).values(gone_at=gone_at)
                )
            for notice_id in ended:
                tx.connection.execute(
                    update(notices).where(notices.c.id == notice_id).values(ended_at=now)
                )
            for mail in written:
                tx.connection.execute(
                    insert(mails).values(
                        recipient_id=mail.recipient_id,
                        address=mail.address,
                        subject=mail.subject,
                        body=mail.body,
                        created_at=now,
                        next_at=now,
                        tries=0,
                    )
                )

    def list_due_mails(self, now: int, limit: int) -> list[WaitingMail]:
        """Return mails that are to be sent now, in the order in which they were written.

        A mail that is due takes earlier ones to the same recipient with it, so that nobody is told
        of an end before the beginning.
        """
        due = mails.alias("due")
        query = (
            select(
                mails.c.id,
                mails.c.address,
                mails.c.subject,
                mails.c.body,
                mails.c.created_at,
                mails.c.tries,
            )
            .where(
                _waits,
                select(due.c.id)
                .where(
                    due.c.recipient_id == mails.c.recipient_id,
                    due.c.id >= mails.c.id,
                    due.c.next_at <= now,
                    due.c.sent_at.is_(None),
                    due.c.failed_at.is_(None),
                )
                .exists(),
            )
            .order_by(mails.c.id)
            .limit(limit)
        )
        with self._database.read() as tx:
            return [WaitingMail(**row._mapping) for row in tx.connection.execute(query)]

    def find_next_mail_time(self) -> int | None:
        """Return when the next mail is to be sent, microseconds since 1970; None for no mail."""
        with self._database.read() as tx:
            found: int | None = tx.connection.execute(
                select(func.min(mails.c.next_at)).where(_waits)
            ).scalar_one()
        return found

    def find_mail_counts(self) -> tuple[int, int, str | None]:
        """Return how many mails wait, how many failed for good, and why the last try failed.

        The last is None while no mail that waits was tried.
        """
        with self._database.read() as tx:
            waiting = tx.connection.execute(select(func.count()).where(_waits)).scalar_one()
            failed = tx.connection.execute(
                select(func.count()).where(mails.c.failed_at.is_not(None))
            ).scalar_one()
            error: str | None = tx.connection.execute(
                select(mails.c.error)
                .where(or_(_waits, mails.c.failed_at.is_not(None)), mails.c.error.is_not(None))
                .order_by(mails.c.id.desc())
                .limit(1)
            ).scalar_one_or_none()
        return waiting, failed, error

    def record_sent(self, mail_id: int, now: int) -> None:
        """Record that the mail server took a mail."""
        with self._database.write() as tx:
            tx.connection.execute(
                update(mails).where(mails.c.id == mail_id).values(sent_at=now, error=None)
            )

    def record_try(self, mail_id: int, error: str, *, next_at: int) -> None:
        """Record why a mail was not sent, and when it is tried again."""
        with self._database.write() as tx:
            tx.connection.execute(
                update(mails)
                .where(mails.c.id == mail_id)
                .values(
                    tries=mails.c.tries + 1,
                    next_at=next_at,
                    error=shorten_line(error, ERROR_CHARACTERS_MAX),
                )
            )

    def record_failed(self, mail_id: int, error: str, now: int) -> None:
        """Record that a mail is never tried again, and why."""
        with self._database.write() as tx:
            tx.connection.execute(
                update(mails)
                .where(mails.c.id == mail_id)
                .values(
                    tries=mails.c.tries + 1,
                    failed_at=now,
                    error=shorten_line(error, ERROR_CHARACTERS_MAX),
                )
            )

    def delete_notices_before(self, at: int) -> int:
        """Delete notices that ended, and mails that were sent or failed, before a time.

        Returns:
            The number of both.
        """
        with self._database.write() as tx:
            gone = tx.connection.execute(delete(notices).where(notices.c.ended_at < at)).rowcount
            return (
                gone
                + tx.connection.execute(
                    delete(mails).where(or_(mails.c.sent_at < at, mails.c.failed_at < at))
                ).rowcount
            )
