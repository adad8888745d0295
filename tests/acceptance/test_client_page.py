"""The programs of the page about Python run as they stand, but for the server and the token."""

import re
from functools import partial
from pathlib import Path

import pytest
from tests.servers.treadle import Client, TreadleServer, eventually

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "send-from-python.md"


def has_one_row(server: TreadleServer, table: str) -> bool:
    return server.query(f"select count(*) as n from shop.{table}") == [{"n": 1}]


@pytest.mark.slow
def test_the_programs_of_the_page_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(programs) == 2
    with TreadleServer(tmp_path / "data") as server:
        _, token = Client(server, *server.account()).create_source("shop")
        for program in programs:
            text = program.replace("https://treadle.example.com", server.url)
            text = text.replace("at_...", token)
            exec(compile(text, str(PAGE), "exec"), {"__name__": "page"})  # noqa: S102 - our page
        assert capsys.readouterr().out == "2 durable, 2 loaded, 0 rejected\n"
        rows = server.query(
            "select id, typeof(ordered_at) as at, typeof(price) as price, price * 2 as twice "
            "from shop.orders order by id"
        )
        assert [row["id"] for row in rows] == [1, 2]
        assert {row["at"] for row in rows} == {"TIMESTAMP WITH TIME ZONE"}
        assert all(row["price"].startswith("DECIMAL") for row in rows)
        for table in ("events", "people", "visits"):
            eventually(partial(has_one_row, server, table))
