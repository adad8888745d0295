"""Pasted records on a page (journey 25, three of its cases; the others are tests of values)."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.browser.test_sources import sign_in
from tests.browser.watched import SCRIPTS_DAILY, WatchedPage, watch
from tests.servers.treadle import Client, TreadleServer, eventually

from treadle.destinations.conformance.loading import literals

WANTED = ("L01", "L18", "L46")


def load_cases() -> dict[str, Any]:
    found: Any = literals.loads((Path(literals.__file__).parent / "cases.json").read_text())
    return {case["id"]: case for case in found}


@pytest.fixture(scope="module")
def orders(server: TreadleServer, client: Client) -> str:
    """The name of a source with a table."""
    body = {"type": "import_api", "display_name": "Trials"}
    source = client.http.post("/v4/sources", json=body, headers=client.account).json()
    url = f"/v4/sources/{source['id']}/tokens"
    token = client.http.post(url, headers=client.account).json()["access_token"]
    assert client.push(token, [{"id": 1, "mix": 1}], table="orders").status_code == 201
    eventually(lambda: len(server.query("select * from trials.orders")) == 1)
    return str(source["name"])


def press_try(seen: WatchedPage, text: str, table: str, keys: str) -> None:
    seen.page.locator("#text").fill(text)
    seen.page.locator("#table").fill(table)
    seen.page.locator("#keys").fill(keys)
    with seen.page.expect_navigation():
        seen.page.get_by_role("button", name="Try", exact=True).click()


@SCRIPTS_DAILY
def test_what_is_pasted_is_planned_as_the_command_does(
    browser: Any,
    server: TreadleServer,
    client: Client,
    orders: str,
    tmp_path: Path,
    scripts: bool,
) -> None:
    """J25, with `treadle plan` beside it."""
    cases = load_cases()
    with watch(browser, server.url, java_script_enabled=scripts) as seen:
        sign_in(seen, client)
        seen.open("/try")
        if scripts:
            seen.examine()
        for number in WANTED if scripts else WANTED[:1]:
            [what] = [
                request["push"] for step in cases[number]["loads"][:1] for request in step[:1]
            ]
            text = "\n".join(literals.dumps(data) for _, data in what["rows"])
            press_try(seen, text, what["table"], ", ".join(what["keys"]))
            shown = json.loads(str(seen.page.locator("#plan-document").text_content()))
            file = tmp_path / "records.jsonl"
            file.write_text(text)
            words = ["plan", str(file), "--source", orders, "--table", what["table"], "--json"]
            for key in what["keys"]:
                words += ["--key", key]
            assert shown["tables"] == [json.loads(server.treadle(*words))]
            if scripts:
                seen.examine()


def test_what_is_wrong_is_named_at_its_record(
    browser: Any, server: TreadleServer, client: Client, orders: str
) -> None:
    with watch(browser, server.url) as seen:
        seen.allowed = "400"
        sign_in(seen, client)
        seen.open("/try")
        press_try(seen, '{"id": 2, "mix": "text"}\n{"id": "no number"}', "orders", "id")
        assert "Accepted." in seen.text()
        assert seen.page.locator("[data-plan=rejected]").inner_text() == "1"
        assert "does not match Primary Key type" in seen.text()
        assert "mix__st" in seen.text()
        seen.examine()
        press_try(seen, '[{"id": 1}, {"name": "no key"}]', "orders", "id")
        assert "Refused with 422" in seen.page.get_by_role("alert").inner_text()
        assert "data must include keys" in seen.text()
        seen.examine()
        press_try(seen, "id;name", "orders", "id")
        assert "Line 1 is no JSON object" in seen.page.get_by_role("alert").inner_text()
        assert seen.page.locator("#text").input_value() == "id;name"
        count = "select count(*) as n from trials.orders"
        assert server.query(count) == [{"n": 1}]
