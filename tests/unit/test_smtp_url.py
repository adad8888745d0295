"""The URL of a mail server: what it says, and what it may not say."""

import pytest

from treadle.config import Config
from treadle.errors import OperatorError
from treadle.smtp_url import SmtpServer, parse_smtp_url


@pytest.mark.parametrize(
    ("url", "server"),
    [
        (
            "smtp://user:pass@host:587?starttls=1",
            SmtpServer("host", 587, "starttls", "user", "pass"),
        ),
        (
            "smtp://me%40example.com:p%2Fa%3As@mail.example.com?starttls=true",
            SmtpServer("mail.example.com", 587, "starttls", "me@example.com", "p/a:s"),
        ),
        (
            "smtps://user:pass@mail.example.com",
            SmtpServer("mail.example.com", 465, "tls", "user", "pass"),
        ),
        ("smtps://host:2465/", SmtpServer("host", 2465, "tls")),
        ("smtp://relay", SmtpServer("relay", 25, "none")),
        ("smtp://relay?starttls=0", SmtpServer("relay", 25, "none")),
        ("smtp://[::1]:2525", SmtpServer("::1", 2525, "none")),
        ("smtp://u:p@127.0.0.1:2525", SmtpServer("127.0.0.1", 2525, "none", "u", "p")),
        ("smtp://u@localhost", SmtpServer("localhost", 25, "none", "u")),
    ],
)
def test_a_url_says_where_and_how(url: str, server: SmtpServer) -> None:
    assert parse_smtp_url(url) == server
    assert Config(smtp_url=url).smtp_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "smtp://",
        "smtp://host:x",
        "smtp://host:99999",
        "smtp://host/path",
        "smtp://host#x",
        "smtp://ho st",
        "smtp://host?starttls=2",
        "smtp://host?starttls",
        "smtp://host?tls=1",
        "smtps://host?starttls=1",
        "smtp://u:pa55word@host",
        "smtp://u:pa55word@10.0.0.1:25",
        "smtp://:pa55word@host?starttls=1",
        "smtp://u:pa55word%0d%0aQUIT@host?starttls=1",
    ],
)
def test_what_is_no_such_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_smtp_url(url)
    assert "pa55word" not in str(refused.value)
    with pytest.raises(OperatorError, match="smtp_url is to be a URL such as smtp://") as told:
        Config(smtp_url=url)
    assert "pa55word" not in str(told.value)


def test_the_password_is_shown_nowhere() -> None:
    config = Config(smtp_url="smtps://user:pa55word@mail.example.com")
    assert "pa55word" not in repr(config)
    assert "pa55word" not in repr(parse_smtp_url(config.smtp_url or ""))
