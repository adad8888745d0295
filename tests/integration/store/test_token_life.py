"""The life of tokens of every kind, and the rotation of the key, on both kinds of store."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

import treadle.store
from treadle.errors import OperatorError
from treadle.store.database import begin_write, create_store_engine
from treadle.store.errors import NotFoundError, TokenLimitError, TokenRuleError, TokenTakenError
from treadle.store.model import AccessToken, SenderSignature, Source
from treadle.store.secrets import SecretCipher, hash_token
from treadle.store.store import Store
from treadle.store.token_rules import ACTIVE_TOKENS_MAX, KINDS, TokenRequest
from treadle.store.tokens import HOUR_US, HOURS_KEPT, TokenFilter

OpenStore = Callable[[], Store]

ELSEWHERE = "0123456789abcdef" * 4
SIGNED = SenderSignature("plain", "pl4in-secret", "X-Sig", "base64")


class World:
    """An account with a source, and tokens of every kind."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.account, self.first = store.accounts.create_account("a")
        self.source = self.make_source("one")

    def make_source(self, name: str) -> Source:
        return self.store.sources.create_source(
            self.account.id, type="import_api", display_name=name, name=name, bootstrap_token=False
        )

    def issue(self, kind: str, **fields: Any) -> AccessToken:
        account_id = None if kind == "metrics" else self.account.id
        source_id = self.source.id if kind in ("import", "webhook") else None
        return self.store.tokens.issue_token(
            TokenRequest(kind, **fields), account_id=account_id, source_id=source_id
        )

    def of(self, kind: str) -> TokenFilter:
        return TokenFilter((kind,), None if kind == "metrics" else self.account.id)

    def opens(self, token: AccessToken) -> bool:
        """Whether a token opens what its kind is for."""
        secret = secret_of(token)
        if token.kind == "account":
            return self.store.accounts.find_account_by_token(secret) == self.account
        if token.kind == "metrics":
            return self.store.tokens.find_metrics_token(secret) == token.id
        found = self.store.tokens.find_sender(hash_token(secret))
        listed = self.store.tokens.list_senders()
        assert (found is not None) == (hash_token(secret) in listed)
        return found is not None and found.token_id == token.id


def secret_of(token: AccessToken) -> str:
    assert token.secret is not None
    return token.secret


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_of_any_kind_lives_alike(world: World, kind: str) -> None:
    token = world.issue(kind, description="CI")
    assert world.opens(token)
    tokens = world.store.tokens
    [listed] = [one for one in tokens.find_tokens(world.of(kind)) if one.id == token.id]
    assert listed.secret is None
    assert listed.last_four == secret_of(token)[-4:]
    assert (listed.description, listed.uses, listed.last_used_from) == ("CI", 0, None)
    assert (listed.expires_at, listed.revoked_at) == (None, None)

    tokens.record_uses({token.id: (2, 70)}, {token.id: "192.0.2.1"})
    tokens.record_uses({token.id: (1, 60)}, {token.id: "192.0.2.2"})  # an earlier use, noted later
    tokens.record_uses({token.id: (1, 80)})
    [used] = [one for one in tokens.find_tokens(world.of(kind)) if one.id == token.id]
    assert (used.uses, used.last_used_at, used.last_used_from) == (4, 80, "192.0.2.1")

    far = 10**15
    assert tokens.expire_token(world.of(kind), token.id, far).expires_at == far
    assert world.opens(token)
    assert tokens.expire_token(world.of(kind), token.id, None).expires_at is None
    revision = world.store.get_revision()
    ended = tokens.end_token(world.of(kind), token.id)
    assert ended.revoked_at is not None
    assert not world.opens(token)
    assert world.store.get_revision() > revision
    refused: list[Callable[[], AccessToken]] = [
        lambda: tokens.end_token(world.of(kind), token.id),
        lambda: tokens.expire_token(world.of(kind), token.id, None),
        lambda: tokens.replace_token(world.of(kind), token.id, 0),
    ]
    for change in refused:
        with pytest.raises(NotFoundError):
            change()


