"""Sessions of the console: what opens them, and what ends them."""

import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text
from tests.integration.store.conftest import KEY

from treadle.store.errors import EphemeralTokenLimitError, NotFoundError
from treadle.store.model import BrowserSession, ConsoleRole
from treadle.store.secrets import SecretCipher
from treadle.store.sessions import (
    EPHEMERAL_TOKEN_US,
    HOUR_US,
    IDLE_US,
    SESSION_US,
    SESSIONS_MAX,
    UNUSED_TOKENS_MAX,
)
from treadle.store.store import Store
from treadle.store.tokens import TokenFilter

OpenStore = Callable[[], Store]
ACCOUNT_TOKENS = TokenFilter(("account",))
ADDRESS = "192.0.2.7"


class Moment:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def store(store_url: str, moment: Moment) -> Iterator[Store]:
    """A store with two accounts, whose tokens are 1 and 2."""
    opened = Store.open(store_url, SecretCipher(KEY), clock=moment)
    for name in ("first", "second"):
        opened.accounts.create_account(name)
    yield opened
    opened.close()


def open_session(
    store: Store, account_id: int = 1, token_id: int = 1
) -> tuple[BrowserSession, str]:
    opened = store.sessions.open_session(
        store.sessions.issue_ephemeral_token(account_id, token_id), ADDRESS
    )
    assert opened is not None
    return opened


def test_an_ephemeral_token_opens_one_session(store: Store, moment: Moment) -> None:
    secret = store.sessions.issue_ephemeral_token(1, 1)
    assert store.sessions.find_ephemeral_token(secret) == 1
    opened = store.sessions.open_session(secret, ADDRESS)
    assert opened is not None
    session, cookie = opened
    account = store.accounts.list_accounts()[0]
    assert session == BrowserSession(
        session.id,
        account,
        1,
        ConsoleRole.OPERATOR,
        ADDRESS,
        moment.now,
        moment.now + SESSION_US,
    )
    assert store.sessions.find_session(cookie) == session
    assert store.sessions.find_ephemeral_token(secret) is None
    assert store.sessions.open_session(secret, ADDRESS) is None
    assert len({secret, cookie}) == 2
    assert all(len(one) == 64 for one in (secret, cookie))  # 256 bits


def test_one_kind_of_secret_is_no_other(store: Store) -> None:
    secret = store.sessions.issue_ephemeral_token(1, 1)
    _, cookie = open_session(store)
    assert store.sessions.find_session(secret) is None
    assert store.sessions.open_session(cookie, ADDRESS) is None
    for one in (secret, cookie):
        assert store.accounts.find_token_holder(one) is None
        assert store.tokens.find_metrics_token(one) is None
    for other in ("", "x", secret.upper(), secret[:-1]):
        assert store.sessions.find_ephemeral_token(other) is None
        assert store.sessions.find_session(other) is None


def test_an_ephemeral_token_ends_after_an_hour_and_a_session_after_twelve(
    store: Store, moment: Moment
) -> None:
    assert (EPHEMERAL_TOKEN_US, SESSION_US) == (HOUR_US, 12 * HOUR_US)
    early = store.sessions.issue_ephemeral_token(1, 1)
    late = store.sessions.issue_ephemeral_token(1, 1)
    moment.now += HOUR_US - 1
    opened = store.sessions.open_session(early, ADDRESS)
    assert opened is not None
    _, cookie = opened
    moment.now += 1
    assert store.sessions.open_session(late, ADDRESS) is None
    ends = moment.now - 1 + 12 * HOUR_US
    while moment.now + HOUR_US < ends:
        moment.now += HOUR_US
        assert store.sessions.find_session(cookie) is not None
    moment.now = ends - 1
    assert store.sessions.find_session(cookie) is not None
    moment.now += 1
    assert store.sessions.find_session(cookie) is None


def test_a_session_ends_after_two_hours_without_a_use(store: Store, moment: Moment) -> None:
    session, cookie = open_session(store)
    moment.now += IDLE_US - 1
    assert store.sessions.list_open_sessions([session.id, 99]) == {session.id}
    assert store.sessions.find_session(cookie, notes_use=False) is not None
    moment.now += 1
    assert store.sessions.list_open_sessions([session.id]) == set()
    assert store.sessions.find_session(cookie) is None
    _, used = open_session(store)
    moment.now += IDLE_US - 1
    assert store.sessions.find_session(used) is not None
    moment.now += IDLE_US - 1
    assert store.sessions.find_session(used) is not None


def test_who_has_an_account_token_gets_a_session(store: Store) -> None:
    opened = store.sessions.open_session_of_token(2, ConsoleRole.ADMIN, ADDRESS)
    assert opened is not None
    session, cookie = opened
    assert (session.account.id, session.token_id, session.role) == (2, 2, ConsoleRole.ADMIN)
    assert store.sessions.find_session(cookie) == session
    store.tokens.end_token(ACCOUNT_TOKENS, 2)
    assert store.sessions.open_session_of_token(2, ConsoleRole.ADMIN, ADDRESS) is None
    assert store.sessions.open_session_of_token(99, ConsoleRole.ADMIN, ADDRESS) is None


