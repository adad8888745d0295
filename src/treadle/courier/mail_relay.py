"""Hands mails to the mail server of the operator, by SMTP.

Addresses and texts reach headers only through `email.message.EmailMessage`, which refuses line
breaks, and the envelope only after `is_mail_address`. So nothing that a client chose can add a
header or a recipient.
"""

import smtplib
import ssl
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final, Literal

from treadle.smtp_url import SmtpServer
from treadle.store.model import WaitingMail
from treadle.store.recipients import is_mail_address
from treadle.text import escape_unprintable
from treadle.timestamps import to_datetime

TIMEOUT_SECONDS: Final = 30.0
"""Seconds that the mail server may take to be reached, and for each answer."""

SendStatus = Literal["sent", "refused", "postponed"]
"""sent: the mail server took it. refused: it never will. postponed: it may take it later."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of a mail.

    Attributes:
        why: it was not sent; empty where it was.
    """

    mail_id: int
    status: SendStatus
    why: str = ""


def make_message(mail: WaitingMail, sender: str, installation_id: str) -> EmailMessage:
    """Return a mail with its headers. The same mail has the same headers each time.

    Args:
        mail: to be sent.
        sender: address of the sender.
        installation_id: makes the id of the message unlike those of other servers.

    Raises:
        ValueError: the address is none.
    """
    if not is_mail_address(mail.address):
        raise ValueError("the address is none that mails can be sent to")
    message = EmailMessage(policy=SMTP)
    message["Subject"] = escape_unprintable(mail.subject)
    message["From"] = _make_address(sender)
    message["To"] = _make_address(mail.address)
    message["Date"] = to_datetime(mail.created_at)
    message["Message-ID"] = f"<treadle.{installation_id}.{mail.id}@{sender.rpartition('@')[2]}>"
    # So that nobody's absence is announced to the sender (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    # Not every mail server passes on bytes of 8 bits, or lines of a thousand characters.
    message.set_content(mail.body, cte="quoted-printable")
    return message


def _make_address(text: str) -> Address:
    local, _, host = text.rpartition("@")
    return Address(username=local, domain=host)


@dataclass(frozen=True, slots=True)
class MailRelay:
    """Sends mails by one mail server.

    Attributes:
        server: the mail server.
        sender: address of the sender.
        installation_id: of the store.
        host_name: the name by which this machine greets the mail server.
        make_context: makes the TLS context, which verifies the mail server's certificate.
        timeout_seconds: see `TIMEOUT_SECONDS`.
    """

    server: SmtpServer
    sender: str
    installation_id: str
    host_name: str
    make_context: Callable[[], ssl.SSLContext] = ssl.create_default_context
    timeout_seconds: float = TIMEOUT_SECONDS

    @property
    def identity(self) -> str:
        """Return the name of the mail server for the operator, without its password."""
        return f"{self.server.host}:{self.server.port}"

    def send_mails(self, mails: Sequence[WaitingMail]) -> Generator[SendResult, None, None]:
        """Send mails in order by one connection; yield the result of each when it is known.

        When the connection cannot be made or ends, all mails that are left are postponed. The
        connection is closed when the caller takes no more results.
        """
        left = list(mails)
        try:
            with self._connect() as connection:
                while left:
                    result = self._send(connection, left[0])
                    left.pop(0)
                    yield result
        except (OSError, smtplib.SMTPException, ValueError) as error:
            why = self._describe(error)
            for mail in left:
                yield SendResult(mail.id, "postponed", why)

    def _connect(self) -> smtplib.SMTP:
        its = self.server
        connection: smtplib.SMTP
        if its.encryption == "tls":
            connection = smtplib.SMTP_SSL(
                its.host,
                its.port,
                local_hostname=self.host_name,
                timeout=self.timeout_seconds,
                context=self.make_context(),
            )
        else:
            connection = smtplib.SMTP(
                its.host, its.port, local_hostname=self.host_name, timeout=self.timeout_seconds
            )
        try:
            if its.encryption == "starttls":
                # Refused where the mail server does not offer it: nothing is said in clear.
                connection.starttls(context=self.make_context())
            if its.user is not None:
                connection.login(its.user, its.password)
        except BaseException:
            connection.close()
            raise
        return connection

    def _send(self, connection: smtplib.SMTP, mail: WaitingMail) -> SendResult:
        """Send one mail; an error of the connection is raised."""
        try:
            message = make_message(mail, self.sender, self.installation_id)
            connection.send_message(message, self.sender, [mail.address])
        except smtplib.SMTPRecipientsRefused as error:
            code, said = next(iter(error.recipients.values()))
            status: SendStatus = "refused" if code >= 500 else "postponed"
            return SendResult(mail.id, status, self._hide_password(_describe_answer(code, said)))
        except smtplib.SMTPDataError as error:
            status = "refused" if error.smtp_code >= 500 else "postponed"
            return SendResult(mail.id, status, self._describe(error))
        except smtplib.SMTPSenderRefused as error:
            # By the settings: whoever mends them gets the mails that wait.
            return SendResult(mail.id, "postponed", self._describe(error))
        except (smtplib.SMTPNotSupportedError, ValueError) as error:
            return SendResult(mail.id, "refused", self._describe(error))
        return SendResult(mail.id, "sent")

    def _describe(self, error: Exception) -> str:
        if isinstance(error, smtplib.SMTPResponseException):
            return self._hide_password(_describe_answer(error.smtp_code, error.smtp_error))
        return self._hide_password(str(error) or type(error).__name__)

    def _hide_password(self, text: str) -> str:
        """Return a text without the password, should a mail server quote it."""
        return text.replace(self.server.password, "***") if self.server.password else text


def _describe_answer(code: int, said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return f"{code} {' '.join(text.split())}"