@pytest.mark.parametrize("kind", KINDS)
def test_an_expired_token_opens_nothing_and_does_not_come_back(world: World, kind: str) -> None:
    token = world.issue(kind)
    world.store.tokens.expire_token(world.of(kind), token.id, 1)
    assert not world.opens(token)
    with pytest.raises(NotFoundError):
        world.store.tokens.expire_token(world.of(kind), token.id, None)
    assert not world.store.tokens.record_first_use(token.id, 5)
    assert world.store.tokens.list_tokens(world.source.id) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_replaced_with_an_overlap(world: World, kind: str) -> None:
    webhook = {"tables": ("a", "b"), "signature": SIGNED} if kind == "webhook" else {}
    old = world.issue(kind, description="CI", **webhook)
    new = world.store.tokens.replace_token(world.of(kind), old.id, 10**12)
    assert secret_of(new) != secret_of(old)
    assert (new.kind, new.description, new.tables) == (kind, "CI", old.tables)
    assert (new.signature, new.expires_at) == (old.signature, None)
    assert world.opens(old)
    assert world.opens(new)
    [listed] = [one for one in world.store.tokens.find_tokens(world.of(kind)) if one.id == old.id]
    assert listed.expires_at is not None
    newest = world.store.tokens.replace_token(world.of(kind), new.id, 0)
    assert not world.opens(new)
    assert world.opens(newest)


def test_an_overlap_ends_no_later_than_the_token_would(world: World) -> None:
    old = world.issue("account", expires_at=10**9)
    world.store.tokens.replace_token(world.of("account"), old.id, 10**15)
    [listed] = [t for t in world.store.tokens.find_tokens(world.of("account")) if t.id == old.id]
    assert listed.expires_at == 10**9


@pytest.mark.parametrize("kind", KINDS)
def test_active_tokens_have_a_limit(world: World, kind: str) -> None:
    limit = ACTIVE_TOKENS_MAX[kind]
    made = [world.issue(kind) for _ in range(limit - (kind == "account"))]
    with pytest.raises(TokenLimitError, match=f"maximum of {limit} active"):
        world.issue(kind)
    with pytest.raises(TokenLimitError):
        world.store.tokens.replace_token(world.of(kind), made[0].id, 10**12)
    assert world.opens(made[0])  # the refused replacement changed nothing
    [listed] = [t for t in world.store.tokens.find_tokens(world.of(kind)) if t.id == made[0].id]
    assert listed.expires_at is None
    world.store.tokens.replace_token(world.of(kind), made[0].id, 0)
    world.store.tokens.expire_token(world.of(kind), made[1].id, 1)
    world.issue(kind)


def test_an_account_reaches_only_its_own_tokens(world: World) -> None:
    made = [world.issue(kind) for kind in KINDS]
    other, _ = world.store.accounts.create_account("other")
    theirs = TokenFilter(KINDS, other.id)
    assert [one.kind for one in world.store.tokens.find_tokens(theirs)] == ["account"]
    for token in made:
        with pytest.raises(NotFoundError):
            world.store.tokens.end_token(theirs, token.id)
        with pytest.raises(NotFoundError):
            world.store.tokens.replace_token(theirs, token.id, 0)
        assert world.opens(token)
    with pytest.raises(NotFoundError):
        world.store.tokens.issue_token(
            TokenRequest("webhook"), account_id=other.id, source_id=world.source.id
        )
    ours = TokenFilter(KINDS, world.account.id)
    kinds = {one.kind for one in world.store.tokens.find_tokens(ours)}
    assert kinds == {"account", "import", "webhook"}  # and none of the whole server


def test_the_documented_calls_know_import_tokens_alone(world: World) -> None:
    hook = world.issue("webhook")
    pushing = world.issue("import")
    assert [one.id for one in world.store.tokens.list_tokens(world.source.id)] == [pushing.id]
    assert world.store.tokens.revoke_token(world.account.id, world.source.id, hook.id) is None
    assert world.store.tokens.find_owner(hash_token(secret_of(hook))) is None
    assert world.opens(hook)