def test_a_link_of_the_data_folder_has_its_role_and_needs_a_token(store: Store) -> None:
    secret = store.sessions.issue_link_token(1, ConsoleRole.VIEWER)
    opened = store.sessions.open_session(secret, ADDRESS)
    assert opened is not None
    assert (opened[0].role, opened[0].token_id) == (ConsoleRole.VIEWER, 1)
    store.tokens.end_token(ACCOUNT_TOKENS, 1)
    with pytest.raises(NotFoundError):
        store.sessions.issue_link_token(1, ConsoleRole.ADMIN)


def test_a_guide_is_put_away_for_an_account(store: Store, moment: Moment) -> None:
    assert store.sessions.find_left_guide(1) is None
    store.sessions.leave_guide(1)
    store.sessions.leave_guide(1)
    assert store.sessions.find_left_guide(1) == moment.now
    assert store.sessions.find_left_guide(2) is None


@pytest.mark.parametrize("how", ["revoke", "expire"])
def test_everything_ends_with_the_account_token(store: Store, moment: Moment, how: str) -> None:
    secret = store.sessions.issue_ephemeral_token(1, 1)
    _, cookie = open_session(store)
    _, others = open_session(store, 2, 2)
    if how == "revoke":
        store.tokens.end_token(ACCOUNT_TOKENS, 1)
    else:
        store.tokens.expire_token(ACCOUNT_TOKENS, 1, moment.now)
    assert store.sessions.find_session(cookie) is None
    assert store.sessions.open_session(secret, ADDRESS) is None
    assert store.sessions.find_session(others) is not None
    with pytest.raises(NotFoundError):
        store.sessions.issue_ephemeral_token(1, 1)


def test_a_token_of_another_account_or_kind_makes_none(store: Store) -> None:
    source = store.sources.create_source(
        1, type="import_api", display_name="x", name="x", bootstrap_token=True
    )
    [token] = store.tokens.list_tokens(source.id)
    for account_id, token_id in ((1, 2), (2, 1), (1, token.id), (1, 99)):
        with pytest.raises(NotFoundError):
            store.sessions.issue_ephemeral_token(account_id, token_id)


def test_a_session_can_be_ended(store: Store) -> None:
    session, cookie = open_session(store)
    _, other = open_session(store)
    store.sessions.end_session(session)
    store.sessions.end_session(session)
    assert store.sessions.find_session(cookie) is None
    assert store.sessions.find_session(other) is not None


def test_of_two_exchanges_at_once_one_gets_a_session(store: Store, store_url: str) -> None:
    secret = store.sessions.issue_ephemeral_token(1, 1)
    stores = [Store.open(store_url, SecretCipher(KEY)) for _ in range(4)]
    for one in stores:
        one._database._clock = store._database._clock
    start = threading.Barrier(len(stores))
    opened: list[object] = []

    def exchange(one: Store) -> None:
        start.wait()
        opened.append(one.sessions.open_session(secret, ADDRESS))

    threads = [threading.Thread(target=exchange, args=(one,)) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in stores:
        one.close()
    assert len(opened) == len(stores)
    assert sum(one is not None for one in opened) == 1


def test_tokens_and_sessions_of_an_account_are_bounded(store: Store, moment: Moment) -> None:
    for _ in range(UNUSED_TOKENS_MAX):
        last = store.sessions.issue_ephemeral_token(1, 1)
    with pytest.raises(EphemeralTokenLimitError, match=str(UNUSED_TOKENS_MAX)):
        store.sessions.issue_ephemeral_token(1, 1)
    _, others = open_session(store, 2, 2)
    assert store.sessions.open_session(last, ADDRESS) is not None
    store.sessions.issue_ephemeral_token(1, 1)
    moment.now += HOUR_US
    cookies = [open_session(store)[1] for _ in range(SESSIONS_MAX + 2)]
    found = [store.sessions.find_session(cookie) is not None for cookie in cookies]
    assert found == [False] * 2 + [True] * SESSIONS_MAX
    assert store.sessions.find_session(others) is not None
    assert _count(store, "ephemeral_tokens") == SESSIONS_MAX + 2
    moment.now += SESSION_US
    open_session(store)
    assert _count(store, "ephemeral_tokens") == 1
    assert _count(store, "browser_sessions") == 1


def _count(store: Store, table: str) -> int:
    with store._database.engine.connect() as connection:
        query = text(f"SELECT count(*) FROM {table}")
        return int(connection.execute(query).scalar_one())


def test_only_digests_are_kept(store: Store) -> None:
    secret = store.sessions.issue_ephemeral_token(1, 1)
    _, cookie = open_session(store)
    with store._database.engine.connect() as connection:
        kept = repr(connection.execute(text("SELECT * FROM ephemeral_tokens")).all())
        kept += repr(connection.execute(text("SELECT * FROM browser_sessions")).all())
    kept += repr(store.trail.list_events())
    for one in (secret, cookie):
        assert one not in kept
