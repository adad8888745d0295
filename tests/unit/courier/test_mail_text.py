"""What mails about problems say."""

import pytest

from treadle.courier.mail_text import NAMES_MAX, MailStyle, write_mails
from treadle.courier.notice_decisions import NoticeDecision
from treadle.store.model import MailRecipient, OpenNotice
from treadle.tracking.problem_kinds import PROBLEM_KINDS, FoundProblem

START = 1_700_000_000_000_000
SUBJECTS = {
    "destination_denied": "Data Warehouse Error",
    "destination_unavailable": "We're having trouble writing to your data warehouse",
    "table_stopped": "We're unable to load some of your data",
    "records_rejected": "We're unable to load some of your data",
    "data_delayed": "Data delays",
    "hook_failed": "Unable to Deliver Post Load Notification",
    "log_nearly_full": "The log is nearly full",
    "entries_damaged": "Damaged entries were left out",
}
"""As connect-rest.md A.2.5 has them; people filter by them."""

DELAYS_H = {
    "destination_denied": 0,
    "destination_unavailable": 2,
    "table_stopped": 2,
    "records_rejected": 2,
    "data_delayed": 3,
    "hook_failed": 0,
    "log_nearly_full": 0,
    "entries_damaged": 0,
}
LEVELS = {
    "destination_denied": "critical",
    "destination_unavailable": "critical",
    "table_stopped": "critical",
    "records_rejected": "critical",
    "data_delayed": "delay",
    "hook_failed": "warning",
    "log_nearly_full": "warning",
    "entries_damaged": "warning",
}


def make_recipient(number: int, account_id: int = 1) -> MailRecipient:
    return MailRecipient(number, account_id, f"a{number}@example.com", START, None)


def make_problem(kind: str, named: str = "orders of shop", **more: object) -> FoundProblem:
    values: dict[str, object] = {"since": START, "said": 'ERROR: permission denied for "x"'}
    return FoundProblem(1, kind, named, named, **(values | more))  # type: ignore[arg-type]


def test_the_catalogue_is_the_documented_one() -> None:
    assert {name: kind.subject for name, kind in PROBLEM_KINDS.items()} == SUBJECTS
    assert {name: kind.level for name, kind in PROBLEM_KINDS.items()} == LEVELS
    assert {name: kind.delay_us for name, kind in PROBLEM_KINDS.items()} == {
        name: hours * 3_600_000_000 for name, hours in DELAYS_H.items()
    }


@pytest.mark.parametrize("kind", PROBLEM_KINDS)
def test_a_mail_says_what_since_when_and_what_to_do(kind: str) -> None:
    decision = NoticeDecision([make_problem(kind)], {}, [])
    [mail] = write_mails(decision, {1: [make_recipient(5)]}, MailStyle(), START)
    assert (mail.recipient_id, mail.address) == (5, "a5@example.com")
    assert mail.subject == f"treadle - {SUBJECTS[kind]}"
    assert "- orders of shop, since 2023-11-14T22:13:20Z" in mail.body.splitlines()
    assert PROBLEM_KINDS[kind].remedy in mail.body
    assert f"Level: {LEVELS[kind]}" in mail.body
    assert ("permission denied" in mail.body) == PROBLEM_KINDS[kind].quotes


@pytest.mark.parametrize("kind", PROBLEM_KINDS)
def test_a_second_mail_says_that_it_is_over(kind: str) -> None:
    notice = OpenNotice(9, 1, kind, "k", "orders of shop", START, START + 3_600_000_000)
    decision = NoticeDecision([], {}, [notice])
    [mail] = write_mails(decision, {1: [make_recipient(5)]}, MailStyle(), START + 10**13)
    assert mail.subject == f"treadle - {SUBJECTS[kind]} - over"
    told = "- orders of shop, from 2023-11-14T22:13:20Z to 2023-11-14T23:13:20Z"
    assert told in mail.body.splitlines()


def test_texts_of_databases_can_be_left_out() -> None:
    decision = NoticeDecision([make_problem("destination_denied")], {}, [])
    recipients = {1: [make_recipient(1)]}
    [mail] = write_mails(decision, recipients, MailStyle(plain_errors=False), START)
    assert "permission denied" not in mail.body
    assert "orders of shop" in mail.body


def test_the_prefix_can_be_another_one() -> None:
    decision = NoticeDecision([make_problem("data_delayed")], {}, [])
    [mail] = write_mails(decision, {1: [make_recipient(1)]}, MailStyle("[prod] "), START)
    assert mail.subject == "[prod] Data delays"


def test_each_recipient_of_the_account_gets_a_mail_of_its_own() -> None:
    decision = NoticeDecision([make_problem("data_delayed")], {}, [])
    recipients = {1: [make_recipient(1), make_recipient(2)], 2: [make_recipient(3, 2)]}
    mails = write_mails(decision, recipients, MailStyle(), START)
    assert [mail.recipient_id for mail in mails] == [1, 2]
    assert write_mails(decision, {2: [make_recipient(3, 2)]}, MailStyle(), START) == []


def test_problems_that_begin_together_are_in_one_mail() -> None:
    many = [make_problem("table_stopped", f"t{n} of shop") for n in range(NAMES_MAX + 7)]
    decision = NoticeDecision([*many, make_problem("data_delayed")], {}, [])
    mails = write_mails(decision, {1: [make_recipient(1)]}, MailStyle(), START)
    assert [mail.subject for mail in mails] == [
        "treadle - Data delays",
        "treadle - We're unable to load some of your data",
    ]
    assert "- t0 of shop," in mails[1].body
    assert f"t{NAMES_MAX} of shop" not in mails[1].body
    assert "- and 7 more" in mails[1].body.splitlines()


def test_names_and_texts_of_others_cannot_look_like_a_part_of_the_mail() -> None:
    hostile = "x\r\nBcc: all@example.com\n\nWhat to do: pay\u202e\x1b[2J" + "y" * 10_000
    decision = NoticeDecision([make_problem("table_stopped", hostile, said=hostile)], {}, [])
    [mail] = write_mails(decision, {1: [make_recipient(1)]}, MailStyle(), START)
    assert "\r" not in mail.subject + mail.body
    assert not any(line.startswith(("Bcc", "What to do")) for line in mail.body.splitlines())
    assert "\x1b" not in mail.body
    assert "\u202e" not in mail.body
    assert len(mail.body) < 3_000
