"""Makes what tells recipients of problems by mail, from the settings."""

import socket

from treadle.config import Config
from treadle.courier.mail_carrier import MailCarrier
from treadle.courier.mail_relay import MailRelay
from treadle.courier.mail_text import MailStyle
from treadle.log.registry import make_quota, open_reader
from treadle.smtp_url import SmtpServer, parse_smtp_url
from treadle.store.recipients import is_mail_address
from treadle.store.store import Store


def make_mail_carrier(config: Config, store: Store) -> MailCarrier:
    """Make the mail carrier of a server; without `smtp_url` it does nothing."""
    return MailCarrier(
        store,
        lambda: open_reader(config, store.logs),
        make_mail_relay(config, store.installation_id),
        MailStyle(config.mail_subject_prefix, config.mail_plain_errors),
        make_quota(config),
        int(config.load_age * 1_000_000),
    )


def make_mail_relay(config: Config, installation_id: str) -> MailRelay | None:
    """Make what hands mails to the mail server; None without `smtp_url`."""
    if config.smtp_url is None:
        return None
    server = parse_smtp_url(config.smtp_url)
    return MailRelay(server, choose_sender(config, server), installation_id, socket.gethostname())


def choose_sender(config: Config, server: SmtpServer) -> str:
    """Return the address of the sender: `mail_from`, or one that the mail server may accept."""
    if config.mail_from is not None:
        return config.mail_from
    if server.user is not None and is_mail_address(server.user):
        return server.user
    return f"treadle@{socket.gethostname()}"
