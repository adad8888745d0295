"""Forms of destinations are made from their report cards, and hold no credentials."""

from pathlib import Path
from typing import Any

from treadle.console.destination_fields import (
    advise_on_check,
    find_wrong_names,
    make_fields,
    read_properties,
    read_typed,
)
from treadle.control.destination_responses import render_destination_card
from treadle.destinations.form_registry import find_form

POSTGRES: Any = render_destination_card(find_form("postgres", Path("/d")), ())
PRESENT: Any = render_destination_card(
    find_form("postgres", Path("/d")), {"host", "port", "username", "password", "sslrootcert"}
)
DUCKDB: Any = render_destination_card(find_form("duckdb", Path("/d")), ())


def test_a_card_becomes_fields_of_their_kinds() -> None:
    fields = {one.name: one for one in make_fields(POSTGRES, {})}
    assert {name: one.kind for name, one in fields.items()} == {
        "host": "text",
        "port": "digits",
        "username": "text",
        "password": "secret",
        "database": "text",
        "ssl": "flag",
        "sslrootcert": "lines",
    }
    assert not fields["sslrootcert"].is_required
    assert fields["host"].label == "Host"
    assert [one.name for one in make_fields(DUCKDB, {})] == ["path"]


def test_a_credential_is_never_in_a_field() -> None:
    values = {"host": "db", "password": "secret-text"}
    for card in (POSTGRES, PRESENT):
        for one in make_fields(card, values, {"password"}):
            assert "secret-text" not in repr(one)
    password = next(one for one in make_fields(PRESENT, values) if one.name == "password")
    assert password.is_kept


def test_what_is_typed_becomes_properties() -> None:
    form = {
        "property-host": " db.example.com ",
        "property-port": "5432",
        "property-password": " with blanks ",
        "property-ssl": "true",
        "property-sslrootcert": "",
        "property-encryption_type": "ssh",
        "other": "x",
    }
    assert read_properties(POSTGRES, form, creates=True) == {
        "host": "db.example.com",
        "port": "5432",
        "username": "",
        "password": " with blanks ",
        "database": "",
        "ssl": "true",
    }
    changed = read_properties(PRESENT, {**form, "property-password": ""}, creates=False)
    assert "password" not in changed
    assert changed["sslrootcert"] is None
    assert read_typed(form)["host"] == " db.example.com "


def test_a_refusal_is_said_at_its_fields() -> None:
    fields = make_fields(POSTGRES, {})
    wrong = find_wrong_names("properties do not match schema: port, password, nix", fields)
    assert wrong == {"port", "password"}
    assert find_wrong_names("destination 3 is set by the server's configuration", fields) == set()
    values = {"port": "70000"}
    told = {one.name: one.error for one in make_fields(POSTGRES, values, {"port", "host"})}
    assert told["port"] == "This is to be a number from 1 to 65535."
    assert told["host"] == "This is missing."
    kept = next(one for one in make_fields(PRESENT, {}, {"password"}) if one.name == "password")
    assert kept.error == "Type it again: what is set stays with its place and encryption."


def test_each_phase_that_fails_has_its_advice() -> None:
    phases = [{"phase": "name", "failed": False}, {"phase": "log in", "failed": True}]
    assert "pg_hba.conf" in advise_on_check("postgres", phases)
    assert advise_on_check("duckdb", [{"phase": "load", "failed": True}]).startswith("Mend what")
    assert advise_on_check("other", []).startswith("Mend what")
