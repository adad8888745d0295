"""What pages decide without asking anything."""

from dataclasses import replace

from tests.unit.console.test_view import DAY, NOW, make_token

from treadle.console import view
from treadle.console.pages.audit import COLUMNS, describe_detail, part_detail, write_csv
from treadle.console.pages.tables import select_tables
from treadle.console.pages.tokens import find_step, list_token_lines, sum_days
from treadle.store.model import AccessToken, Source
from treadle.store.trail_event import (
    ActorKind,
    StoreActor,
    TargetKind,
    TrailEvent,
    TrailTarget,
    describe_change,
)

SOURCE = Source(2, 1, "import_api", "Shop", "shop", None, NOW, NOW, None, None, None, {})
OTHER = replace(SOURCE, id=3, name="crm")


def test_a_rotation_has_three_steps() -> None:
    def step(*tokens: AccessToken) -> int:
        return find_step(list_token_lines(tokens, {}, NOW))

    old, fresh = make_token(1, last_used_at=NOW), make_token(2, created_at=NOW)
    assert step() == 1
    assert step(old) == 1
    assert step(old, fresh) == 2
    used = replace(fresh, last_used_at=NOW)
    assert step(old, used) == 2
    assert step(replace(old, last_used_at=NOW - DAY), used) == 3


def test_a_list_of_tokens_has_what_ended_lately_last() -> None:
    active, gone = make_token(1), make_token(2, revoked_at=NOW - DAY, refused=3, refused_at=NOW)
    forgotten = make_token(3, revoked_at=NOW - 31 * DAY)
    hours = {1: [0, 0, 7, 5]}
    lines = list_token_lines([forgotten, gone, active], hours, NOW)
    assert [line["token"].id for line in lines] == [1, 2]
    assert lines[0]["day_uses"] == 12
    assert "12 together, 7 in the busiest" in lines[0]["bars"]
    assert lines[1]["bars"] is None
    assert lines[1]["state"] == view.StateWord(
        "revoked", "off", "3 requests refused since, last less than a minute ago."
    )
    assert [lines[0]["is_active"], lines[1]["is_active"]] == [True, False]


def test_uses_of_a_week_are_summed_by_days() -> None:
    assert sum_days([1] * 24 + [2] * 24) == [("0 to 24 hours ago", 48), ("24 to 48 hours ago", 24)]


def test_tables_are_chosen_by_the_names_of_table_and_source() -> None:
    tables = [(SOURCE, "Orders"), (OTHER, "orders"), (SOURCE, "x")]
    assert select_tables(tables, "", 9) == ([tables[1], tables[0], tables[2]], 3)
    assert select_tables(tables, "", 1) == ([tables[1]], 3)
    assert select_tables(tables, "ORDERS", 9) == ([tables[1], tables[0]], 2)
    assert select_tables(tables, "crm.", 9) == ([tables[1]], 1)


def test_the_detail_of_an_event_is_text() -> None:
    assert describe_detail({"role": "admin", "token_id": 3}) == "role: admin, token id: 3"
    assert describe_detail({}) == ""


def test_before_and_after_stand_apart_from_the_rest() -> None:
    told = describe_change(
        {"display_name": "a", "settings": {"options": {"x": 1, "y": 2}}, "same": 5},
        {"display_name": "b", "settings": {"options": {"x": 3}}, "same": 5},
    )
    rest, before, after = part_detail({"changed": ["display_name", "settings"], **told, "n": 1})
    assert rest == {"n": 1}
    assert before == {"display_name": "a", "settings.options.x": 1, "settings.options.y": 2}
    assert after == {"display_name": "b", "settings.options.x": 3, "settings.options.y": None}
    assert part_detail({"changed": ["secret"]}) == ({"changed": ["secret"]}, {}, {})
    assert describe_change({"a": 1}, {"a": 1}) == {}


def test_no_cell_of_the_file_is_a_formula() -> None:
    actor = StoreActor(ActorKind.PERSON, "3", "192.0.2.7")
    hidden = StoreActor(ActorKind.COMMAND_LINE, "root", "local")
    target = TrailTarget(TargetKind.SOURCE, "7", '=cmd|"x"\ud800')
    event = TrailEvent(1, NOW, actor, 1, "change_source", target, "done", {"changed": ["a"]})
    written = write_csv([event, replace(event, actor=hidden)], {"3": "+Ann"})
    head, first, second, _ = written.split("\r\n")
    assert head.split(",") == list(COLUMNS)
    assert first.startswith("1,2027-01-15T08:00:00.000000Z,person 3,'+Ann,192.0.2.7,change_source,")
    assert '"\'=cmd|""x""' in first
    assert "command_line,,,change_source" in second
    assert "root" not in second
