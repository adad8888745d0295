"""`treadle user ...` on a real store."""

from pathlib import Path

import pytest
from tests.integration.cli.conftest import Treadle


@pytest.fixture(autouse=True)
def account(data: Path, treadle: Treadle) -> None:
    assert treadle("account create").code == 0


def test_a_user_is_added_changed_and_deleted(treadle: Treadle) -> None:
    added = treadle("user add ann@example.com --name Ann")
    link, said = added.out.splitlines()
    assert link.startswith("http://127.0.0.1:8484/console/invite?token=")
    assert said == (
        "Give it to ann@example.com: it sets a password once, within a week. User 1 is admin."
    )
    made = treadle("user add bo@example.com --role viewer --json").json
    assert (made["id"], made["role"], made["email"]) == (2, "viewer", "bo@example.com")
    rows = treadle("user list --json").json
    assert [(row["name"], row["role"], row["state"]) for row in rows] == [
        ("Ann", "admin", "invited"),
        ("bo", "viewer", "invited"),
    ]
    assert treadle("user role bo@example.com operator").out == (
        "bo@example.com has the role operator.\n"
    )
    assert treadle("user disable 2").out == "bo@example.com is disabled.\n"
    assert "`treadle user enable 2` comes first" in treadle("user invite 2").err
    assert treadle("user enable BO@example.com").out == "bo@example.com is enabled.\n"
    again = treadle("user invite 2").out.splitlines()[0]
    assert again != made["link"]
    assert treadle("user delete 2").out.startswith("bo@example.com is deleted")
    assert len(treadle("user list --json").json) == 1
    told = treadle("trail --json").out
    for secret in (link, made["link"], again):
        assert secret.partition("=")[2] not in told
    assert '"change_role"' in told


def test_an_admin_of_the_installation_stays_one(treadle: Treadle) -> None:
    made = treadle("user add cy@example.com --all-accounts --json").json
    assert "leave --role out" in treadle("user add x@y.z --all-accounts --role viewer").err
    assert "stays an admin" in treadle(f"user role {made['id']} viewer").err
    [row] = treadle("user list --json").json
    assert row["stitch_client_id"] is None
    assert treadle("user list --account 1 --json").json == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("user add ann", "n e-mail address has one @"),
        ("user add ann@example.com --role viewer", "eople are not left without an admin"),
        ("user disable 7", "There is no user yet"),
        ("user add ann@example.com --role owner", "invalid choice"),
    ],
)
def test_what_is_wrong_is_said(treadle: Treadle, line: str, said: str) -> None:
    done = treadle(line)
    assert done.code == 2
    assert said in done.err
    assert treadle("user list --json").json == []