def test_a_webhook_token_is_adopted_and_an_import_token_becomes_one(world: World) -> None:
    adopt = world.store.tokens.adopt_token
    asked = TokenRequest("webhook", tables=("events",))
    with pytest.raises(TokenRuleError, match="22 to 512"):
        adopt(world.source.id, "a", asked)
    with pytest.raises(TokenRuleError, match="22 to 512"):
        adopt(world.source.id, "a")
    hook = adopt(world.source.id, ELSEWHERE, asked)
    assert adopt(world.source.id, ELSEWHERE, asked) == hook
    with pytest.raises(TokenTakenError, match="stays one"):
        adopt(world.source.id, ELSEWHERE)
    with pytest.raises(TokenTakenError, match="belongs to source"):
        adopt(world.make_source("two").id, ELSEWHERE, asked)

    pushing = world.issue("import")
    narrowed = adopt(world.source.id, secret_of(pushing), TokenRequest("webhook", signature=SIGNED))
    assert (narrowed.id, narrowed.kind, narrowed.signature) == (pushing.id, "webhook", SIGNED)
    assert narrowed.last_four == pushing.last_four
    found = world.store.tokens.find_sender(hash_token(secret_of(pushing)))
    assert found is not None
    assert found.webhook is not None
    assert found.webhook.signature == SIGNED
    assert world.store.tokens.find_owner(hash_token(secret_of(pushing))) is None

    with pytest.raises(TokenTakenError, match="an account"):
        adopt(world.source.id, world.first)
    world.store.tokens.expire_token(world.of("webhook"), hook.id, 1)
    with pytest.raises(TokenTakenError, match="has expired"):
        adopt(world.source.id, ELSEWHERE, asked)


def test_a_signature_that_does_not_open_hurts_its_token_alone(world: World, store_url: str) -> None:
    signed, other = world.issue("webhook", signature=SIGNED), world.issue("import")
    engine = create_store_engine(store_url)
    with begin_write(engine) as connection:
        connection.execute(
            text("UPDATE access_tokens SET signature = :junk WHERE id = :id"),
            {"junk": b"junk", "id": signed.id},
        )
    engine.dispose()
    assert set(world.store.tokens.list_senders()) == {hash_token(secret_of(other))}


# The key


def fill(world: World) -> list[AccessToken]:
    world.store.destinations.set_default_destination(
        world.account.id, "postgres", "postgresql://u:pa55word@h/d", "h d"
    )
    return [world.issue("import"), world.issue("webhook", signature=SIGNED)]


def test_everything_is_sealed_anew_and_a_running_process_goes_on(
    store_url: str, open_store: OpenStore
) -> None:
    keys = [bytes(32)]
    running = Store.open(store_url, SecretCipher(bytes(32), reread=lambda: keys))
    world = World(running)
    pushing, signed = fill(world)

    new = SecretCipher(b"n" * 32)
    keys.append(b"n" * 32)
    rotating = Store.open(store_url, SecretCipher(bytes(32), b"n" * 32))
    assert rotating.keys.rotate_key(new.check_value) == 3
    assert rotating.keys.rotate_key(new.check_value) == 0
    keys.pop(0)

    assert [t.secret for t in running.tokens.list_tokens(world.source.id)] == [pushing.secret]
    assert world.opens(signed)
    assert [d.url for d in running.destinations.list_destinations()] == [
        "postgresql://u:pa55word@h/d"
    ]
    sealed_now = world.issue("import")  # by a process that began with the old key

    after = Store.open(store_url, SecretCipher(b"n" * 32))
    assert [t.secret for t in after.tokens.list_tokens(world.source.id)] == [
        pushing.secret,
        sealed_now.secret,
    ]
    found = after.tokens.find_sender(hash_token(secret_of(signed)))
    assert found is not None
    assert found.webhook is not None
    assert found.webhook.signature == SIGNED
    with pytest.raises(OperatorError, match="bring back the old key"):
        Store.open(store_url, SecretCipher(bytes(32)))
    for one in (running, rotating, after):
        one.close()


def test_a_rotation_that_fails_has_changed_nothing(store_url: str) -> None:
    store = Store.open(store_url, SecretCipher(bytes(32), b"n" * 32))
    world = World(store)
    fill(world)
    engine = create_store_engine(store_url)
    with begin_write(engine) as connection:
        connection.execute(text("UPDATE destinations SET url = :junk"), {"junk": b"junk"})
    engine.dispose()
    check = store.keys.get_check_value()
    with pytest.raises(OperatorError, match="does not open"):
        store.keys.rotate_key(SecretCipher(b"n" * 32).check_value)
    with pytest.raises(OperatorError, match="the secret key was rotated"):
        store.keys.rotate_key("0" * 64)
    assert store.keys.get_check_value() == check
    store.close()
    old = Store.open(store_url, SecretCipher(bytes(32)))
    assert len(old.tokens.list_tokens(world.source.id)) == 1
    old.close()


