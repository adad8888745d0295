"""Statements on a page, in DuckDB and in PostgreSQL (journeys 22, 23 and 24)."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from tests.browser.test_sources import sign_in
from tests.browser.watched import PATIENCE_MS, SCRIPTS_DAILY, WatchedPage, watch
from tests.servers.role import ordinary_user
from tests.servers.treadle import Client, TreadleServer, eventually

SECONDS = "4"
"""What a statement may take: the journey names 20, and the same is seen after four."""

SLOW = "select count(*) from range(10000000) a, range(10000000) b, range(10000000) c"
EVIL = "<script>document.title='ran'</script>"


@pytest.fixture(scope="module")
def server(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TreadleServer]:
    folder = tmp_path_factory.mktemp("query")
    settings = {
        "connect_api_era": "modern",
        "load_age_seconds": "0.2",
        "query_seconds": SECONDS,
    }
    with TreadleServer(folder / "data", settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def token(server: TreadleServer, client: Client) -> str:
    """The token of a source with a table of two rows."""
    body = {"type": "import_api", "display_name": "Shop"}
    source = client.http.post("/v4/sources", json=body, headers=client.account).json()
    url = f"/v4/sources/{source['id']}/tokens"
    made = client.http.post(url, headers=client.account).json()["access_token"]
    records: list[dict[str, Any]] = [{"id": 1, "name": EVIL}, {"id": 2, "name": None}]
    assert client.push(made, records, table="orders").status_code == 201
    eventually(lambda: len(server.query("select * from shop.orders")) == 2)
    return str(made)


def run(seen: WatchedPage, sql: str) -> None:
    """Type a statement, and wait for the page that has its end."""
    seen.page.locator("#sql").fill(sql)
    seen.press("Run")


def begin(seen: WatchedPage, sql: str) -> None:
    """Type a statement that takes its time, and press Run."""
    seen.page.locator("#sql").fill(sql)
    seen.page.get_by_role("button", name="Run", exact=True).click(no_wait_after=True)


NOTE = """
new MutationObserver(() => {
  const told = document.getElementById("query-running").textContent;
  const may = !document.getElementById("query-stop").disabled;
  if (told) sessionStorage.setItem("told", `${told}, ${may}`);
}).observe(document.getElementById("query-running"), { childList: true });
"""
"""Notes what a page says while it waits for the next one: meanwhile nobody can ask it."""


class StopButton:
    """Stop, to be pressed by hand: Playwright would wait for the page that is under way."""

    def __init__(self, seen: WatchedPage) -> None:
        self.mouse = seen.page.mouse
        box = seen.page.locator("#query-stop").bounding_box()
        assert box is not None
        self.place = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def press(self) -> None:
        self.mouse.click(*self.place)


def press_for_file(seen: WatchedPage, name: str) -> Any:
    """Press a button that gives a file; what a page says instead is told."""
    from playwright.sync_api import TimeoutError as NoFileError

    try:
        with seen.page.expect_download(timeout=PATIENCE_MS) as waiting:
            seen.page.get_by_role("button", name=name, exact=True).click()
    except NoFileError as error:
        said = f"{seen.page.url}: {seen.text()[:1000]}; {seen.found}"
        raise AssertionError(f"no file came with {name}; {said}") from error
    return waiting.value


def alert(seen: WatchedPage) -> str:
    return str(seen.page.get_by_role("alert").inner_text())


def kept_sql(seen: WatchedPage) -> str:
    return str(seen.page.locator("#sql").input_value())


@SCRIPTS_DAILY
def test_rows_errors_stop_and_files(
    browser: Any, server: TreadleServer, client: Client, token: str, scripts: bool
) -> None:
    """J22, with a statement that is stopped after one second in place of twenty."""
    with watch(browser, server.url, java_script_enabled=scripts) as seen:
        seen.allowed = "400"
        sign_in(seen, client)
        seen.open("/query")
        if scripts:
            seen.page.get_by_role("button", name="insert the name shop.orders").click()
            assert kept_sql(seen) == "shop.orders"
            seen.page.locator("#sql").fill("select id, name from shop.orders where id <= 2")
            with seen.page.expect_navigation():
                seen.page.keyboard.press("Control+Enter")
        else:
            run(seen, "select id, name from shop.orders where id <= 2")
        assert "2 rows" in seen.text()
        assert EVIL in seen.page.locator(".answer").inner_text()
        assert seen.page.title() == "Query - treadle"
        if scripts:
            seen.examine()

        run(seen, "select id,\n  nix\nfrom shop.orders")
        assert "nix" in alert(seen)
        assert "Line 2, column 3" in alert(seen)
        assert kept_sql(seen) == "select id,\n  nix\nfrom shop.orders"
        if scripts:
            assert seen.page.evaluate("document.activeElement.getAttribute('role')") == "alert"
            seen.examine()

        stop = StopButton(seen)
        if scripts:
            seen.page.evaluate(NOTE)
        begin(seen, SLOW)
        eventually(lambda: any((server.data / "answers").iterdir()))
        number = 10 + int(scripts)
        assert client.push(token, [{"id": number}], table="orders").status_code == 201
        stop.press()
        seen.page.get_by_text("The statement was stopped").wait_for()
        assert "took longer" not in seen.text()
        if scripts:
            told = seen.page.evaluate("sessionStorage.getItem('told')")
            assert str(told).startswith("Running, ")
            assert str(told).endswith(" s, true")
            seen.page.evaluate("sessionStorage.clear()")
        assert kept_sql(seen) == SLOW
        count = f"select count(*) as n from shop.orders where id = {number}"
        eventually(lambda: server.query(count) == [{"n": 1}])

        run(seen, "select * from range(5000000)")
        assert "1,000 rows" in seen.text()
        assert "There are more rows than 1,000" in seen.text()
        assert seen.page.locator(".answer tbody tr").count() == 1000

        seen.page.locator("#sql").fill("select range as n from range(20000)")
        waiting = press_for_file(seen, "CSV")
        file = waiting.path()
        lines = file.read_text().splitlines()
        assert (len(lines), lines[0], lines[-1]) == (20_001, "n", "19999")
        assert waiting.suggested_filename.endswith(".csv")


def test_what_may_not_be_run_is_refused_and_a_killed_desk_is_said(
    browser: Any, server: TreadleServer, client: Client, token: str
) -> None:
    """J23 in DuckDB."""
    outside = server.data.parent / "out.csv"
    with watch(browser, server.url) as seen:
        seen.allowed = "400|503"
        sign_in(seen, client)
        seen.open("/query")
        for sql in (
            f"copy (select 1) to '{outside}'",
            "copy (select 1) to program 'id'",
            "select 1; select 2",
            "create table shop.x (i integer)",
            f"attach '{outside}' as other",
            "select * from read_text('/etc/passwd')",
            "do $$ begin end $$",
            "drop table shop.orders",
            "set memory_limit = '100GB'",
        ):
            run(seen, sql)
            assert alert(seen), sql
            assert kept_sql(seen) == sql
            assert "root:" not in seen.text()
        assert not outside.exists()
        run(seen, SLOW)
        assert f"took longer than {SECONDS} s and was ended" in alert(seen)

        worker = server.processes()["worker 1"]
        answers = server.data / "answers"
        begin(seen, SLOW)
        eventually(lambda: any(answers.iterdir()))
        with seen.page.expect_navigation():
            os.kill(server.processes()["desk"], signal.SIGKILL)
        assert "ended before it was done" in alert(seen)
        assert kept_sql(seen) == SLOW
        seen.examine()
        assert server.processes()["worker 1"] == worker
        run(seen, "select count(*) as n from shop.orders where id <= 2")
        assert "1 row" in seen.text()


def test_a_link_runs_nothing_and_the_history_is_of_this_browser(
    browser: Any, server: TreadleServer, client: Client, token: str
) -> None:
    """J24, and what the browser keeps (console.md B.9)."""
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        seen.open("/query?sql=select%2042%20as%20answer")
        assert kept_sql(seen) == "select 42 as answer"
        assert seen.page.locator(".answer").count() == 0
        assert "42" not in seen.page.locator("main").inner_text().replace("select 42", "")
        seen.press("Run")
        assert seen.page.locator(".answer tbody td").all_inner_texts() == ["42"]
        link = seen.page.get_by_role("link", name="Link to this statement")
        assert "sql=select+42+as+answer" in str(link.get_attribute("href"))

        run(seen, f"select 'ac_{'0' * 64}' as mine")
        run(seen, "select 'my password is x' as mine")
        kept = seen.page.evaluate("JSON.stringify([localStorage, sessionStorage])")
        assert "select 42" in kept
        assert "ac_0" not in kept
        assert "password" not in kept
        assert client.account["Authorization"][7:] not in kept
        seen.page.locator("#history summary").click()
        seen.page.locator("#history-list button").first.click()
        assert kept_sql(seen) == "select 42 as answer"
        seen.examine()
        seen.page.get_by_role("button", name="Kept", exact=True).click()
        assert seen.page.locator("#history-list li").count() == 0
        run(seen, "select 43 as answer")
        kept = json.loads(seen.page.evaluate("JSON.stringify(localStorage)"))
        assert kept == {"treadle-queries-off": "yes"}


@pytest.mark.release
def test_postgresql_gives_no_more_than_rows(
    browser: Any, tmp_path_factory: pytest.TempPathFactory, postgres_database: str
) -> None:
    """J23 in PostgreSQL; and loading goes on while a statement runs (J22)."""
    folder = tmp_path_factory.mktemp("postgres")
    settings = {"load_age_seconds": "0.2", "query_seconds": "60"}
    data = folder / "data"
    with (
        ordinary_user(postgres_database) as url,
        TreadleServer(data, url, settings=settings) as server,
        watch(browser, server.url) as seen,
    ):
        client = Client(server, *server.account())
        _, token = client.create_source("Shop")
        seen.allowed = "400|403"
        sign_in(seen, client)
        seen.open("/query")
        for sql in (
            "copy (select 1) to program 'id'",
            "select pg_read_file('/etc/passwd')",
            "do $$ begin end $$",
            "select 1; select 2",
            "create table public.x (i integer)",
            "with x as (delete from pg_class returning 1) select * from x",
        ):
            run(seen, sql)
            assert alert(seen), sql
            assert kept_sql(seen) == sql
        stop = StopButton(seen)
        begin(seen, "select pg_sleep(60)")
        eventually(lambda: any((data / "answers").iterdir()))
        assert client.push(token, [{"id": 1}], table="orders").status_code == 201
        eventually(lambda: server.query("select id from shop.orders") == [{"id": 1}])
        assert any((data / "answers").iterdir())
        stop.press()
        seen.page.get_by_text("The statement was stopped").wait_for()
        eventually(lambda: not any((data / "answers").iterdir()))
