"""`treadle recipient ...` on a real store."""

from pathlib import Path

import pytest
from tests.integration.cli.conftest import Treadle
from tests.servers.mail import MailServer


@pytest.fixture
def account(data: Path, treadle: Treadle) -> None:
    assert treadle("account create").code == 0


@pytest.mark.usefixtures("account")
def test_an_address_is_added_disabled_enabled_and_removed(treadle: Treadle) -> None:
    added = treadle("recipient add oncall@example.com")
    assert added.out.splitlines() == [
        "oncall@example.com is recipient 1 of account 1.",
        "Stored, not sent: no smtp_url.",
    ]
    [row] = treadle("recipient list --json").json
    assert list(row) == [
        "id", "email_address", "state", "stitch_client_id", "created_at", "disabled_at",
    ]  # fmt: skip
    assert (row["id"], row["email_address"], row["state"]) == (1, "oncall@example.com", "enabled")
    assert "Stored, not sent" in treadle("recipient list").out
    assert treadle("recipient disable 1").out == "oncall@example.com is disabled.\n"
    assert treadle("recipient disable 1").out == "oncall@example.com was disabled.\n"
    [row] = treadle("recipient list --json").json
    assert (row["state"], row["disabled_at"] is None) == ("disabled", False)
    assert treadle("recipient enable oncall@example.com").out == "oncall@example.com is enabled.\n"
    removed = treadle("recipient remove oncall@example.com")
    assert removed.out == "oncall@example.com is no recipient of account 1 any more.\n"
    assert treadle("recipient list --json").json == []
    assert "Stored" not in treadle("recipient list").out


@pytest.mark.usefixtures("account")
def test_nothing_is_said_of_smtp_url_where_there_is_one(
    treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_SMTP_URL", "smtps://u:pa55word@mail.example.com")
    for line in ("recipient add a@example.com", "recipient list"):
        done = treadle(line)
        assert "Stored" not in done.out
        assert "pa55word" not in done.out + done.err


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("recipient add nobody", "treadle: An e-mail address has one @ with a dot behind it"),
        ("recipient add a@b.c --account 7", "treadle: There is no account '7'; there is 1"),
        ("recipient remove a@b.c", "treadle: Account 1 has no recipient; add one with `treadle "),
    ],
)
def test_errors_say_what_to_do(treadle: Treadle, line: str, said: str) -> None:
    done = treadle(line)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(said)


@pytest.mark.usefixtures("account")
def test_an_unknown_recipient_is_told_with_those_that_are_known(treadle: Treadle) -> None:
    treadle("recipient add a@b.c")
    done = treadle("recipient disable 2")
    assert done.err == "treadle: Account 1 has no recipient '2'; it has a@b.c (1).\n"
    for number in range(9):
        assert treadle(f"recipient add a{number}@b.c").code == 0
    assert (
        "already has the maximum of 10 recipients; remove one first"
        in treadle("recipient add one@more.com").err
    )


@pytest.mark.usefixtures("account")
def test_a_test_mail_is_handed_over_at_once(
    treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    treadle("recipient add a@example.com")
    assert "There is no mail server" in treadle("recipient test 1").err
    with MailServer(refusals={"b@example.com": "550 no such mailbox"}) as server:
        monkeypatch.setenv("TREADLE_SMTP_URL", f"smtp://127.0.0.1:{server.port}")
        done = treadle("recipient test a@example.com")
        assert (done.code, done.err) == (0, "")
        assert done.out == "The mail server took a mail to a@example.com.\n"
        [mail] = server.taken
        assert (mail.recipients, mail.subject) == (("a@example.com",), "treadle - This is a test")
        assert "Nothing is wrong" in mail.text
        treadle("recipient add b@example.com")
        refused = treadle("recipient test b@example.com")
        assert refused.code == 2
        assert "was not taken: 550 no such mailbox" in refused.err
    actions = [row["action"] for row in treadle("trail --json").json]
    assert actions.count("test_recipient") == 2
