"""Writes the mails about problems. Nothing here asks anything.

Names and texts come from whoever pushes records and from databases: each is one line in which every
character can be seen, so that none of them looks like a part of the mail.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeVar

from treadle.courier.notice_decisions import NoticeDecision
from treadle.store.model import MailRecipient, NewMail, OpenNotice
from treadle.text import shorten_line
from treadle.timestamps import format_seconds
from treadle.tracking.problem_kinds import PROBLEM_KINDS, FoundProblem, ProblemKind

P = TypeVar("P", FoundProblem, OpenNotice)

NAMES_MAX: Final = 50
"""Most problems that one mail names; it says how many more there are."""

NAME_CHARACTERS_MAX: Final = 200
SAID_CHARACTERS_MAX: Final = 1_000

OVER: Final = " - over"
"""The end of the subject of a mail that says that problems are over."""


@dataclass(frozen=True, slots=True)
class MailStyle:
    """How mails look.

    Attributes:
        prefix: beginning of every subject.
        plain_errors: mails tell what a database said.
    """

    prefix: str = "treadle - "
    plain_errors: bool = True


def write_mails(
    decision: NoticeDecision,
    recipients: Mapping[int, Sequence[MailRecipient]],
    style: MailStyle,
    now: int,
) -> list[NewMail]:
    """Write the mails about what was decided.

    Problems of an account that are of one kind and begin, or are over, at the same time are in one
    mail: when a thousand tables stop at once, nobody gets a thousand mails.

    Args:
        decision: see there.
        recipients: account id -> those that are enabled.
        style: see there.
        now: microseconds since 1970.
    """
    mails = []
    for account_id, kind, begun in _group_problems(decision.begun):
        subject, body = _write_begun(PROBLEM_KINDS[kind], account_id, begun, style)
        mails += _address_mails(recipients.get(account_id, ()), subject, body)
    for account_id, kind, ended in _group_problems(decision.ended):
        subject, body = _write_ended(PROBLEM_KINDS[kind], account_id, ended, style, now)
        mails += _address_mails(recipients.get(account_id, ()), subject, body)
    return mails


def _write_begun(
    kind: ProblemKind, account_id: int, problems: Sequence[FoundProblem], style: MailStyle
) -> tuple[str, str]:
    lines = [kind.found, ""]
    for problem in problems[:NAMES_MAX]:
        lines.append(f"- {_show_name(problem.named)}, since {_show_time(problem.since)}")
        if kind.quotes and style.plain_errors and problem.said:
            lines.append(f"  {shorten_line(problem.said, SAID_CHARACTERS_MAX)}")
    lines += _count_rest(problems)
    lines += ["", kind.remedy, "", "You get one more mail when it is over."]
    return f"{style.prefix}{kind.subject}", _finish_body(kind, account_id, lines)


def _write_ended(
    kind: ProblemKind,
    account_id: int,
    notices: Sequence[OpenNotice],
    style: MailStyle,
    now: int,
) -> tuple[str, str]:
    lines = ["This is over:", "", kind.found, ""]
    for notice in notices[:NAMES_MAX]:
        until = now if notice.gone_at is None else notice.gone_at
        began = _show_time(notice.began_at)
        lines.append(f"- {_show_name(notice.named)}, from {began} to {_show_time(until)}")
    lines += _count_rest(notices)
    return f"{style.prefix}{kind.subject}{OVER}", _finish_body(kind, account_id, lines)


def _finish_body(kind: ProblemKind, account_id: int, lines: Sequence[str]) -> str:
    end = (
        f"Level: {kind.level}",
        f"Account: {account_id}",
        "",
        "This address is a custom e-mail of the account.",
        "`treadle recipient disable` or the Connect API stops these mails.",
    )
    return "\n".join([*lines, "", *end, ""])


def _count_rest(found: Sequence[object]) -> list[str]:
    more = len(found) - NAMES_MAX
    return [f"- and {more} more"] if more > 0 else []


def _show_name(named: str) -> str:
    return shorten_line(named, NAME_CHARACTERS_MAX)


def _show_time(instant: int) -> str:
    return format_seconds(max(instant, 0))


def _address_mails(recipients: Iterable[MailRecipient], subject: str, body: str) -> list[NewMail]:
    return [NewMail(one.id, one.address, subject, body) for one in recipients]


def _group_problems(found: Iterable[P]) -> list[tuple[int, str, list[P]]]:
    """Return account id, kind, and the problems of both, in this order."""
    ordered = sorted(found, key=lambda one: (one.account_id, one.kind))
    return [
        (account_id, kind, list(group))
        for (account_id, kind), group in groupby(ordered, lambda one: (one.account_id, one.kind))
    ]
