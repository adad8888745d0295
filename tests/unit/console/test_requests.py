"""What the pages about requests decide without asking anything."""

import threading
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import pytest
from tests.loads import load
from tests.unit.console.test_pages import SOURCE
from tests.unit.console.test_view import DAY, NOW, make_token

from treadle.console import view
from treadle.console.advice import advise_refusal
from treadle.console.first_row import RETRY_SECONDS, FirstRow, FirstRowDesk, read_first_row
from treadle.console.pages.refusals import describe_token, list_minutes
from treadle.console.pages.regions import RegionView, find_region, name_topic
from treadle.console.pages.requests import find_duration
from treadle.console.plot import draw_bars
from treadle.console.request_choice import RequestChoice, describe_request
from treadle.errors import RequestRefusedError
from treadle.store.model import AccessToken, Source
from treadle.traces.refusals import KeptRefusal, RefusalGroup
from treadle.tracking.request_tail import AcceptedRequest

REQUEST = AcceptedRequest(10, 2, SOURCE.id, NOW, {"orders": 10, "lines": 11}, 5, 100, "loaded")


def refuse(status: int = 401, body: str = "", **group: Any) -> KeptRefusal:
    return KeptRefusal(
        NOW, RefusalGroup("push", status, "reason", **group), "ab12cd34", "", 10, body, "1-7"
    )


def advise(
    refusal: KeptRefusal, token: AccessToken | None = None, source: Source | None = None
) -> str:
    return advise_refusal(refusal, account_id=100, now=NOW, token=token, source=source)


def test_a_choice_is_what_stands_in_its_url() -> None:
    choice = RequestChoice.parse(
        {"source": "3", "table": "a b&c", "token": " 12 ", "status": "401", "state": "refused",
         "from": "10.0.0.7", "time": "week"}
    )  # fmt: skip
    assert RequestChoice.parse(dict(parse_qsl(choice.encode()))) == choice
    assert "from=10.0.0.7" in choice.encode()
    wanted = choice.make_filter(100, NOW)
    assert (wanted.refusals.account_id, wanted.refusals.source_id) == (100, 3)
    assert (wanted.refusals.token_id, wanted.refusals.address) == (12, "10.0.0.7")
    assert (wanted.table, wanted.status, wanted.state) == ("a b&c", 401, "refused")
    assert wanted.since == NOW - 7 * DAY
    assert choice.leaves_out_accepted


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"source": "x", "token": "-1", "status": "999", "state": "odd", "time": "year"},
        {"source": "0", "token": "9" * 30, "status": "200", "endpoint": "console"},
    ],
)
def test_what_cannot_be_meant_is_left_out(query: dict[str, str]) -> None:
    choice = RequestChoice.parse(query)
    assert choice == RequestChoice()
    assert not choice.is_narrow
    assert choice.encode() == ""
    assert choice.make_filter(None, NOW).since == NOW - view.HOUR_US


@pytest.mark.parametrize(
    ("changes", "word", "tone"),
    [
        ({}, "loaded", "good"),
        ({"state": "waiting"}, "waiting", "busy"),
        ({"state": "stopped"}, "stopped", "bad"),
        ({"rejected": 3}, "3 rejected", "warn"),
        ({"state": "rejected", "rejected": 5}, "all rejected", "bad"),
    ],
)
def test_the_state_of_a_request_has_a_word(changes: dict[str, Any], word: str, tone: str) -> None:
    state = describe_request(replace(REQUEST, **changes))
    assert (state.word, state.tone) == (word, tone)
    assert describe_request(refuse()).word == "refused"


def test_a_request_took_until_its_last_load_had_ended() -> None:
    orders = replace(load(SOURCE.id, "orders", 20, NOW + 900), first=5)
    lines = replace(load(SOURCE.id, "lines", 11, NOW + 1_500), first=11)
    failed = replace(lines, error="down", finished_at=NOW + 100)
    assert find_duration(REQUEST, [failed, lines, orders]) == 1_500
    assert find_duration(REQUEST, [orders]) is None
    assert find_duration(replace(REQUEST, state="waiting"), [orders, lines]) is None
    assert find_duration(replace(REQUEST, source_id=9), [orders, lines]) is None


