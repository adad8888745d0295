"""Users in the store: one address each, invitations that work once, sessions that end with them."""

from collections.abc import Iterator

import pytest
from sqlalchemy import update
from tests.integration.store.conftest import KEY

from treadle.people.rules import LastAdminError, require_admin_left
from treadle.store.database import BOOKKEEPING
from treadle.store.destinations import DestinationPlace
from treadle.store.errors import NotFoundError, UserLimitError, UserTakenError
from treadle.store.model import ConsoleRole, ConsoleUser, DestinationSetter
from treadle.store.schema import accounts
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store
from treadle.store.users import INVITE_US, USERS_MAX

ADMIN, VIEWER = ConsoleRole.ADMIN, ConsoleRole.VIEWER


class Moment:
    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def store(store_url: str, moment: Moment) -> Iterator[Store]:
    """A store with two accounts."""
    opened = Store.open(store_url, SecretCipher(KEY), clock=moment)
    for name in ("first", "second"):
        opened.accounts.create_account(name)
    yield opened
    opened.close()


def add(store: Store, name: str, role: ConsoleRole = ADMIN, account_id: int | None = 1
        ) -> tuple[ConsoleUser, str]:  # fmt: skip
    return store.users.add_user(account_id, name, f"{name}@example.com", role, require_admin_left)


def test_one_address_is_one_user_of_the_installation(store: Store) -> None:
    made, secret = add(store, "Ann")
    assert (made.role, made.has_password, made.account_id) == (ADMIN, False, 1)
    assert len(secret) == 64
    for account_id in (1, 2, None):
        with pytest.raises(UserTakenError):
            add(store, "ANN", account_id=account_id)
    with pytest.raises(NotFoundError):
        add(store, "bo", account_id=99)
    assert store.users.list_users(1) == [made]
    assert store.users.list_users(2) == []
    assert store.users.find_user(2, made.id) is None
    assert store.users.find_user(None, made.id) == made


def test_an_invitation_works_once_and_for_a_week(store: Store, moment: Moment) -> None:
    made, first = add(store, "ann")
    assert store.users.find_any_password() is False
    assert store.users.find_invite("x") is None
    _, second = store.users.renew_invite(1, made.id)
    assert store.users.accept_invite(first, "r1") is None
    moment.now += INVITE_US - 1
    accepted = store.users.accept_invite(second, "r1")
    assert accepted is not None
    assert (accepted.has_password, accepted.invited_until) == (True, None)
    assert store.users.accept_invite(second, "r2") is None
    assert store.users.find_login("ANN@example.com ") == (accepted, "r1")
    assert store.users.find_any_password() is True
    _, third = store.users.renew_invite(1, made.id)
    moment.now += INVITE_US
    assert store.users.accept_invite(third, "r3") is None


def test_sessions_end_with_what_they_came_from(store: Store) -> None:
    ann, bo = add(store, "ann")[0], add(store, "bo", VIEWER)[0]
    cookies = []
    for user in (ann, bo, bo):
        opened = store.sessions.open_session_of_user(user.id, "192.0.2.7", "Firefox")
        assert opened is not None
        cookies.append(opened)
    session, secret = cookies[1]
    assert (session.user_name, session.device, session.role) == ("bo", "Firefox", VIEWER)
    assert (session.token_id, session.sees_all) == (None, False)
    assert store.sessions.find_session(secret) == session
    store.users.set_password(bo.id, "r", session.id)
    assert store.sessions.list_open_sessions([one.id for one, _ in cookies]) == {1, 2}
    store.users.set_disabled(1, bo.id, require_admin_left, disabled=True)
    assert store.sessions.list_open_sessions([one.id for one, _ in cookies]) == {1}
    assert store.sessions.open_session_of_user(bo.id, "192.0.2.7") is None
    assert store.users.find_login("bo@example.com") is not None
    assert store.users.find_login("bo@example.com")[1] is None  # type: ignore[index]
    with pytest.raises(NotFoundError):
        store.users.renew_invite(1, bo.id)
    store.users.delete_user(1, bo.id, require_admin_left)
    assert [one.user_id for one in store.sessions.list_sessions(1)] == [ann.id]


