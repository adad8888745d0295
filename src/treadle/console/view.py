"""Values as words and numbers for people. Pure: the present time is given."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from treadle.store.model import (
    AccessToken,
    ConfiguredDestination,
    DestinationCheck,
    DestinationSetter,
    PostLoadHook,
    Source,
    TableCondition,
    TableLoadStatus,
)
from treadle.text import escape_unprintable, shorten_line
from treadle.text import format_bytes as format_bytes
from treadle.timestamps import format_exact, format_seconds, to_datetime
from treadle.tracking.token_verdict import TokenVerdict, TokenVerdictKind

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US

TEXT_CHARACTERS_MAX: Final = 2_000
"""Most characters of a text that a client or a database made, on a page."""

Tone = Literal["good", "plain", "busy", "warn", "bad", "off"]
"""How a state is shown: by a shape and a colour, beside its word."""

_UNITS: Final = ((DAY_US, "d"), (HOUR_US, "h"), (MINUTE_US, "min"), (SECOND_US, "s"))


@dataclass(frozen=True, slots=True)
class StateWord:
    """A state as it is shown.

    Attributes:
        word: the state.
        tone: its shape and its colour.
        detail: a sentence that says more; empty for none.
    """

    word: str
    tone: Tone
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TimeWords:
    """A point in time as it is shown.

    Attributes:
        relative: "3 min ago".
        exact: in UTC, for people.
        iso: for programs.
    """

    relative: str
    exact: str
    iso: str


def show_text(text: str, most: int = TEXT_CHARACTERS_MAX) -> str:
    """Return a text of anybody in which every character can be seen, as one line of bounded length.

    Args:
        text: hostile.
        most: characters; what is longer ends with `...`.
    """
    return shorten_line(text[: most * 2], most) if len(text) > most else escape_unprintable(text)


def format_count(number: int) -> str:
    """Write a whole number with groups of digits: 1,234,567."""
    return f"{number:,}"


def format_duration(microseconds: int) -> str:
    """Write how long something took: 0.8 ms, 12 ms, 1.3 s, 2 min 5 s."""
    if microseconds < 10_000:
        return f"{microseconds / 1000:.1f} ms"
    if microseconds < SECOND_US:
        return f"{microseconds // 1000} ms"
    if microseconds < 10 * SECOND_US:
        return f"{microseconds / SECOND_US:.1f} s"
    if microseconds < MINUTE_US:
        return f"{microseconds // SECOND_US} s"
    minutes, rest = divmod(microseconds // SECOND_US, 60)
    return f"{minutes} min {rest} s"


def format_age(microseconds: int) -> str:
    """Write an age in its greatest unit: 4 s, 12 min, 3 h, 2 d."""
    for unit, name in _UNITS:
        if microseconds >= unit:
            return f"{microseconds // unit} {name}"
    return "0 s"


def format_rate(each_second: float) -> str:
    """Write a rate: 0, 0.3, 12, 3,400."""
    if each_second and each_second < 9.95:
        return f"{each_second:.1f}"
    return format_count(math.floor(each_second + 0.5))


def describe_time(instant: int, now: int) -> TimeWords:
    """Return a point in time in words.

    Args:
        instant: microseconds since 1970.
        now: the present time.
    """
    age = now - instant
    if -SECOND_US < age < 2 * SECOND_US:
        relative = "just now"
    elif age < 0:
        relative = f"in {format_age(-age)}"
    else:
        relative = f"{format_age(age)} ago"
    try:
        iso = format_seconds(instant)
    except OverflowError:
        iso = format_exact(instant)
    return TimeWords(relative, iso.replace("T", " ").replace("Z", " UTC"), iso)


ClockForm = Literal["second", "minute", "day"]
"""How exact a time of day is written; a day with its date."""


def format_clock(instant: int, form: ClockForm = "minute") -> str:
    """Write a point in time in UTC: 12:03 UTC, 12:00:03 UTC, or 11-29 12:00 UTC with its day.

    Args:
        instant: microseconds since 1970.
        form: how exact.
    """
    try:
        moment = to_datetime(instant)
    except OverflowError:
        return format_exact(instant)
    forms: dict[ClockForm, str] = {"second": "%H:%M:%S", "minute": "%H:%M", "day": "%m-%d %H:%M"}
    return f"{moment.strftime(forms[form])} UTC"


def count_words(number: int, one: str, several: str | None = None) -> str:
    """Return a number with its noun: 1 record, 1,200 records."""
    return f"{format_count(number)} {one if number == 1 else several or one + 's'}"


# States ------------------------------------------------------------------------------------------


def describe_source(source: Source) -> StateWord:
    """Return the state of a source (connect-api.md 4.3)."""
    if source.deleted_at is not None:
        return StateWord("deleted", "off", "Pushes are refused. Its tables and their data stay.")
    if source.paused_at is not None:
        return StateWord("paused", "off", "Pushes are refused with 401 until it is unpaused.")
    if source.system_paused_at is not None:
        return StateWord("paused by the system", "warn", "Pushes are refused with 401.")
    return StateWord("active", "good")


def describe_table(status: TableLoadStatus | TableCondition | None, waiting: int) -> StateWord:
    """Return the state of a table.

    Args:
        status: None for a table that was never tried.
        waiting: records that wait for it.
    """
    if status is not None and status.stopped:
        return StateWord("stopped", "bad", status.error or "")
    if status is not None and status.error is not None:
        return StateWord("failing", "bad", status.error)
    if status is not None and status.trouble is not None:
        return StateWord("trouble", "warn", status.trouble)
    if waiting:
        return StateWord("waiting", "busy")
    return StateWord("idle", "good")


def describe_destination(row: ConfiguredDestination) -> StateWord:
    """Return the state of a destination."""
    if row.deleted_at is not None:
        return StateWord("deleted", "off")
    if row.usable_since is None:
        return StateWord(
            "not checked", "warn", "Nothing is loaded into it before a check succeeds."
        )
    if row.trouble is None:
        return StateWord("usable", "good")
    if row.trouble_kind == "denied":
        return StateWord("a right is missing", "bad", row.trouble)
    return StateWord("cannot be reached", "bad", row.trouble)


def describe_setter(row: ConfiguredDestination) -> str:
    """Return who said where a destination is, as a clause."""
    return {
        DestinationSetter.DATA_FOLDER: "the file of the data folder",
        DestinationSetter.SETTING: "set by --destination, so it is read only here",
        DestinationSetter.OPERATOR: "set by `treadle destination`",
        DestinationSetter.ACCOUNT: "set by this account",
        DestinationSetter.ADJUSTED: "set by `treadle destination`, and changed by this account",
    }.get(DestinationSetter(row.set_by), row.set_by)


def describe_check(check: DestinationCheck) -> StateWord:
    """Return the state of a check."""
    if check.status == "running":
        return StateWord("running", "busy")
    if check.status == "succeeded":
        return StateWord("succeeded", "good")
    return StateWord("failed", "bad", check.error or "")


def describe_phase(phase: Mapping[str, Any]) -> StateWord:
    """Return the state of a phase of a check, a JSON value of `PhaseResult`."""
    return StateWord("failed", "bad") if phase.get("failed") else StateWord("done", "good")


def describe_hook(hook: PostLoadHook) -> StateWord:
    """Return the state of a hook."""
    if hook.disabled_at is not None:
        return StateWord("disabled", "off", "Loads make no deliveries for it.")
    if hook.paused_at is not None:
        return StateWord("paused", "warn", "Deliveries are made, and wait.")
    return StateWord("enabled", "good")


def describe_delivery(state: str) -> StateWord:
    """Return the state of a delivery."""
    tones: dict[str, Tone] = {"delivered": "good", "failed": "bad"}
    return StateWord(state, tones.get(state, "busy"))


def describe_token(token: AccessToken, now: int) -> StateWord:
    """Return whether a token opens something."""
    if token.revoked_at is not None:
        return StateWord("revoked", "off")
    if token.expires_at is not None and token.expires_at <= now:
        return StateWord("expired", "off")
    return StateWord("active", "good")


def describe_verdict(verdict: TokenVerdict, token: AccessToken, now: int) -> StateWord:
    """Return whether a token can be revoked without a refused request (console.md B.5 P5).

    Args:
        verdict: of the token.
        token: the token.
        now: the present time.
    """
    if verdict.kind == TokenVerdictKind.ENDED:
        word = "disabled" if token.disabled_at is not None else describe_token(token, now).word
        return StateWord(word, "off", _to_sentence(verdict.text.partition("; ")[2]))
    words: dict[TokenVerdictKind, tuple[str, Tone]] = {
        TokenVerdictKind.SAFE: ("safe to revoke", "good"),
        TokenVerdictKind.IN_USE: ("in use", "warn"),
        TokenVerdictKind.ONLY: ("only token", "plain"),
        TokenVerdictKind.NEVER_USED: ("not used yet", "plain"),
    }
    word, tone = words[verdict.kind]
    mark = "; " if verdict.kind == TokenVerdictKind.ONLY else ": "
    detail = verdict.text.partition(mark)[2] or "it was made less than a day ago"
    return StateWord(word, tone, _to_sentence(show_text(detail, 200)))


def _to_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


# Refusals ----------------------------------------------------------------------------------------


def describe_refusal(body: object) -> str:
    """Return the sentence of a refusal of the API, whatever form its body has.

    Args:
        body: of a `RequestRefusedError`: a text or a JSON value.
    """
    if isinstance(body, str):
        return body.strip()
    if not isinstance(body, Mapping):
        return "The request was refused."
    data = body.get("data")
    places = [data, body] if isinstance(data, Mapping) else [body]
    for place in places:
        for key in ("message", "error_message"):
            if isinstance(place.get(key), str):
                return str(place[key])
    found = body.get("errors")
    if isinstance(found, Mapping):
        return "; ".join(f"{name}: {why}" for name, why in found.items())
    for key in ("error", "status"):
        if isinstance(body.get(key), str):
            return str(body[key])
    return "The request was refused."


def shorten_url(url: str) -> str:
    """Return a URL of which the path, which may be a secret, is shortened."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if not mark:
        return show_text(url, 80)
    tail = f"/{path[:4]}..." if len(path) > 8 else slash + path
    return show_text(f"{scheme}://{host}{tail}", 120)


def format_actor(kind: str, actor_id: str | None) -> str:
    """Return who made a change, of an event of the trail."""
    words = {
        "account_token": "account token",
        "partner": "the partner",
        "person": "person",
        "command_line": "command line",
        "server": "the server",
    }
    word = words.get(kind, kind)
    return word if actor_id is None or kind == "partner" else f"{word} {actor_id}"


def format_words(name: str) -> str:
    """Return a name of a program in words: `create_source` becomes "create source"."""
    return name.replace("_", " ")
