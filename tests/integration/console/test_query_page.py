"""The page of statements: what is run, what is shown, and what stays (console.md B.5 P10)."""

import re
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.console.desk import WantedDesk, put_desk
from tests.integration.console.test_pages import EVIL, make_source
from tests.integration.console.visitor import Console, Visitor
from tests.loads import load as make_load

from treadle.console.pages.query import PAGE_BYTES_MAX, quote_name
from treadle.questions import refusals
from treadle.questions.orders import AnswerFormat, StatementOrder
from treadle.store.model import KeptColumn, KeptColumns, KeptRelation

SQL = "select id,\n  name\nfrom shop.orders -- all"


@pytest.fixture
def visitor(console: Console) -> Visitor:
    console.store.sessions.leave_guide(console.account.id)
    return console.sign_in()


def answer_one(order: StatementOrder) -> tuple[list[str], list[list[Any]]]:
    return ["id", "name"], [[1, "Ann"], [2, None]]


def refuse(refusal: Exception) -> Any:
    def answer(order: StatementOrder) -> Any:
        raise refusal

    return answer


def test_a_statement_is_run_and_its_rows_are_shown(visitor: Visitor, console: Console) -> None:
    desk = put_desk(console, WantedDesk(answer_one))
    page = visitor.post("/query", sql=SQL.replace("\n", "\r\n"))
    assert page.status == 200
    [order] = desk.orders
    assert (order.sql, order.limit, order.format) == (SQL, 1000, AnswerFormat.JSON)
    assert order.bytes_max == PAGE_BYTES_MAX
    assert "2 rows" in page.words
    assert "3.2 ms" in page.words
    assert '<td class="number">1</td><td>Ann</td>' in page.text
    assert '<td class="muted">NULL</td>' in page.text
    assert "from shop.orders -- all</textarea>" in page.text
    assert "/console/query?sql=select+id" in page.text


def test_a_link_runs_nothing_before_a_click(visitor: Visitor, console: Console) -> None:
    desk = put_desk(console, WantedDesk(answer_one))
    page = visitor.see("/query?sql=drop%20table%20x")
    assert "drop table x</textarea>" in page.text
    assert desk.orders == []


@pytest.mark.parametrize(
    ("refusal", "status", "said"),
    [
        (refusals.statement_refused("no such column", SQL, 13), 400, "no such column"),
        (refusals.statement_overdue(10), 400, "took longer than 10 s"),
        (refusals.statement_stopped(), 400, "was stopped"),
        (refusals.query_not_allowed("the role reads too much"), 403, "the role reads too much"),
        (refusals.desk_ended(), 503, "ended before it was done"),
    ],
)
def test_the_statement_stays_on_every_error(
    visitor: Visitor, console: Console, refusal: Exception, status: int, said: str
) -> None:
    put_desk(console, WantedDesk(refuse(refusal)))
    page = visitor.post("/query", sql=SQL)
    assert page.status == status
    assert said in page.words
    assert 'role="alert"' in page.text
    assert "from shop.orders -- all</textarea>" in page.text
    if status == 400 and "column" in said:
        assert "Line 2, column 3" in page.words


def test_an_empty_statement_is_refused_and_a_long_one_has_no_link(
    visitor: Visitor, console: Console
) -> None:
    put_desk(console, WantedDesk(answer_one))
    assert visitor.post("/query", sql="  ").status == 400
    page = visitor.post("/query", sql="select 1 -- " + "x" * 3000)
    assert "Link to this statement" not in page.text