def test_a_change_that_is_refused_changes_nothing(store: Store) -> None:
    ann = add(store, "ann")[0]
    add(store, "bo", VIEWER)
    before = store.users.list_users(None), len(store.trail.list_events())
    with pytest.raises(LastAdminError):
        store.users.change_role(1, ann.id, VIEWER, require_admin_left)
    with pytest.raises(LastAdminError):
        store.users.set_disabled(1, ann.id, require_admin_left, disabled=True)
    with pytest.raises(LastAdminError):
        store.users.delete_user(1, ann.id, require_admin_left)
    assert (store.users.list_users(None), len(store.trail.list_events())) == before


def test_admins_of_the_installation_are_by_themselves(store: Store) -> None:
    seer, _ = add(store, "cy", account_id=None)
    assert store.users.list_installation_admins() == [seer]
    assert store.users.list_users(1) == []
    opened = store.sessions.open_session_of_user(seer.id, "192.0.2.7")
    assert opened is not None
    session, secret = opened
    assert (session.account.id, session.sees_all) == (1, True)
    assert store.sessions.switch_account(session, 2)
    assert not store.sessions.switch_account(session, 9)
    found = store.sessions.find_session(secret)
    assert found is not None
    assert found.account.name == "second"
    ann, _ = add(store, "ann")
    of_one = store.sessions.open_session_of_user(ann.id, "192.0.2.7")
    assert of_one is not None
    assert not store.sessions.switch_account(of_one[0], 2)


def test_there_are_so_many_users_and_no_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.store.users.USERS_MAX", 1)
    add(store, "ann")
    with pytest.raises(UserLimitError):
        add(store, "bo")
    assert USERS_MAX == 200


def test_nobody_comes_back_into_a_deleted_account(store: Store) -> None:
    ann, _ = add(store, "Ann")
    bo, secret = add(store, "Bo", account_id=2)
    store.users.accept_invite(secret, "record")
    store.users.set_disabled(2, bo.id, lambda *_: None, disabled=True)
    place = DestinationPlace(
        "postgres", "postgresql://me:s3cret@db/shop", "db", DestinationSetter.ACCOUNT
    )
    row = store.destinations.create_destination(2, place)
    store.destinations.set_query_url(row.id, "postgresql://reader:s3cret@db/shop")
    store.accounts.delete_account(2)
    assert [one.id for one in store.users.list_users(None)] == [ann.id]
    event = next(e for e in store.trail.list_events() if e.action == "delete_user")
    assert (event.target.id, event.account_id) == (str(bo.id), 2)
    with pytest.raises(NotFoundError):
        store.users.set_disabled(None, bo.id, lambda *_: None, disabled=False)
    assert store.sessions.open_session_of_user(bo.id, "10.0.0.1") is None
    # The address is free, and nothing of the account opens a database.
    add(store, "Bo")
    [gone] = store.destinations.list_destinations(2)
    assert (gone.url, gone.query_url, gone.deleted_at is None) == ("", None, False)
    with pytest.raises(NotFoundError):
        store.destinations.create_destination(2, place)
    with pytest.raises(NotFoundError):
        store.destinations.set_default_destination(2, "duckdb", "duckdb:///x", "x")


def test_a_user_whom_an_earlier_release_left_opens_no_session(store: Store) -> None:
    bo, secret = add(store, "Bo", account_id=2)
    store.users.accept_invite(secret, "record")
    opened = store.sessions.open_session_of_user(bo.id, "10.0.0.1")
    assert opened is not None
    session, cookie = opened
    with store._database.write() as tx:
        gone = update(accounts).where(accounts.c.id == 2).values(deleted_at=tx.now)
        tx.connection.execute(gone.execution_options(**BOOKKEEPING))
    assert store.sessions.open_session_of_user(bo.id, "10.0.0.1") is None
    assert store.sessions.find_session(cookie) is None
    assert store.sessions.get_session(session.id) is None
