"""Forms for destinations and their checks (journeys 26 and 27)."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from psycopg import sql
from tests.browser.test_sources import sign_in
from tests.browser.watched import WatchedPage, watch
from tests.servers.role import ordinary_user
from tests.servers.treadle import Client, TreadleServer, eventually


@pytest.fixture(scope="module")
def server(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TreadleServer]:
    folder = tmp_path_factory.mktemp("forms")
    settings = {
        "connect_api_era": "modern",
        "load_age_seconds": "0.2",
        "destinations_local": "true",
    }
    with TreadleServer(folder / "data", settings=settings) as running:
        yield running


def fill(seen: WatchedPage, **fields: str) -> None:
    for name, value in fields.items():
        seen.page.locator(f"#property-{name}").fill(value)


def has_ended(seen: WatchedPage) -> bool:
    """Press Check now, and return whether the page waited for the end of the check."""
    seen.press("Check now")
    return "under way" not in seen.text()


def check_again(seen: WatchedPage, **fields: str) -> str:
    """Change fields, wait for the check that follows, and return what it says."""
    seen.press("Change")
    fill(seen, **fields)
    seen.press("Change")
    eventually(lambda: has_ended(seen))
    return " ".join(seen.text().split())


def test_each_step_that_fails_is_named_and_the_password_never_comes_back(
    browser: Any, server: TreadleServer, client: Client, postgres_database: str
) -> None:
    """J26."""
    with ordinary_user(postgres_database) as url, watch(browser, server.url) as seen:
        parts = urlsplit(url)
        password = unquote(parts.password or "")
        database = parts.path.removeprefix("/")
        right = {
            "host": "127.0.0.1",
            "port": str(parts.port),
            "username": parts.username or "",
            "database": database,
        }
        name = sql.Identifier(database)
        role = sql.Identifier(right["username"])
        with psycopg.connect(postgres_database, autocommit=True) as connection:
            connection.execute(sql.SQL("REVOKE CREATE ON DATABASE {} FROM {}").format(name, role))
        _make_source(client)
        seen.allowed = "400"
        sign_in(seen, client)
        seen.open("/destinations")
        seen.press("New destination")
        seen.press("postgres")
        seen.examine()
        fill(seen, **right, password="wrong-password")
        fill(seen, port="x")
        seen.press("Make the destination")
        assert "properties do not match schema: port" in seen.page.get_by_role("alert").inner_text()
        assert "This is to be a number" in seen.text()
        assert seen.page.locator("#property-password").input_value() == ""
        seen.examine()
        fill(seen, password="wrong-password", port=right["port"])
        fill(seen, host="nowhere.invalid")
        seen.press("Make the destination")
        assert "The destination is there" in seen.text()
        page = seen.page.url.split("?")[0].removeprefix(f"{server.url}/console")
        _move_source(client, page)
        eventually(lambda: has_ended(seen))
        assert "Look up the name ■ failed" in " ".join(seen.text().split())
        assert "Look at the host" in seen.text()
        seen.examine()
        assert "Connect ■ failed" in check_again(seen, host="127.0.0.1", port="1")
        assert "Is the database running at this host" in seen.text()
        assert "Log in ■ failed" in check_again(seen, port=right["port"])
        assert "Look at user, password and database" in seen.text()
        said = check_again(seen, password=password)
        assert "Log in ● done" in said
        assert "■ failed" in said
        assert "GRANT CREATE ON DATABASE" in said or "Mend what the database says" in said
        with psycopg.connect(postgres_database, autocommit=True) as connection:
            connection.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(name, role))
        eventually(lambda: has_ended(seen) and "succeeded" in seen.text())
        assert "Rehearsed load ● done" in " ".join(seen.text().split())
        seen.examine()
        for path in (page, f"{page}/change", "/destinations", "/audit"):
            seen.open(path)
            for secret in (password, "wrong-password"):
                assert secret not in seen.page.content()
        kept = seen.page.evaluate("JSON.stringify([localStorage, sessionStorage])")
        assert password not in kept


def _make_source(client: Client) -> None:
    body = {"type": "import_api", "display_name": "Moved"}
    assert client.http.post("/v4/sources", json=body, headers=client.account).status_code == 200


def _move_source(client: Client, page: str) -> None:
    """Let a source load there: a check rehearses loads in the schemas of its sources."""
    [source] = client.http.get("/v4/sources", headers=client.account).json()
    number = int(page.rpartition("/")[2])
    answer = client.http.put(
        f"/v4/sources/{source['id']}", json={"destination_id": number}, headers=client.account
    )
    assert answer.status_code == 200, answer.text


def test_one_that_the_server_names_is_read_only_with_its_reason(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """J27."""
    folder = tmp_path_factory.mktemp("held")
    with (
        TreadleServer(folder / "data", f"duckdb:///{folder}/held.duckdb") as server,
        watch(browser, server.url) as seen,
    ):
        client = Client(server, *server.account())
        sign_in(seen, client)
        [row] = client.http.get("/v4/destinations", headers=client.account).json()
        seen.open(f"/destinations/{row['id']}")
        assert "read only here: it is set by --destination" in seen.text()
        assert seen.page.get_by_role("link", name="Change", exact=True).count() == 0
        assert seen.page.get_by_role("link", name="Delete the destination ...").count() == 0
        seen.examine()
        seen.open(f"/destinations/{row['id']}/change")
        assert "set by --destination" in seen.text()
        assert seen.page.locator("input[id^=property-]").count() == 0
        seen.examine()