def test_changes_made_while_the_key_is_rotated_open_afterwards(store_url: str) -> None:
    """Processes that know both keys change tokens all the time; every secret opens in the end."""
    pair = (bytes(32), b"n" * 32)
    stores = [Store.open(store_url, SecretCipher(*pair)) for _ in range(3)]
    world = World(stores[0])
    fill(world)
    stop = threading.Event()
    faults: list[BaseException] = []

    def change(store: Store, name: str) -> None:
        try:
            source = world.make_source(name)
            token = store.tokens.create_token(world.account.id, source.id)
            while not stop.is_set():
                wanted = TokenFilter(("import",), world.account.id)
                token = store.tokens.replace_token(wanted, token.id, 0)
                assert store.tokens.list_tokens(source.id)[-1].secret == token.secret
        except BaseException as fault:  # noqa: BLE001 - told at the end
            faults.append(fault)

    threads = [
        threading.Thread(target=change, args=(store, f"s{n}")) for n, store in enumerate(stores[:2])
    ]
    for thread in threads:
        thread.start()
    checks = [SecretCipher(key).check_value for key in pair]
    for turn in range(10):
        assert stores[2].keys.rotate_key(checks[(turn + 1) % 2]) > 0
    stop.set()
    for thread in threads:
        thread.join(120)
    assert faults == []
    for store in stores:
        store.close()
    last = Store.open(store_url, SecretCipher(pair[0]))
    for source in last.sources.list_sources():
        assert all(token.secret for token in last.tokens.list_tokens(source.id))
    last.close()


# The migration


def test_tokens_of_earlier_stores_are_kept(empty_url: str) -> None:
    engine = create_store_engine(empty_url)
    key = SecretCipher(bytes(32))
    sha = hash_token("at_old_token")
    with begin_write(engine) as connection:
        config = Config()
        folder = Path(str(treadle.store.__file__)).parent / "migrations"
        config.set_main_option("script_location", str(folder))
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        statements: list[tuple[str, dict[str, Any]]] = [
            ("INSERT INTO meta VALUES (1, 'an id', :check, 7, '')", {"check": key.check_value}),
            ("INSERT INTO accounts VALUES (4, 'a', 1, NULL)", {}),
            ("INSERT INTO connections (id, kind) VALUES (9, 'source')", {}),
            (
                (
                    "INSERT INTO sources (id, account_id, type, display_name, name, created_at,"
                    " updated_at, settings) VALUES (9, 4, 'import_api', 'x', 'x', 1, 1, '{}')"
                ),
                {},
            ),
            (
                (
                    "INSERT INTO tokens (id, source_id, sha256, sealed, bootstrap, created_at,"
                    " first_used_at, last_used_at, uses) VALUES (500, 9, :sha, :sealed, true, 2, 3,"
                    " 4, 5)"
                ),
                {"sha": sha, "sealed": key.seal("at_old_token", f"token {sha.hex()}")},
            ),
            (
                (
                    "INSERT INTO account_tokens (id, account_id, sha256, last_four, description,"
                    " created_at, disabled_at) VALUES (1, 4, :sha, 'last', 'CI', 6, NULL)"
                ),
                {"sha": hash_token("ac_old")},
            ),
            (
                (
                    "INSERT INTO account_tokens (id, account_id, sha256, last_four, description,"
                    " created_at, disabled_at) VALUES (2, 4, :sha, 'gone', '', 6, 8)"
                ),
                {"sha": hash_token("ac_gone")},
            ),
        ]
        for statement, values in statements:
            connection.execute(text(statement), values)
    engine.dispose()

    store = Store.open(empty_url, key)
    [pushing] = store.tokens.list_tokens(9)
    assert (pushing.id, pushing.secret, pushing.last_four) == (500, "at_old_token", "oken")
    assert (pushing.account_id, pushing.bootstrap, pushing.created_at) == (4, True, 2)
    assert (pushing.first_used_at, pushing.last_used_at, pushing.uses) == (3, 4, 5)
    held = store.tokens.find_tokens(TokenFilter(("account",), 4))
    assert [(t.id, t.last_four, t.description, t.revoked_at) for t in held] == [
        (501, "last", "CI", None),
        (502, "gone", "", 8),
    ]
    account = store.accounts.find_account_by_token("ac_old")
    assert account is not None
    assert account.id == 4
    assert store.accounts.find_account_by_token("ac_gone") is None
    assert store.tokens.create_token(4, 9).id == 503
    store.close()


