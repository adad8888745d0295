"""Tables: ten thousand of them, a split column, a stopped table (journeys 15, 16 and 17)."""

import sqlite3
import time
from typing import Any

import pytest
from tests.browser.test_sources import sign_in
from tests.browser.watched import PATIENCE_MS, watch
from tests.servers.treadle import Client, TreadleServer, eventually

from treadle.text import digest_text

MANY = 10_000


def make_source(client: Client, name: str) -> tuple[int, str]:
    """A source's id and an import token of it, where tokens are shown once."""
    body = {"type": "import_api", "display_name": name}
    source = client.http.post("/v4/sources", json=body, headers=client.account).json()
    url = f"/v4/sources/{source['id']}/tokens"
    made = client.http.post(url, headers=client.account).json()
    return source["id"], made["access_token"]


def make_tables(server: TreadleServer, source_id: int) -> None:
    """Put tables into the store, as if each had been loaded once."""
    now = int(time.time() * 1_000_000)
    rows = [
        (source_id, f"table_{number:05}", digest_text(f"table_{number:05}"), "log", 1,
         now - number * 1_000_000, "no room" if number % 100 == 7 else None, number % 100 == 7,
         10, 9, number % 3)
        for number in range(MANY)
    ]  # fmt: skip
    with sqlite3.connect(server.data / "store.sqlite", timeout=30) as store:
        store.executemany(
            "INSERT INTO tables (source_id, name, name_sha256, log_id, loaded, loaded_at, error, "
            "stopped, received, written, rejected) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
    store.close()


@pytest.mark.release
def test_ten_thousand_tables_are_searched_sorted_and_paged(
    browser: Any, server: TreadleServer, client: Client
) -> None:
    """J15: its URL restores each page. How long they take is measured by `benchmarks/pages.py`."""
    source_id, _ = make_source(client, "Many")
    make_tables(server, source_id)
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        seen.open("/tables")
        assert f"{MANY:,} tables" in seen.text()
        seen.page.get_by_label("Name").fill("Many.TABLE_000")
        seen.press("Show")
        assert "100 tables of 10,000" in seen.text()
        seen.page.get_by_label("State").select_option("stopped")
        seen.page.get_by_label("Sorted by").select_option("last_load")
        seen.press("Show")
        url = seen.page.url
        assert seen.page.locator("tbody th").all_inner_texts() == ["many.table_00007"]
        seen.page.reload()
        assert seen.page.url == url
        assert seen.page.get_by_label("Name").input_value() == "Many.TABLE_000"
        assert seen.page.get_by_label("State").input_value() == "stopped"
        seen.page.get_by_role("link", name="many.table_00007").click()
        assert "The table is stopped. No room." in seen.text()
        for path, first in {
            "/tables?page=50": "many.table_04900",
            f"/tables?source={source_id}&sort=rejected": "many.table_00002",
            "/tables?sort=last_load&page=100": "many.table_09900",
            "/tables?q=table_099": "many.table_09900",
            "/tables?state=stopped&page=1": "many.table_00007",
        }.items():
            seen.open(path)
            assert seen.page.locator("tbody th").first.inner_text() == first
            assert len(seen.page.content()) < 60_000
        seen.open("/tables?page=50")
        assert "Page 50 of 100" in seen.text()
        seen.examine()
        seen.press("Next")
        assert seen.page.url.endswith("/tables?page=51")
        assert seen.page.locator("tbody th").first.inner_text() == "many.table_05000"


def test_a_column_that_split_is_in_history_and_columns(
    browser: Any, server: TreadleServer, client: Client
) -> None:
    """J16: integers, then texts. The new load is announced meanwhile."""
    source_id, token = make_source(client, "Splits")
    assert client.push(token, [{"id": 1, "size": 40}], table="shoes").status_code == 201
    eventually(lambda: len(server.query("select * from splits.shoes")) == 1)
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        seen.open(f"/loads?source={source_id}")
        assert seen.page.locator("tbody tr").count() == 1
        assert client.push(token, [{"id": 2, "size": "40 1/2"}], table="shoes").status_code == 201
        seen.page.get_by_role("link", name="1 new load").wait_for(timeout=PATIENCE_MS)
        assert seen.page.locator("tbody tr").count() == 1  # nothing moves before it is asked for
        seen.press("1 new load")
        assert seen.page.locator("tbody tr").count() == 2
        assert seen.page.url.endswith(f"/loads?source={source_id}")
        seen.open(f"/sources/{source_id}/tables/shoes")
        told = seen.text()
        assert "beside size__st" in told
        assert "beside size" in told
        assert "split" in told
        seen.press("History")
        line = seen.page.locator("tbody tr").first
        assert "beside size (bigint), since field size has values of both types" in (
            line.inner_text()
        )
        assert "first in record " in line.inner_text()
        with seen.page.expect_navigation():
            line.get_by_role("link", name="Load", exact=True).click()
        assert seen.heading == "Load of splits.shoes"
        seen.open(f"/sources/{source_id}/tables/shoes/loads")
        assert seen.page.locator("svg .mark").count() == 2
        seen.examine()
        seen.press("Rows")
        assert "loading waits while this runs" in seen.text()
        seen.press("Show the newest 50 rows")
        seen.page.get_by_role("region", name="Newest rows").wait_for(timeout=PATIENCE_MS)
        assert "40 1/2" in seen.text()
        seen.examine()


def test_a_table_that_stopped_goes_on_by_one_of_its_ways_out(
    browser: Any, server: TreadleServer, client: Client
) -> None:
    """J17: a key change; `key_change=append` from the page; loads go on."""
    source_id, token = make_source(client, "Keys")
    assert client.push(token, [{"id": 1, "email": "a@x"}], table="people").status_code == 201
    eventually(lambda: len(server.query("select * from keys.people")) == 1)
    other = [{"id": 2, "email": "b@x"}]
    assert client.push(token, other, table="people", keys=["email"]).status_code == 201
    path = f"/sources/{source_id}/tables/people"
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        eventually(lambda: seen.open(path) is not None and "The table is stopped" in seen.text())
        assert "Keys for table do not match Primary Keys" in seen.text()
        assert "Make it anew with the new key" in seen.text()
        assert 'DROP TABLE "keys"."people"' in seen.text()
        seen.examine()
        seen.press("1 record waits")
        assert "b@x" in seen.text()
        seen.examine()
        seen.open(path)
        seen.press("Set key_change=append")
        assert "The option is set, and the server was asked to try the table again." in seen.text()
        eventually(lambda: len(server.query("select * from keys.people")) == 2)
        assert client.push(token, [{"id": 3, "email": "c"}], table="people").status_code == 201
        eventually(lambda: len(server.query("select * from keys.people")) == 3)
        eventually(lambda: seen.open(path) is not None and "stopped" not in seen.text())
        seen.press("Options")
        line = seen.page.locator("tr", has_text="key_change")
        assert "append" in line.inner_text()
        assert "table" in line.locator("td").nth(1).inner_text()
        seen.open("/tables?q=keys.")
        assert "idle" in seen.text()
