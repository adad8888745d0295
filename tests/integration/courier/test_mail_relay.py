"""Mails go over a verified connection or not at all, and carry what they should and no more."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.servers.certificates import make_certificate
from tests.servers.mail import MailServer

from treadle.courier.mail_relay import MailRelay, SendResult, make_message
from treadle.smtp_url import Encryption, SmtpServer
from treadle.store.model import WaitingMail

PASSWORD = "pa55word-of-mail"
SENDER = "treadle@example.org"


def make_mail(number: int = 1, **changes: object) -> WaitingMail:
    values: dict[str, object] = {
        "id": number,
        "address": f"a{number}@example.com",
        "subject": "treadle - Data delays",
        "body": "Records wait.\n.\n..dots\nGrüße\n",
        "created_at": 1_700_000_000_000_000,
        "tries": 0,
    }
    return WaitingMail(**(values | changes))  # type: ignore[arg-type]


def serve_context(folder: Path, hosts: tuple[str, ...] = ("127.0.0.1",)) -> ssl.SSLContext:
    files = make_certificate(folder, hosts=hosts)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    return context


def trust(folder: Path) -> Callable[[], ssl.SSLContext]:
    return lambda: ssl.create_default_context(cafile=str(folder / "server.pem"))


def make_relay(
    server: MailServer,
    encryption: Encryption = "none",
    make_context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    password: str = "",
) -> MailRelay:
    return MailRelay(
        SmtpServer("127.0.0.1", server.port, encryption, "bob" if password else None, password),
        SENDER,
        "an-installation",
        "here.test",
        make_context,
        timeout_seconds=10,
    )


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
def test_a_mail_goes_encrypted_after_a_login(tmp_path: Path, encryption: Encryption) -> None:
    context = serve_context(tmp_path)
    login = ("bob", PASSWORD)
    with MailServer(context, tls_first=encryption == "tls", login=login) as server:
        relay = make_relay(server, encryption, trust(tmp_path), PASSWORD)
        assert list(relay.send_mails([make_mail()])) == [SendResult(1, "sent")]
    [taken] = server.taken
    assert taken.encrypted
    assert taken.user == "bob"
    assert taken.text == "Records wait.\n.\n..dots\nGrüße\n"


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
@pytest.mark.parametrize("fault", ["unknown authority", "another host"])
def test_a_certificate_that_cannot_be_trusted_gets_nothing(
    tmp_path: Path, encryption: Encryption, fault: str
) -> None:
    hosts = ("127.0.0.1",) if fault == "unknown authority" else ("mail.example.com",)
    context = serve_context(tmp_path, hosts)
    known = ssl.create_default_context if fault == "unknown authority" else trust(tmp_path)
    with MailServer(context, tls_first=encryption == "tls", login=("bob", PASSWORD)) as server:
        relay = make_relay(server, encryption, known, PASSWORD)
        [result] = relay.send_mails([make_mail()])
    assert result.status == "postponed"
    assert "certificate" in result.why.lower()
    assert server.taken == []


def test_a_server_without_starttls_gets_nothing() -> None:
    with MailServer(login=("bob", PASSWORD)) as server:
        [result] = make_relay(server, "starttls", password=PASSWORD).send_mails([make_mail()])
    assert (result.status, server.taken) == ("postponed", [])
    assert "STARTTLS" in result.why


def test_a_wrong_password_is_not_told_even_if_the_server_does(tmp_path: Path) -> None:
    context = serve_context(tmp_path)
    with MailServer(context, tls_first=True, login=("bob", "another")) as server:
        relay = make_relay(server, "tls", trust(tmp_path), PASSWORD)
        [result] = relay.send_mails([make_mail()])
        assert PASSWORD not in repr(relay)
    assert result.status == "postponed"
    assert result.why.startswith("535 ")
    assert "***" in result.why
    assert PASSWORD not in result.why


def test_nobody_listens() -> None:
    with MailServer() as server:
        server.stop()
        results = list(make_relay(server).send_mails([make_mail(1), make_mail(2)]))
    assert [(one.mail_id, one.status) for one in results] == [(1, "postponed"), (2, "postponed")]
    assert "refused" in results[0].why


def test_a_server_that_refuses_texts() -> None:
    with MailServer(answer_to_data="554 spam") as server:
        results = list(make_relay(server).send_mails([make_mail(1), make_mail(2)]))
        assert [(one.status, one.why) for one in results] == [("refused", "554 spam")] * 2
        server.answer_to_data = "451 later"
        results = list(make_relay(server).send_mails([make_mail(1)]))
        assert [(one.status, one.why) for one in results] == [("postponed", "451 later")]


def test_a_caller_that_stops_ends_the_connection() -> None:
    with MailServer() as server:
        results = make_relay(server).send_mails([make_mail(1), make_mail(2)])
        assert next(results).status == "sent"
        results.close()
    assert len(server.taken) == 1


def test_a_mail_has_short_lines_of_ascii_whatever_it_says() -> None:
    body = "Größe: " + "x" * 5_000
    with MailServer() as server:
        mail = make_mail(subject="Größe " * 40, body=f"{body}\n")
        assert [one.status for one in make_relay(server).send_mails([mail])] == ["sent"]
    [taken] = server.taken
    assert taken.raw.isascii()
    assert max(map(len, taken.raw.split(b"\r\n"))) <= 78
    assert taken.text == f"{body}\n"


def test_a_mail_has_these_headers_and_no_others() -> None:
    message = make_message(make_mail(), SENDER, "an-installation")
    assert {name: str(value) for name, value in message.items()} == {
        "Subject": "treadle - Data delays",
        "From": SENDER,
        "To": "a1@example.com",
        "Date": "Tue, 14 Nov 2023 22:13:20 +0000",
        "Message-ID": "<treadle.an-installation.1@example.org>",
        "Auto-Submitted": "auto-generated",
        "Content-Type": 'text/plain; charset="utf-8"',
        "Content-Transfer-Encoding": "quoted-printable",
        "MIME-Version": "1.0",
    }


@pytest.mark.parametrize(
    "address", ["a@b.c\r\nBcc: x@y.z", "a@b.c, d@e.f", "a@b.c>\r\nRCPT TO:<x@y.z", "", "a"]
)
def test_what_is_no_address_is_never_sent_to(address: str) -> None:
    with MailServer() as server:
        [result] = make_relay(server).send_mails([make_mail(address=address)])
    assert (result.status, server.taken) == ("refused", [])


def test_a_subject_cannot_begin_another_header() -> None:
    with MailServer() as server:
        mail = make_mail(subject="treadle - x\r\nBcc: all@example.com\n\nbody")
        assert [one.status for one in make_relay(server).send_mails([mail])] == ["sent"]
    [taken] = server.taken
    assert taken.message["Bcc"] is None
    assert taken.recipients == ("a1@example.com",)
    assert "Bcc" in taken.subject


def test_a_subject_and_an_address_of_any_script() -> None:
    with MailServer() as server:
        mails = [make_mail(1, subject="Größe → 数据"), make_mail(2, address="grüße@example.com")]
        results = list(make_relay(server).send_mails(mails))
    assert [one.status for one in results] == ["sent", "refused"]
    assert "SMTPUTF8" in results[1].why
    assert server.taken[0].subject == "Größe → 数据"
