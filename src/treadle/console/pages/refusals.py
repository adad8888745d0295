"""Refused requests: all of them by reason, and one (P9)."""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from treadle.console import view
from treadle.console.advice import advise_refusal
from treadle.console.figures import ServerFigures
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageNotFoundError,
    PageRequest,
    PageRoute,
)
from treadle.console.pages.machines import tell_reach
from treadle.console.pages.regions import RegionView, name_topic
from treadle.console.plot import draw_bars
from treadle.console.request_choice import ENDPOINT_CHOICES, STATUS_CHOICES, RequestChoice
from treadle.control.refusal_operations import RefusalFilter
from treadle.control.request_operations import find_refused_request
from treadle.control.traces import TraceFiles, sees_installation
from treadle.errors import RetriableError
from treadle.store.model import AccessToken, Account, BrowserSession
from treadle.store.token_rules import KINDS
from treadle.store.tokens import TokenFilter
from treadle.text import digest_text
from treadle.traces.refusal_file import read_counts, read_refusals
from treadle.traces.refusals import STRANGERS, KeptRefusal, RefusalCount, merge_counts

GROUPS_SHOWN: Final = 12
"""Groups of a page: each has an answer and a plot."""

SENDING: Final = frozenset({"push", "batch", "validate", "webhook", "records", "other"})
"""Endpoints to which somebody sends records, or means to."""


def require_traces(services: ConsoleServices) -> TraceFiles:
    """Return what the processes leave.

    Raises:
        RetriableError: they leave nothing here.
    """
    if services.traces is None:
        raise RetriableError("Requests are not kept here.")
    return services.traces


def find_tokens(
    services: ConsoleServices, account: Account, token_ids: Iterable[int]
) -> dict[int, AccessToken]:
    """Return id -> token, of those tokens that are the account's."""
    wanted = tuple({one for one in token_ids if one})
    if not wanted:
        return {}
    found = services.store.tokens.find_tokens(TokenFilter(KINDS, account.id, ids=wanted))
    return {one.id: one for one in found}


def describe_token(token_id: int, fingerprint: str, tokens: Mapping[int, AccessToken]) -> str:
    """Return the token of a refused request without its secret.

    Args:
        token_id: 0 for none that the store knows.
        fingerprint: of an unknown one; empty for no token.
        tokens: id -> token.
    """
    if token_id:
        known = tokens.get(token_id)
        return str(token_id) if known is None else f"{token_id} ...{known.last_four}"
    return f"unknown, digest {fingerprint}" if fingerprint else "none"


def find_last_refusal(
    services: ConsoleServices, account: Account, since: int
) -> tuple[KeptRefusal, str] | None:
    """Return the latest refused try to send records, and what to change; None for none.

    Args:
        services: what pages are made with.
        account: who asks; the only account of a server sees strangers, too.
        since: microseconds since 1970.
    """
    if services.traces is None:
        return None
    wanted = _choose_account(services, account)
    for one in read_refusals(services.traces.refusals):
        if one.at < since:
            return None
        if one.group.endpoint in SENDING and wanted.matches(one):
            return one, _advise(services, account, one)
    return None


def _choose_account(services: ConsoleServices, account: Account) -> RefusalFilter:
    return RefusalFilter(None if sees_installation(services.store, account) else account.id)


def _advise(services: ConsoleServices, account: Account, refusal: KeptRefusal) -> str:
    group = refusal.group
    token = find_tokens(services, account, [group.token_id]).get(group.token_id)
    source = services.store.sources.get_source(account.id, group.source_id)
    return advise_refusal(
        refusal, account_id=account.id, now=services.clock(), token=token, source=source
    )


# By reason ---------------------------------------------------------------------------------------


