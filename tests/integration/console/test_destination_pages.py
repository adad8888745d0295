"""Forms for destinations: made from the report card, and without credentials (P12)."""

import re
from typing import Any

import pytest
from tests.integration.console.visitor import Console, Page, Visitor

from treadle.store.model import ConfiguredDestination, ConsoleRole, DestinationSetter

CHOSEN = r'<option value="(\w*)" selected>'
HELD = DestinationSetter.SETTING
FORM = {
    "type": "postgres",
    "property-host": "db.example.com",
    "property-port": "5432",
    "property-username": "loader",
    "property-password": "hidden-password",
    "property-database": "shop",
    "property-ssl": "true",
    "property-sslrootcert": "",
}


@pytest.fixture
def visitor(console: Console) -> Visitor:
    console.store.sessions.leave_guide(console.account.id)
    return console.sign_in()


def make(visitor: Visitor, **changes: Any) -> Page:
    return visitor.post("/destinations/new", **{**FORM, **changes})


def find(console: Console, answer: Page) -> ConfiguredDestination:
    assert answer.status == 303, answer.words
    found = re.search(r"/destinations/(\d+)", answer.location)
    assert found
    row = console.store.destinations.find_destination(console.account.id, int(found[1]))
    assert row is not None
    return row


def test_a_destination_is_made_from_the_form_of_its_type(
    visitor: Visitor, console: Console
) -> None:
    page = visitor.see("/destinations/new")
    assert "Choose a type" in page.words
    page = visitor.see("/destinations/new?type=postgres")
    assert 'type="password" id="property-password"' in page.text
    assert "encryption_" not in page.text
    assert "Certificate of the authority" in page.words
    row = find(console, make(visitor, name="Warehouse"))
    assert (row.name, row.type) == ("Warehouse", "postgres")
    assert row.url == (
        "postgresql://loader:hidden-password@db.example.com:5432/shop?sslmode=require"
    )
    assert console.store.checks.find_last_check(row.id) is not None
    for path in ("", "/change"):
        assert "hidden-password" not in visitor.see(f"/destinations/{row.id}{path}").text
    assert "Warehouse" in visitor.see("/destinations").words


@pytest.mark.parametrize(("type_", "mode"), [("postgres", "disable"), ("redshift", "require")])
def test_encryption_that_nobody_chooses_is_that_of_the_type(
    visitor: Visitor, console: Console, type_: str, mode: str
) -> None:
    page = visitor.see(f"/destinations/new?type={type_}")
    [choices] = re.findall(r'<select id="property-ssl".*?</select>', page.text, re.DOTALL)
    [untouched] = re.findall(CHOSEN, choices)
    row = find(console, make(visitor, **{"type": type_, "property-ssl": untouched}))
    assert row.url.endswith(f"?sslmode={mode}")
    [kept] = re.findall(CHOSEN, visitor.see(f"/destinations/{row.id}/change").text)
    assert kept == ("true" if mode == "require" else "false")


def test_a_refusal_is_said_at_its_field_and_the_password_does_not_come_back(
    visitor: Visitor,
) -> None:
    page = make(visitor, **{"property-port": "x", "property-host": ""})
    assert page.status == 400
    assert 'role="alert"' in page.text
    assert "properties do not match schema: host, port" in page.words
    assert "This is to be a number from 1 to 65535." in page.words
    assert re.search(r'id="property-host"[^>]*aria-invalid="true"', page.text)
    assert 'value="loader"' in page.text
    assert "hidden-password" not in page.text
    assert make(visitor, type="nothing").status == 400
    outside = make(visitor, **{"type": "duckdb", "property-path": "../x.duckdb"})
    assert outside.status == 400
    assert "outside" in outside.words


def test_a_change_keeps_what_is_not_typed(visitor: Visitor, console: Console) -> None:
    row = find(console, make(visitor))
    page = f"/destinations/{row.id}/change"
    shown = visitor.see(page)
    assert 'value="db.example.com"' in shown.text
    assert "Left empty it stays" in shown.words
    changed = {**FORM, "property-password": "", "property-database": "other"}
    row = find(console, visitor.post(page, **changed))
    assert row.url.startswith("postgresql://loader:hidden-password@db.example.com:5432/other")
    row = find(console, visitor.post(page, **{**changed, "property-password": "second"}))
    assert ":second@" in row.url
    refused = visitor.post(page, **{**changed, "property-port": "70000"})
    assert refused.status == 400
    assert 'value="70000"' in refused.text


def test_one_that_the_setting_names_is_read_only_with_its_reason(
    visitor: Visitor, console: Console
) -> None:
    """J27, without a server: the words and the refusal."""
    held = console.store.destinations.set_default_destination(
        console.account.id, "duckdb", "duckdb:///held.duckdb", "held", set_by=HELD
    )
    page = f"/destinations/{held.id}"
    assert "read only here: it is set by --destination" in visitor.see(page).words
    assert f'href="/console{page}/change"' not in visitor.see(page).text
    form = visitor.see(f"{page}/change")
    assert "set by --destination" in form.words
    assert "property-path" not in form.text
    refused = visitor.post(f"{page}/change", **{"property-path": "other.duckdb"})
    assert refused.status == 400
    assert "is set by the server's configuration" in refused.words


def test_a_check_shows_its_steps_and_what_to_do(visitor: Visitor, console: Console) -> None:
    row = find(console, make(visitor))
    check = console.store.checks.claim_check("here", "desk", 10**9)
    while check is not None and check.destination_id != row.id:
        check = console.store.checks.claim_check("here", "desk", 10**9)
    assert check is not None
    phases = (
        {"phase": "name", "milliseconds": 0.2, "failed": False},
        {"phase": "connect", "milliseconds": 1.0, "failed": False},
        {"phase": "log in", "milliseconds": 12.0, "failed": True},
    )
    words = "db refuses a load: password authentication failed <b>"
    console.store.checks.finish_check(check.id, "desk", words, phases)
    page = visitor.see(f"/destinations/{row.id}")
    assert "Look up the name ● done 0.2 ms" in page.words
    assert "Log in ■ failed 12 ms" in page.words
    assert "password authentication failed <b>" in page.words
    assert "What to do: Look at user, password and database" in page.words
    assert "<b>" not in page.text


def test_who_may_not_change_one_sees_no_form(console: Console) -> None:
    visitor = console.sign_in(ConsoleRole.OPERATOR)
    page = f"/destinations/{console.destination.id}"
    assert "Check now" not in visitor.see(page).words
    assert "/destinations/new" not in visitor.see("/destinations").text
    for path in ("/destinations/new", f"{page}/change"):
        assert visitor.get(f"/console{path}").status == 403
