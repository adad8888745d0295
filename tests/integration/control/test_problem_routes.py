"""`GET /v1/problems`, and the snooze of one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.control.api import NOT_AUTHORIZED, describe
from tests.integration.control.trace_api import TraceApi
from tests.loads import load

from treadle.control.problem_operations import FRESH_SECONDS, ProblemWatch
from treadle.log.sqlite.log import SqliteReader
from treadle.store.token_rules import TokenRequest
from treadle.store.tokens import TokenFilter
from treadle.tracking.problem_spells import ProblemSpell, write_spells

DAY = 86_400_000_000


class Watched:
    """A server whose problems are looked for, and a clock for that."""

    def __init__(self, folder: Path) -> None:
        self.seconds = 0.0
        self.api = TraceApi(folder)
        self.watch = ProblemWatch(
            self.api.store,
            lambda: SqliteReader(folder / "log.sqlite"),
            self.api.files,
            monotonic=lambda: self.seconds,
        )
        self.api.more["problems"] = self.watch
        self.api.app = self.api.server(self.api.settings)
        self.api.document = describe(self.api.app, self.api.settings)
        self.source = self.api.create("Shop")["id"]
        [self.token] = self.api.store.tokens.list_tokens(self.source)
        self.api.store.use_log(SqliteReader(folder / "log.sqlite").log_id)
        self.api.store.destinations.set_default_destination(1, "duckdb", "duckdb:///x", "x")

    def problems(self, **more: Any) -> list[Any]:
        """The problems, looked for now."""
        self.seconds += 1000
        found: list[Any] = self.api.get("/v1/problems", **more).body["problems"]
        return found

    def stop_table(self, table: str, *, stopped: bool = True) -> None:
        failed = load(self.source, table, 5, self.api.now, error="the key is text")
        self.api.store.loads.record_failure(failed, stopped=stopped)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    found = Watched(tmp_path)
    yield found
    found.watch.close()
    found.api.store.close()


def test_nothing_to_act_on(watched: Watched) -> None:
    assert watched.problems() == []
    assert watched.api.get("/v1/problems", token=None).pair == (401, NOT_AUTHORIZED)


def test_a_stopped_and_a_failing_table(watched: Watched) -> None:
    watched.stop_table("lines", stopped=False)
    watched.stop_table("orders")
    stopped, failing = watched.problems()
    assert (stopped["kind"], stopped["level"], stopped["table"]) == (
        "table_stopped",
        "critical",
        "orders",
    )
    assert (stopped["source_id"], stopped["said"]) == (watched.source, "the key is text")
    assert (failing["kind"], failing["level"], failing["table"]) == (
        "table_failing",
        "warning",
        "lines",
    )
    watched.api.store.loads.record_load(load(watched.source, "lines", 6), [])
    assert [one["kind"] for one in watched.problems()] == ["table_stopped"]


def test_tokens_that_have_ended_or_are_not_used(watched: Watched) -> None:
    made = watched.api.store.tokens.issue_token(TokenRequest("import"), source_id=watched.source)
    watched.api.refuse(1, watched.source, token_id=made.id)
    assert watched.problems() == []  # it is active, and was refused for something else
    watched.api.store.tokens.end_token(TokenFilter(("import",)), made.id)
    watched.api.refuse(1, watched.source, token_id=made.id)
    assert watched.problems() == []  # a sender may need a minute to learn that it has ended
    watched.api.now += 61_000_000
    watched.api.refuse(1, watched.source, token_id=made.id)
    [problem] = watched.problems()
    assert (problem["kind"], problem["token_id"], problem["source_id"]) == (
        "token_still_used",
        made.id,
        watched.source,
    )
    assert str(made.secret) not in repr(problem)
    watched.api.now += 31 * DAY
    [problem] = watched.problems()
    assert (problem["kind"], problem["token_id"]) == ("token_unused", watched.token.id)


def test_a_destination_that_is_down_or_missing(watched: Watched) -> None:
    watched.stop_table("orders", stopped=False)
    [row] = watched.api.store.destinations.list_destinations()
    watched.api.store.destinations.set_trouble(row.id, "no route", denied=False)
    [problem] = watched.problems()  # the table fails for that reason
    assert (problem["kind"], problem["destination_id"]) == ("destination_unavailable", row.id)
    watched.api.store.destinations.delete_destination(1, row.id)
    assert {one["kind"] for one in watched.problems()} == {"no_destination", "table_failing"}


def test_a_problem_is_snoozed(watched: Watched) -> None:
    watched.stop_table("orders")
    [problem] = watched.problems()
    path = f"/v1/problems/{problem['problem_id']}/snooze"
    answer = watched.api.post(path)
    assert answer.status == 200
    [shown] = watched.problems()
    assert shown == answer.body == {**problem, "snoozed_until": answer.body["snoozed_until"]}
    assert watched.watch.count(1) == 0
    event = watched.api.get("/v1/trail").body["events"][0]
    assert (event["action"], event["target"]["kind"]) == ("snooze_problem", "problem")
    watched.api.now += DAY
    assert watched.problems()[0]["snoozed_until"] is None
    assert watched.api.post(path, {"seconds": 3600}).body["snoozed_until"] is not None
    assert watched.api.post(path, {"seconds": 0}).body["snoozed_until"] is None
    assert watched.watch.count(1) == 1


@pytest.mark.parametrize("body", [{"seconds": -1}, {"seconds": 10**9}, {"second": 1}, [], "x"])
def test_a_snooze_that_does_not_fit(watched: Watched, body: object) -> None:
    watched.stop_table("orders")
    [problem] = watched.problems()
    assert watched.api.post(f"/v1/problems/{problem['problem_id']}/snooze", body).status == 400


def test_another_account_sees_and_snoozes_nothing(watched: Watched) -> None:
    watched.stop_table("orders")
    [problem] = watched.problems()
    other, token = watched.api.another_account()
    assert watched.problems(token=token) == []
    path = f"/v1/problems/{problem['problem_id']}/snooze"
    assert watched.api.post(path, token=token).status == 404
    assert watched.watch.count(other.id) == 0


def test_problems_are_not_looked_for_at_each_question(watched: Watched) -> None:
    assert watched.problems() == []
    watched.stop_table("orders")
    assert watched.api.get("/v1/problems").body["problems"] == []
    watched.seconds += FRESH_SECONDS
    assert len(watched.api.get("/v1/problems").body["problems"]) == 1


def test_the_status_counts_problems_that_were_found(watched: Watched) -> None:
    watched.stop_table("orders")
    watched.problems()
    assert watched.api.get("/v1/status").body["problems"] == 1


def test_what_ended_is_told_for_a_week(watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "problems"
    object.__setattr__(watched.api.files, "problems", path)
    now = watched.api.now
    spells = [
        ProblemSpell(account, "table_stopped", f"table {account}", "orders of shop", now - 9, now)
        for account in (1, 2)
    ]
    write_spells(path, [*spells, ProblemSpell(1, "no_destination", "source 1", "shop", now)])
    watched.api.get("/v1/problems")
    [ended] = watched.api.get("/v1/problems").body["ended"]
    assert (ended["kind"], ended["named"]) == ("table_stopped", "orders of shop")
    watched.api.now += 7 * DAY
    assert watched.api.get("/v1/problems").body["ended"] == []
