"""What an answer of PostgreSQL means for an append."""

import pytest

from treadle.log.postgres.outcome import (
    AppendFate,
    ServerNotice,
    is_damage,
    is_english,
    is_unreplicated,
    judge_error,
    needs_operator,
)

CANCELLED = "canceling wait for synchronous replication due to user request"
TERMINATED = (
    "canceling the wait for synchronous replication and terminating connection due to "
    "administrator command"
)


@pytest.mark.parametrize(
    ("notice", "english", "expected"),
    [
        (ServerNotice("WARNING", "01000", CANCELLED), True, True),
        (ServerNotice("WARNING", "57P01", TERMINATED), True, True),
        (ServerNotice("WARNING", "01000", "something else"), True, False),
        (ServerNotice("WARNING", "01000", "etwas anderes"), False, True),
        (ServerNotice("WARNING", "01007", CANCELLED), True, False),
        (ServerNotice("NOTICE", "01000", CANCELLED), False, False),
        (ServerNotice("NOTICE", "42P07", "relation exists, skipping"), False, False),
    ],
)
def test_a_warning_tells_that_a_commit_may_not_be_on_a_standby(
    notice: ServerNotice, english: bool, expected: bool
) -> None:
    assert is_unreplicated(notice, english=english) is expected


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("C", True), ("", True), ("en_US.UTF-8", True), ("POSIX", True), ("de_DE.UTF-8", False)],
)
def test_the_language_of_messages(setting: str, expected: bool) -> None:
    assert is_english(setting) is expected


@pytest.mark.parametrize(
    ("severity", "sqlstate", "expected"),
    [
        ("ERROR", "55P03", AppendFate.REPEAT),
        ("ERROR", "57014", AppendFate.REPEAT),
        ("ERROR", "42P01", AppendFate.REPEAT),
        ("ERROR", "23502", AppendFate.REPEAT),
        ("ERROR", "53100", AppendFate.REFUSED),
        ("ERROR", "53300", AppendFate.REFUSED),
        ("ERROR", "42501", AppendFate.REFUSED),
        ("FATAL", "57P01", AppendFate.UNKNOWN),
        ("PANIC", "XX000", AppendFate.UNKNOWN),
        (None, None, AppendFate.UNKNOWN),
        ("ERROR", None, AppendFate.UNKNOWN),
    ],
)
def test_only_an_error_before_the_commit_says_that_nothing_was_stored(
    severity: str | None, sqlstate: str | None, expected: AppendFate
) -> None:
    assert judge_error(severity, sqlstate) is expected


def test_whose_fault_an_error_is() -> None:
    assert needs_operator("42501")
    assert needs_operator("28P01")
    assert not needs_operator("53100")
    assert not needs_operator(None)
    assert is_damage("XX001")
    assert not is_damage("XX000")