def test_uses_are_counted_by_the_hour_for_a_week(world: World) -> None:
    token, other = world.issue("webhook"), world.issue("webhook")
    tokens = world.store.tokens
    now = 500_000 * HOUR_US + 5
    tokens.record_uses({token.id: (2, now), other.id: (1, now - 3 * HOUR_US)})
    tokens.record_uses({token.id: (3, now)})
    tokens.record_uses({token.id: (4, now - HOUR_US), other.id: (7, now - 200 * HOUR_US)})
    found = tokens.list_hourly_uses([token.id, other.id], now)
    assert (len(found[token.id]), found[token.id][-2:]) == (HOURS_KEPT, [4, 5])
    assert (found[other.id][-4:], sum(found[other.id])) == ([1, 0, 0, 0], 1)
    later = now + 160 * HOUR_US
    tokens.record_uses({token.id: (1, later)})
    assert sum(tokens.list_hourly_uses([token.id], later)[token.id]) == 10
    assert tokens.list_hourly_uses([], now) == {}


def test_requests_with_ended_tokens_are_counted(world: World) -> None:
    ended, active = world.issue("webhook"), world.issue("webhook")
    world.store.tokens.end_token(world.of("webhook"), ended.id)
    digests = [hash_token(secret_of(one)) for one in (ended, active)]
    strangers = {bytes([n] * 32): (9, 9) for n in range(50)}
    world.store.tokens.record_refusals(strangers | {digests[0]: (3, 70), digests[1]: (5, 71)})
    world.store.tokens.record_refusals({digests[0]: (1, 80)})
    world.store.tokens.record_refusals({})
    found = {one.id: one for one in world.store.tokens.find_tokens(world.of("webhook"))}
    assert (found[ended.id].refused, found[ended.id].refused_at) == (4, 80)
    assert (found[active.id].refused, found[active.id].refused_at) == (0, None)


def test_an_account_token_is_disabled_and_enabled(world: World) -> None:
    token = world.issue("account")
    tokens, mine = world.store.tokens, world.of("account")
    assert tokens.change_token(mine, token.id, disabled=True).disabled_at is not None
    assert not world.opens(token)
    again = tokens.change_token(mine, token.id, disabled=True, description="old laptop")
    assert (again.description, again.is_kept(0), again.is_active(0)) == ("old laptop", True, False)
    assert tokens.change_token(mine, token.id, disabled=False).disabled_at is None
    assert world.opens(token)
    tokens.change_token(mine, token.id, disabled=True)
    tokens.end_token(mine, token.id)
    with pytest.raises(NotFoundError):
        tokens.change_token(mine, token.id, disabled=False)


def test_disabled_tokens_count_among_the_ten(world: World) -> None:
    have = len(world.store.tokens.find_tokens(world.of("account")))
    made = [world.issue("account") for _ in range(10 - have)]
    world.store.tokens.change_token(world.of("account"), made[0].id, disabled=True)
    with pytest.raises(TokenLimitError):
        world.issue("account")


def test_only_account_tokens_are_disabled(world: World) -> None:
    token = world.issue("webhook")
    with pytest.raises(TokenRuleError, match="cannot be disabled: pause its source"):
        world.store.tokens.change_token(world.of("webhook"), token.id, disabled=True)
    with pytest.raises(TokenRuleError, match="at most 255 characters"):
        world.store.tokens.change_token(world.of("webhook"), token.id, description="x" * 256)
    with pytest.raises(TokenRuleError, match="nothing is to be changed"):
        world.store.tokens.change_token(world.of("webhook"), token.id)
    assert world.opens(token)
