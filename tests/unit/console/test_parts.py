"""Parts of pages keep their last value, badges their numbers, and JSON its meaning."""

import json
import re
from html import unescape

from treadle.console.badges import BadgeCounter
from treadle.console.part_keeper import PARTS_MAX, PartKeeper
from treadle.console.rendering import (
    CUT_LINE,
    LINES_CHARACTERS_MAX,
    make_environment,
    show_json,
    show_lines,
)
from treadle.errors import RetriableError


def fail() -> int:
    raise RetriableError("the disk does not answer")


def test_a_part_that_cannot_be_read_keeps_its_last_value() -> None:
    keeper = PartKeeper()
    assert keeper.read("a", fail, 5).value is None
    assert keeper.read("a", fail, 6).failing_since == 5
    assert keeper.read("a", lambda: 1, 7).failing_since is None
    for now in (8, 9):
        kept = keeper.read("a", fail, now)
        assert (kept.value, kept.failing_since) == (1, 8)
    assert keeper.read("b", fail, 9).value is None


def test_parts_are_bounded() -> None:
    keeper = PartKeeper()
    for number in range(PARTS_MAX + 1):
        keeper.read(number, lambda: 7, 0)
    assert keeper.read(0, fail, 1).value is None
    assert keeper.read(PARTS_MAX, fail, 1).value == 7


def test_json_that_is_copied_from_a_page_is_the_same_json() -> None:
    record = {"id": 1, "name": "soft\xadhyphen \U000e0067 \u202e \0 <b>", "list": [1, "é"]}
    text = json.dumps(record, ensure_ascii=False, indent=2)
    template = make_environment(writes_code=False).from_string(
        '{% import "parts.html" as parts %}{{ parts.code("a", text, is_json=True) }}'
    )
    found = re.search(r'(?s)<pre id="a">(.*?)</pre>', template.render(text=text))
    assert found
    shown = unescape(found[1])
    assert json.loads(shown) == record
    assert len(shown.splitlines()) == len(text.splitlines())
    assert shown.replace("\n", "").isprintable()
    assert show_json(text + " " * LINES_CHARACTERS_MAX).endswith(CUT_LINE)
    assert show_lines("a\n" * LINES_CHARACTERS_MAX).endswith(CUT_LINE)
    assert show_lines("a\xad\nb") == "a\\xad\nb"


def test_badges_are_counted_about_once_a_second() -> None:
    clock = [100.0]
    asked: list[int] = []

    def count(account_id: int) -> int | None:
        asked.append(account_id)
        return len(asked)

    badges = BadgeCounter(lambda: clock[0])
    assert badges.get(1) == {}
    assert badges.count(1, {"problems": count}) == {"problems": 1}
    assert badges.count(1, {"problems": count}) == {"problems": 1}
    clock[0] += 1
    assert badges.count(1, {"problems": count}) == {"problems": 2}
    clock[0] += 1
    assert badges.count(1, {"problems": fail_for, "rejects": lambda _: None}) == {"problems": 2}
    assert badges.get(1) == {"problems": 2}
    assert badges.get(2) == {}


def fail_for(account_id: int) -> int:
    return fail()
