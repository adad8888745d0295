"""Values as words."""

import dataclasses
from collections.abc import Sequence

import pytest

from treadle.console import view
from treadle.store.model import AccessToken, Source, TableLoadStatus
from treadle.tracking.token_verdict import judge_token

NOW = 1_800_000_000_000_000
DAY = view.DAY_US


def make_token(token_id: int = 1, **values: object) -> AccessToken:
    token = AccessToken(
        id=token_id,
        kind="import",
        account_id=1,
        source_id=2,
        secret=None,
        last_four="abcd",
        description="",
        tables=(),
        signature=None,
        bootstrap=False,
        created_at=NOW - 10 * DAY,
        created_by="",
        first_used_at=None,
        last_used_at=None,
        last_used_from=None,
        uses=0,
        expires_at=None,
        revoked_at=None,
    )
    return dataclasses.replace(token, **values)  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1_000, "1,000"), (-1_234_567, "-1,234,567")]
)
def test_counts_have_groups(number: int, text: str) -> None:
    assert view.format_count(number) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (20_000_000, "20 MB"), (5 * 10**15, "5000 TB")],
)
def test_sizes_have_units(size: int, text: str) -> None:
    assert view.format_bytes(size) == text


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (0, "0 s"),
        (999_999, "0 s"),
        (59 * view.SECOND_US, "59 s"),
        (view.MINUTE_US, "1 min"),
        (view.HOUR_US * 23, "23 h"),
        (DAY * 400, "400 d"),
    ],
)
def test_ages_have_their_greatest_unit(age: int, text: str) -> None:
    assert view.format_age(age) == text


@pytest.mark.parametrize(
    ("took", "text"),
    [(800, "0.8 ms"), (12_400, "12 ms"), (1_300_000, "1.3 s"), (42 * 10**6, "42 s"),
     (125 * 10**6, "2 min 5 s")],
)  # fmt: skip
def test_durations(took: int, text: str) -> None:
    assert view.format_duration(took) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(0, "0"), (0.31, "0.3"), (9.94, "9.9"), (12.4, "12"), (3400.0, "3,400")]
)
def test_rates(rate: float, text: str) -> None:
    assert view.format_rate(rate) == text


def test_a_time_is_relative_and_exact() -> None:
    words = view.describe_time(NOW - 3 * view.MINUTE_US, NOW)
    assert words.relative == "3 min ago"
    assert words.iso == "2027-01-15T07:57:00Z"
    assert words.exact == "2027-01-15 07:57:00 UTC"
    assert view.describe_time(NOW, NOW).relative == "just now"
    assert view.describe_time(NOW + DAY, NOW).relative == "in 1 d"


def test_a_time_beyond_the_calendar_is_shown_too() -> None:
    assert view.describe_time(10**18, NOW).iso.startswith("+33658")


def test_a_hostile_text_is_one_bounded_line_that_can_be_seen() -> None:
    assert view.show_text("a\n\u202eb\0\ud800") == "a\\n\\u202eb\\x00\\ud800"
    shown = view.show_text("x" * 10**6)
    assert len(shown) == view.TEXT_CHARACTERS_MAX
    assert shown.endswith("...")


def test_states_of_sources() -> None:
    source = Source(1, 1, "import_api", "Shop", "shop", None, NOW, NOW, None, None, None, {})
    assert view.describe_source(source).word == "active"
    assert view.describe_source(dataclasses.replace(source, paused_at=NOW)).word == "paused"
    assert view.describe_source(dataclasses.replace(source, deleted_at=NOW)).word == "deleted"


def test_states_of_tables_by_who_has_to_act() -> None:
    status = TableLoadStatus(1, "t", 5, NOW, None, None, stopped=False)
    failing = dataclasses.replace(status, error="disk full", error_since=NOW)
    assert view.describe_table(None, 0).word == "idle"
    assert view.describe_table(status, 3).word == "waiting"
    assert view.describe_table(failing, 3) == view.StateWord("failing", "bad", "disk full")
    assert view.describe_table(dataclasses.replace(failing, stopped=True), 3).word == "stopped"
    assert view.describe_table(dataclasses.replace(status, trouble="x"), 0).tone == "warn"


def test_a_verdict_is_a_word_and_a_sentence() -> None:
    def judge(
        token: AccessToken, *others: AccessToken, hours: Sequence[int] = ()
    ) -> view.StateWord:
        found = judge_token(token, [token, *others], hours, NOW)
        return view.describe_verdict(found, token, NOW)

    other = make_token(2, last_used_at=NOW)
    assert judge(make_token()) == view.StateWord("only token", "plain", "Never used.")
    young = make_token(created_at=NOW - DAY + 1)
    assert judge(young, other).word == "not used yet"
    assert judge(young, other).detail == "It was made less than a day ago."
    assert judge(make_token(), other).word == "safe to revoke"
    assert judge(make_token(last_used_at=NOW - DAY), other).tone == "good"
    busy = make_token(last_used_at=NOW, last_used_from="192.0.2.7")
    assert judge(busy, other, hours=[14]) == view.StateWord(
        "in use", "warn", "14 requests in the last hour, last from 192.0.2.7."
    )
    gone = make_token(revoked_at=NOW - DAY, refused=2, refused_at=NOW - DAY)
    assert judge(gone, other) == view.StateWord(
        "revoked", "off", "2 requests refused since, last 1 day ago."
    )
    off = make_token(disabled_at=NOW)
    assert judge(off, other) == view.StateWord("disabled", "off", "No request refused since.")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("plain\n", "plain"),
        ({"error": "X", "data": {"message": "a sentence"}}, "a sentence"),
        ({"message": "here"}, "here"),
        ({"errors": {"partner_secret": "required"}}, "partner_secret: required"),
        ({"status": "NOT FOUND"}, "NOT FOUND"),
        ({"error": "Code", "data": None}, "Code"),
        ([1], "The request was refused."),
        ({}, "The request was refused."),
    ],
)
def test_every_form_of_a_refusal_has_a_sentence(body: object, text: str) -> None:
    assert view.describe_refusal(body) == text


def test_the_path_of_a_url_may_be_a_secret() -> None:
    url = "https://hooks.example.com/services/T000/B000/secretpart"
    assert view.shorten_url(url) == "https://hooks.example.com/serv..."
    assert view.shorten_url("https://a.example/x") == "https://a.example/x"


def test_who_acted() -> None:
    assert view.format_actor("account_token", "7") == "account token 7"
    assert view.format_actor("server", None) == "the server"