def test_what_to_change_names_the_cause() -> None:
    assert "had no token" in advise(replace_fingerprint(refuse()))
    assert "No token of this server" in advise(refuse())
    token = make_token(3)
    known = refuse(token_id=3, source_id=SOURCE.id, account_id=1)
    revoked = advise(known, replace(token, revoked_at=NOW - 1), SOURCE)
    assert "Token 3 was revoked or has expired" in revoked
    paused = replace(SOURCE, paused_at=NOW)
    assert "The source shop is paused. Unpause it" in advise(known, token, paused)
    assert "deleted" in advise(known, token, replace(SOURCE, deleted_at=NOW))
    then = refuse(body='{"errors":{"error":"Connection is not active."}}', token_id=3)
    assert "was paused then, and takes requests now" in advise(then, token, SOURCE)
    assert "This is an account token" in advise(known, replace(token, kind="account"))
    no_client = refuse(body='{"error":"Not Authenticated."}', token_id=3)
    assert "no client_id" in advise(no_client, token, SOURCE)
    assert "client_id has to be 100" in advise(refuse(403))
    assert "JSON array of records" in advise(refuse(400))
    for status in range(400, 600):
        assert advise(refuse(status)).endswith("."), status


def replace_fingerprint(refusal: KeptRefusal) -> KeptRefusal:
    return KeptRefusal(refusal.at, refusal.group, "", "", 0, refusal.body, refusal.id)


def test_a_token_is_named_without_its_secret() -> None:
    token = make_token(3)
    assert describe_token(3, "ab12cd34", {3: token}) == f"3 ...{token.last_four}"
    assert describe_token(3, "ab12cd34", {}) == "3"
    assert describe_token(0, "ab12cd34", {}) == "unknown, digest ab12cd34"
    assert describe_token(0, "", {}) == "none"


def test_bars_are_a_picture_with_a_name() -> None:
    text = draw_bars('at most <7> in "a" minute', [0, 7, 0, 1])
    svg = ElementTree.fromstring(text)  # noqa: S314 - our own
    assert svg.attrib["aria-label"] == 'at most <7> in "a" minute'
    assert "style=" not in text
    assert svg[1].attrib["d"] == "M5 24v-24M13 24v-3"
    assert draw_bars("none", [0] * 60).count("v-") == 0
    assert list_minutes([0, 7, 0, 1]) == [("this minute", 1), ("2 minutes ago", 7)]


def test_a_topic_may_have_a_query_where_its_region_takes_one() -> None:
    def choose(*_: object) -> dict[str, Any]:
        return {}

    plain, chosen = RegionView("a", choose), RegionView("b", get_chosen=choose)
    regions = {"plain": plain, "chosen": chosen}
    assert find_region(regions, "plain") is plain
    assert find_region(regions, "plain?x=1") is None
    assert find_region(regions, "chosen?x=1") is chosen
    assert find_region(regions, "other") is None
    assert name_topic("chosen", "") == "chosen"
    assert name_topic("chosen", "x=1") == "chosen?x=1"


def test_the_desk_is_asked_once_for_a_row() -> None:
    asked: list[int] = []
    now = 0.0
    go_on = threading.Event()
    desk = FirstRowDesk(lambda: now)
    answer = {"columns": [{"name": "_sdc_sequence"}, {"name": "id"}], "rows": [[7, "a"]]}

    def ask() -> Any:
        asked.append(1)
        assert go_on.wait(30)
        return answer

    assert desk.find((1, "t"), ask) is None
    assert desk.find((1, "t"), ask) is None
    go_on.set()
    row = desk.find((1, "t"), ask, 30)
    assert row is not None
    assert row.list_cells() == [("id", "a"), ("_sdc_sequence", "7")]
    assert desk.find((1, "t"), ask) == row
    assert len(asked) == 1

    def refuse_row() -> Any:
        asked.append(1)
        raise RequestRefusedError(503, {"error": "TryLater", "data": {"message": "Busy."}})

    assert desk.find((2, "t"), refuse_row, 30) == FirstRow(trouble="Busy.")
    assert desk.find((2, "t"), refuse_row, 30) == FirstRow(trouble="Busy.")
    now = RETRY_SECONDS
    assert desk.find((2, "t"), ask, 30) == row
    assert len(asked) == 3
    assert read_first_row({"columns": [], "rows": []}).trouble is not None
