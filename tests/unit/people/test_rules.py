"""Who may be a user, and that an admin is left."""

from dataclasses import replace

import pytest

from treadle.people.devices import name_device
from treadle.people.rules import LastAdminError, UserRuleError, check_user, require_admin_left
from treadle.store.model import ConsoleRole, ConsoleUser

ADMIN = ConsoleUser(1, 1, "Ann", "ann@example.com", ConsoleRole.ADMIN, True, 0)
VIEWER = replace(ADMIN, id=2, role=ConsoleRole.VIEWER)
OTHER = replace(ADMIN, id=3)
INVITED = replace(ADMIN, id=4, has_password=False, invited_until=9)


@pytest.mark.parametrize(
    ("name", "email"),
    [("", "a@b.c"), ("  ", "a@b.c"), ("n" * 101, "a@b.c"), ("Ann", "ann"), ("Ann", "a b@c.d")],
)
def test_a_user_has_a_name_and_an_address(name: str, email: str) -> None:
    with pytest.raises(UserRuleError):
        check_user(name, email)
    check_user("Ann", "ann@example.com")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [VIEWER]),
        ([ADMIN, VIEWER], [VIEWER]),
        ([ADMIN], [replace(ADMIN, role=ConsoleRole.OPERATOR)]),
        ([ADMIN, VIEWER], [replace(ADMIN, disabled_at=5), VIEWER]),
        ([ADMIN, INVITED], [INVITED]),
        ([ADMIN, replace(OTHER, disabled_at=5)], [replace(OTHER, disabled_at=5)]),
    ],
)
def test_people_are_not_left_without_an_admin(
    before: list[ConsoleUser], after: list[ConsoleUser]
) -> None:
    with pytest.raises(LastAdminError):
        require_admin_left(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [INVITED]),
        ([ADMIN], []),
        ([INVITED], [INVITED, VIEWER]),
        ([ADMIN, OTHER], [OTHER]),
        ([ADMIN, VIEWER], [ADMIN]),
        ([ADMIN, OTHER], [replace(ADMIN, role=ConsoleRole.VIEWER), OTHER]),
        ([INVITED, replace(INVITED, id=5)], [INVITED]),
    ],
)
def test_other_changes_are_made(before: list[ConsoleUser], after: list[ConsoleUser]) -> None:
    require_admin_left(before, after)


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
         "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/120.0 Safari/537.36 Edg/120.0",
         "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Safari/604.1",
         "Safari on iPhone"),
        ("curl/8.5.0", "curl"),
        ("<script>", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_devices_are_named_by_what_is_known(agent: str, device: str) -> None:
    assert name_device(agent) == device