@pytest.mark.parametrize(
    ("action", "format_", "kind"),
    [
        ("csv", AnswerFormat.CSV, "text/csv"),
        ("csv-safe", AnswerFormat.CSV_SAFE, "text/csv"),
        ("json", AnswerFormat.JSON, "application/json"),
    ],
)
def test_rows_are_downloaded_as_a_file(
    visitor: Visitor, console: Console, action: str, format_: AnswerFormat, kind: str
) -> None:
    desk = put_desk(console, WantedDesk(answer_one))
    page = visitor.post("/query", sql=SQL, action=action)
    assert page.status == 200
    assert page.headers["content-type"].startswith(kind)
    ending = "json" if action == "json" else "csv"
    named = rf'attachment; filename="query-\d{{8}}T\d{{6}}Z\.{ending}"'
    assert re.fullmatch(named, page.headers["content-disposition"])
    assert page.headers["cache-control"] == "no-store"
    [order] = desk.orders
    assert (order.limit, order.format) == (100_000, format_)
    put_desk(console, WantedDesk(refuse(refusals.statement_refused("no"))))
    refused = visitor.post("/query", sql=SQL, action=action)
    assert (refused.status, refused.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert "shop.orders" in refused.text


def test_stop_stops_the_question_of_the_page(visitor: Visitor, console: Console) -> None:
    desk = put_desk(console, WantedDesk(answer_one))
    page = visitor.post("/query", sql=SQL, action="stop", id="question-1")
    assert desk.stopped == ["question-1"]
    assert "The statement was stopped" in page.words
    assert "shop.orders" in page.text


def test_a_second_run_of_a_page_takes_the_place_of_the_first(
    visitor: Visitor, console: Console
) -> None:
    def answer(order: StatementOrder) -> tuple[list[str], list[list[Any]]]:
        if order.id == "question-1":
            raise refusals.question_id_taken(order.id)
        return answer_one(order)

    desk = put_desk(console, WantedDesk(answer))
    assert visitor.post("/query", sql=SQL, id="question-1").status == 200
    assert desk.stopped == ["question-1"]
    assert len(desk.orders) == 2


def test_where_statements_are_off_the_page_says_so(visitor: Visitor, console: Console) -> None:
    room = console.services.query
    assert room is not None
    off = replace(room, settings=replace(room.settings, is_on=False))
    object.__setattr__(console.services, "query", off)
    page = visitor.see("/query")
    assert "The setting console_query of this server is off" in page.words
    assert "<textarea" not in page.text
    csrf = visitor.see("/help").field("csrf")
    answer = visitor.send("POST", "/console/query", {"csrf": csrf, "sql": "select 1"})
    assert answer.status == 403


def test_tables_and_columns_stand_beside_the_statement(visitor: Visitor, console: Console) -> None:
    source = make_source(console)
    console.store.use_log("log")
    columns = tuple(
        KeptColumn(name, name, "bigint", nullable=True, system=False) for name in ("id", "Order")
    )
    kept = KeptColumns(("id",), (KeptRelation((), "orders", columns),))
    load = make_load(source.id, "orders", 1, console.now, columns=kept)
    console.store.loads.record_load(load, [])
    other = make_load(source.id, EVIL, 2, console.now)
    console.store.loads.record_load(other, [])
    page = visitor.see("/query")
    assert "shop.orders" in page.words
    assert 'data-insert="">id</button>' in page.text
    assert 'data-insert="">&#34;Order&#34;</button>' in page.text
    assert "<script>alert" not in page.text
    found = visitor.post("/query", sql=SQL, action="find", q="ORD")
    assert "shop.orders" in found.words
    assert "alert(1)" not in found.text
    assert "from shop.orders -- all</textarea>" in found.text
    assert "No table has this" in visitor.post("/query", action="find", q="nothing").words


def test_hostile_values_are_text(visitor: Visitor, console: Console) -> None:
    evil = EVIL.replace("\ud800", "")  # the desk writes half of a pair otherwise
    put_desk(console, WantedDesk(lambda order: ([evil], [[evil], ["x" * 100_000]])))
    page = visitor.post("/query", sql=f"select '{EVIL}'")
    assert page.status == 200
    assert "<script>alert" not in page.text
    assert len(page.text) < 60_000
    assert not re.search("[\0\u202e]", page.text.replace("\u202e<", "<").split("</textarea>")[1])


def test_names_are_quoted_where_they_have_to_be() -> None:
    assert [quote_name(name) for name in ("orders", "order", "Orders", 'a"b', "1a", "a b")] == [
        "orders", '"order"', '"Orders"', '"a""b"', '"1a"', '"a b"',
    ]  # fmt: skip