def show_refused(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show refused requests by endpoint, status, reason and token."""
    choice = RequestChoice.parse(request.query)
    skipped = _parse_skipped(request.query.get("skip", ""))
    sources = services.sampler.read().get_account(request.account.id).sources.values()
    source = next((one.name for one in sources if str(one.id) == choice.source), None)
    flag = "" if source is None else f" --source {shlex.quote(source)}"
    topic = name_topic("refused", choice.encode())
    return PageAnswer(
        "requests-refused.html",
        {
            "title": "Refused requests",
            "section": "requests",
            "tab": "refused",
            "topic": topic,
            "topics": "" if skipped else quote(topic, safe=""),
            "command": f"treadle requests --refused{flag}{services.data_flag}",
            "sources_choices": [(one.id, one.name) for one in sources],
            "statuses": STATUS_CHOICES[1:],
            "endpoints": ENDPOINT_CHOICES,
            "reach": tell_reach(services),
            **_list(services, request.session, choice, skipped),
        },
    )


def get_refused(
    services: ConsoleServices, session: BrowserSession, _: ServerFigures, query: Mapping[str, str]
) -> Mapping[str, Any]:
    """Return the values of the region with the groups."""
    return _list(services, session, RequestChoice.parse(query), 0)


def _parse_skipped(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0


def _list(
    services: ConsoleServices, session: BrowserSession, choice: RequestChoice, skipped: int
) -> dict[str, Any]:
    account = session.account
    own = _choose_account(services, account).account_id
    wanted = choice.make_filter(own, services.clock()).refusals
    counts = merge_counts(
        one
        for one in read_counts(require_traces(services).refusals, services.clock())
        if wanted.matches_group(one.group)
    )
    shown = counts[skipped : skipped + GROUPS_SHOWN]
    tokens = find_tokens(services, account, [one.group.token_id for one in shown])
    names = {one.id: one.name for one in services.store.sources.list_sources(account.id)}
    return {
        "choice": choice,
        "groups": [_describe_group(one, names, tokens) for one in shown],
        "total": len(counts),
        "skipped": skipped,
        "further": skipped + GROUPS_SHOWN if len(counts) > skipped + GROUPS_SHOWN else None,
        "query": choice.encode(),
        "machine": require_traces(services).machine,
        "shows_answers": services.shows_payloads(session),
    }


def _describe_group(
    count: RefusalCount, names: Mapping[int, str], tokens: Mapping[int, AccessToken]
) -> dict[str, Any]:
    group = count.group
    hour, most = sum(count.minutes), max(count.minutes)
    label = f"Refused in each minute of the last hour: {hour} in all, at most {most} in a minute"
    narrow = RequestChoice(
        status=str(group.status),
        source=str(group.source_id or ""),
        token=str(group.token_id or ""),
        state="refused",
        time="all",
    )
    return {
        "id": "g" + digest_text(msgspec.json.encode(group).decode()).hex()[:12],
        "count": count,
        "hour": hour,
        "plot": draw_bars(label, count.minutes),
        "minutes": list_minutes(count.minutes),
        "source": names.get(group.source_id, str(group.source_id)) if group.source_id else None,
        "token": _describe_group_token(group.token_id, group.account_id, tokens),
        "tail": narrow.encode(),
    }


def _describe_group_token(token_id: int, account_id: int, tokens: Mapping[int, AccessToken]) -> str:
    if token_id:
        return describe_token(token_id, "", tokens)
    return "none that is known here" if account_id == STRANGERS else "not kept"


def list_minutes(minutes: Iterable[int]) -> list[tuple[str, int]]:
    """Return the minutes in which something was counted, in words, the latest first. Pure."""
    found = [(age, number) for age, number in enumerate(reversed(list(minutes))) if number]
    return [
        ("this minute" if age == 0 else f"{view.count_words(age, 'minute')} ago", number)
        for age, number in found
    ]


# One ---------------------------------------------------------------------------------------------


def show_refusal(services: ConsoleServices, request: PageRequest, request_id: str) -> PageAnswer:
    """Show one refused request.

    Raises:
        PageNotFoundError: it is not kept, or not the account's.
    """
    traces, account = require_traces(services), request.account
    found = find_refused_request(services.store, traces, account, request_id)
    if found is None:
        here = "" if traces.machine is None else f" on this machine, {traces.machine}"
        raise PageNotFoundError(
            f"No refused request {request_id[:100]!r} of your account is kept{here}. The newest "
            "1,000 of each worker are; the page Refused has all of them counted."
        )
    group = found.group
    tokens = find_tokens(services, account, [group.token_id])
    token = tokens.get(group.token_id)
    return PageAnswer(
        "refusal.html",
        {
            "title": f"Refused request {found.id}",
            "section": "requests",
            "command": f"treadle requests --refused{services.data_flag}",
            "refusal": found,
            "shows_answers": services.shows_payloads(request.session),
            "source": services.store.sources.get_source(account.id, group.source_id),
            "token": describe_token(group.token_id, found.fingerprint, tokens),
            "token_state": None if token is None else view.describe_token(token, request.now),
            "advice": _advise(services, account, found),
            "machine": traces.machine,
        },
    )


ROUTES: Final = (PageRoute("/requests/refused", show_refused),)
REGIONS: Final = {"refused": RegionView("regions/refused.html", get_chosen=get_refused)}
