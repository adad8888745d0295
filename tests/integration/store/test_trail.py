"""Who changed what is in the store together with the change, or nothing was changed."""

import ast
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update
from tests.integration.store.conftest import KEY, StorePool
from tests.kinds import some_at_release

import treadle.store
from treadle.errors import InternalError, OperatorError, RetriableError, TreadleError
from treadle.store.database import StoreRepository
from treadle.store.destinations import DestinationPlace
from treadle.store.model import (
    Account,
    ConfiguredDestination,
    ConsoleRole,
    ConsoleUser,
    DestinationSetter,
)
from treadle.store.operations import RebuildOrder
from treadle.store.releases import THIS_RELEASE
from treadle.store.schema import access_tokens, sources
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store
from treadle.store.token_rules import KINDS, TokenRequest
from treadle.store.tokens import TokenFilter
from treadle.store.trail_event import (
    SERVER_ACTOR,
    TEXT_CHARACTERS_MAX,
    ActorKind,
    StoreActor,
    TargetKind,
    TrailAction,
    TrailOutcome,
    TrailTarget,
    shorten_text,
)

OpenStore = Callable[[], Store]

ACTOR = StoreActor(ActorKind.ACCOUNT_TOKEN, "7", "192.0.2.7")


def accept(before: Sequence[ConsoleUser], after: Sequence[ConsoleUser]) -> None:
    """Have nothing against a change of users."""


class World:
    """An account with a source and a token for it, all made by the server."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.account, self.account_token = store.accounts.create_account("first")
        self.source = store.sources.create_source(
            self.account.id, type="import_api", display_name="Shop", name="shop",
            bootstrap_token=False,
        )  # fmt: skip
        self.spare, _ = store.accounts.create_account("spare")
        self.token = store.tokens.create_token(self.account.id, self.source.id)
        self.recipient = store.recipients.add_recipient(self.account.id, "a@example.com")
        self.ephemeral = store.sessions.issue_ephemeral_token(self.account.id, 1)
        opened = store.sessions.open_session(
            store.sessions.issue_ephemeral_token(self.account.id, 1), "192.0.2.7"
        )
        assert opened is not None
        self.session, self.cookie = opened
        store.table_schemas.set_schema(self.source, "kept", b"{}")
        self.default = store.destinations.set_default_destination(
            self.account.id, "duckdb", "duckdb:///here", "here"
        )
        self.operation = store.operations.start_resend(self.account.id, 1, {}, [])
        self.user, self.invite = store.users.add_user(
            self.account.id, "Ann", "ann@example.com", ConsoleRole.ADMIN, accept
        )
        seer, _ = store.users.add_user(None, "Cy", "cy@example.com", ConsoleRole.ADMIN, accept)
        seeing = store.sessions.open_session_of_user(seer.id, "192.0.2.7")
        assert seeing is not None
        self.seer = seeing[0]
        self.hook = store.hooks.create_hook(self.account.id, "https://example.com/a")
        self.destination: ConfiguredDestination = store.destinations.create_destination(
            self.account.id, replace(PLACE, url="duckdb:///other"), takes_sources=False
        )
        store.logs.add_log("second", "sqlite")


PLACE = DestinationPlace("duckdb", "duckdb:///x", "x", DestinationSetter.ACCOUNT)
ASKED = TokenRequest("account", "CI")
ACCOUNT_TOKENS = TokenFilter(("account",))


def _rotate_key(store: Store) -> None:
    store._database._cipher = SecretCipher(KEY, b"n" * 32)
    store.keys.rotate_key(SecretCipher(b"n" * 32).check_value)


CHANGES: dict[str, tuple[TrailAction, Callable[[Store, World], Any]]] = {
    "accounts.create_account": (
        TrailAction.CREATE_ACCOUNT,
        lambda store, world: store.accounts.create_account("second"),
    ),
    "accounts.rename_account": (
        TrailAction.RENAME_ACCOUNT,
        lambda store, world: store.accounts.rename_account(world.spare.id, "other"),
    ),
    "accounts.delete_account": (
        TrailAction.DELETE_ACCOUNT,
        lambda store, world: store.accounts.delete_account(world.spare.id),
    ),
    "tokens.issue_token": (
        TrailAction.CREATE_ACCOUNT_TOKEN,
        lambda store, world: store.tokens.issue_token(ASKED, account_id=world.account.id),
    ),
    "tokens.end_token": (
        TrailAction.REVOKE_ACCOUNT_TOKEN,
        lambda store, world: store.tokens.end_token(ACCOUNT_TOKENS, 1),
    ),
    "tokens.expire_token": (
        TrailAction.EXPIRE_TOKEN,
        lambda store, world: store.tokens.expire_token(ACCOUNT_TOKENS, 1, 10**15),
    ),
    "tokens.replace_token": (
        TrailAction.REPLACE_TOKEN,
        lambda store, world: store.tokens.replace_token(ACCOUNT_TOKENS, 1, 5),
    ),
    "tokens.change_token": (
        TrailAction.DISABLE_TOKEN,
        lambda store, world: store.tokens.change_token(ACCOUNT_TOKENS, 1, disabled=True),
    ),
    "operations.start_resend": (
        TrailAction.RESEND_RECORDS,
        lambda store, world: store.operations.start_resend(world.account.id, 1, {}, [1]),
    ),
    "operations.start_rebuild": (
        TrailAction.REPLAY_TABLE,
        lambda store, world: store.operations.start_rebuild(
            RebuildOrder(world.account.id, world.source.id, "orders", dry_run=True), 1
        ),
    ),
    "operations.cancel_operation": (
        TrailAction.CANCEL_OPERATION,
        lambda store, world: store.operations.cancel_operation(
            world.account.id, world.operation.id
        ),
    ),
    "keys.rotate_key": (TrailAction.ROTATE_KEY, lambda store, world: _rotate_key(store)),
    "sources.create_source": (
        TrailAction.CREATE_SOURCE,
        lambda store, world: store.sources.create_source(
            world.account.id, type="import_api", display_name="B", name="b", bootstrap_token=True
        ),
    ),
    "sources.update_source": (
        TrailAction.PAUSE_SOURCE,
        lambda store, world: store.sources.update_source(None, world.source.id, paused_at=5),
    ),
    "sources.delete_source": (
        TrailAction.DELETE_SOURCE,
        lambda store, world: store.sources.delete_source(world.account.id, world.source.id),
    ),
    "tokens.create_token": (
        TrailAction.CREATE_IMPORT_TOKEN,
        lambda store, world: store.tokens.create_token(None, world.source.id),
    ),
    "tokens.adopt_token": (
        TrailAction.TAKE_OVER_IMPORT_TOKEN,
        lambda store, world: store.tokens.adopt_token(world.source.id, "an-old-token-of-stitch"),
    ),
    "tokens.revoke_token": (
        TrailAction.REVOKE_IMPORT_TOKEN,
        lambda store, world: store.tokens.revoke_token(None, world.source.id, world.token.id),
    ),
    "destinations.set_default_destination": (
        TrailAction.SET_DESTINATION,
        lambda store, world: store.destinations.set_default_destination(
            world.account.id, "postgres", "postgresql://u:pa55word@h/d", "h d"
        ),
    ),
    "sessions.issue_ephemeral_token": (
        TrailAction.CREATE_EPHEMERAL_TOKEN,
        lambda store, world: store.sessions.issue_ephemeral_token(world.account.id, 1),
    ),
    "sessions.open_session": (
        TrailAction.OPEN_SESSION,
        lambda store, world: store.sessions.open_session(world.ephemeral, "192.0.2.7"),
    ),
    "sessions.issue_link_token": (
        TrailAction.CREATE_EPHEMERAL_TOKEN,
        lambda store, world: store.sessions.issue_link_token(world.account.id, ConsoleRole.ADMIN),
    ),
    "sessions.open_session_of_token": (
        TrailAction.OPEN_SESSION,
        lambda store, world: store.sessions.open_session_of_token(
            1, ConsoleRole.ADMIN, "192.0.2.7"
        ),
    ),
    "sessions.leave_guide": (
        TrailAction.LEAVE_GUIDE,
        lambda store, world: store.sessions.leave_guide(world.account.id),
    ),
    "sessions.end_session": (
        TrailAction.END_SESSION,
        lambda store, world: store.sessions.end_session(world.session),
    ),
    "sessions.open_session_of_user": (
        TrailAction.OPEN_SESSION,
        lambda store, world: store.sessions.open_session_of_user(world.user.id, "192.0.2.7"),
    ),
    "sessions.switch_account": (
        TrailAction.SWITCH_ACCOUNT,
        lambda store, world: store.sessions.switch_account(world.seer, world.account.id),
    ),
    "users.add_user": (
        TrailAction.ADD_USER,
        lambda store, world: store.users.add_user(
            world.account.id, "Bo", "bo@example.com", ConsoleRole.VIEWER, accept
        ),
    ),
    "users.change_role": (
        TrailAction.CHANGE_ROLE,
        lambda store, world: store.users.change_role(
            None, world.user.id, ConsoleRole.VIEWER, accept
        ),
    ),
    "users.set_disabled": (
        TrailAction.DISABLE_USER,
        lambda store, world: store.users.set_disabled(None, world.user.id, accept, disabled=True),
    ),
    "users.delete_user": (
        TrailAction.DELETE_USER,
        lambda store, world: store.users.delete_user(None, world.user.id, accept),
    ),
    "users.renew_invite": (
        TrailAction.INVITE_USER,
        lambda store, world: store.users.renew_invite(None, world.user.id),
    ),
    "users.accept_invite": (
        TrailAction.ACCEPT_INVITE,
        lambda store, world: store.users.accept_invite(world.invite, "record"),
    ),
    "users.set_password": (
        TrailAction.SET_PASSWORD,
        lambda store, world: store.users.set_password(world.user.id, "record", None),
    ),
    "checks.start_check": (
        TrailAction.CHECK_DESTINATION,
        lambda store, world: store.checks.start_check(world.account.id, world.default.id),
    ),
    "destinations.create_destination": (
        TrailAction.CREATE_DESTINATION,
        lambda store, world: store.destinations.create_destination(world.account.id, PLACE),
    ),
    "destinations.update_destination": (
        TrailAction.CHANGE_DESTINATION,
        lambda store, world: store.destinations.update_destination(
            world.account.id, world.destination.id, lambda row: PLACE
        ),
    ),
    "destinations.set_query_url": (
        TrailAction.CHANGE_DESTINATION,
        lambda store, world: store.destinations.set_query_url(
            world.destination.id, "postgresql://reader:pa55word@h/d"
        ),
    ),
    "destinations.delete_destination": (
        TrailAction.DELETE_DESTINATION,
        lambda store, world: store.destinations.delete_destination(
            world.account.id, world.destination.id
        ),
    ),
    "moves.move_source": (
        TrailAction.MOVE_SOURCE,
        lambda store, world: store.moves.move_source(world.source.id, world.destination.id),
    ),
    "quotas.set_source_quotas": (
        TrailAction.SET_QUOTAS,
        lambda store, world: store.quotas.set_source_quotas(world.source, {"tables": 5}),
    ),
    "table_schemas.set_schema": (
        TrailAction.SET_TABLE_SCHEMA,
        lambda store, world: store.table_schemas.set_schema(world.source, "orders", b"{}"),
    ),
    "table_schemas.remove_schema": (
        TrailAction.REMOVE_TABLE_SCHEMA,
        lambda store, world: store.table_schemas.remove_schema(world.source, "kept"),
    ),
    "quotas.set_account_quotas": (
        TrailAction.SET_QUOTAS,
        lambda store, world: store.quotas.set_account_quotas(world.account, {"sources": None}),
    ),
    "load_requests.add_request": (
        TrailAction.LOAD_TABLE,
        lambda store, world: store.load_requests.add_request(
            world.source, "orders", TrailAction.LOAD_TABLE
        ),
    ),
    "logs.add_log": (
        TrailAction.ADD_LOG,
        lambda store, world: store.logs.add_log("a new log", "sqlite"),
    ),
    "releases.finish_upgrade": (
        TrailAction.FINISH_UPGRADE,
        lambda store, world: store.releases.finish_upgrade(THIS_RELEASE),
    ),
    "logs.drain_log": (TrailAction.DRAIN_LOG, lambda store, world: store.logs.drain_log(1)),
    "logs.open_log": (TrailAction.OPEN_LOG, lambda store, world: store.logs.open_log(1)),
    "logs.close_log": (TrailAction.CLOSE_LOG, lambda store, world: store.logs.close_log(1)),
    "recipients.add_recipient": (
        TrailAction.ADD_RECIPIENT,
        lambda store, world: store.recipients.add_recipient(world.account.id, "b@example.com"),
    ),
    "recipients.set_disabled": (
        TrailAction.DISABLE_RECIPIENT,
        lambda store, world: store.recipients.set_disabled(world.account.id, world.recipient.id, 5),
    ),
    "recipients.remove_recipient": (
        TrailAction.REMOVE_RECIPIENT,
        lambda store, world: store.recipients.remove_recipient(
            world.account.id, world.recipient.id
        ),
    ),
    "hooks.create_hook": (
        TrailAction.CREATE_HOOK,
        lambda store, world: store.hooks.create_hook(world.account.id, "https://example.com/b"),
    ),
    "hooks.update_hook": (
        TrailAction.CHANGE_HOOK,
        lambda store, world: store.hooks.update_hook(None, world.hook.id, enabled=False),
    ),
    "hooks.delete_hook": (
        TrailAction.DELETE_HOOK,
        lambda store, world: store.hooks.delete_hook(None, world.hook.id),
    ),
    "snoozes.snooze_problem": (
        TrailAction.SNOOZE_PROBLEM,
        lambda store, world: store.snoozes.snooze_problem(
            (world.account.id, "data_delayed", "source 1"), "Shop", 2**60
        ),
    ),
    "deliveries.send_again": (
        TrailAction.SEND_AGAIN,
        lambda store, world: store.deliveries.send_again(world.account.id, world.hook.id),
    ),
}
"""The methods that change what somebody made. Each adds one event."""

BOOKKEEPING = {
    "loads.fold_loads",
    "members.join",
    "members.beat",
    "members.note_beat",
    "members.leave",
    "members.forget_place",
    "units.take_units",
    "units.give_up_units",
    "units.leave_fences_out",
    "accounts.leave_ids_out",
    "sources.leave_ids_out",
    "tokens.record_first_use",
    "tokens.record_uses",
    "tokens.record_refusals",
    "rejects.record_resent",
    "operations.claim_operation",
    "operations.record_progress",
    "operations.record_waiting",
    "operations.finish_operation",
    "operations.record_built",
    "operations.finish_rebuild",
    "destinations.set_trouble",
    "moves.settle_moves",
    "checks.claim_check",
    "checks.finish_check",
    "destinations.release_destinations",
    "destinations.follow_folder",
    "tables.record_rebuilt",
    "loads.record_load",
    "loads.record_loads",
    "loads.record_failure",
    "loads.delete_loads_before",
    "trail.record_event",
    "trail.follow_action",
    "trail.delete_events_before",
    "notices.record_notices",
    "notices.record_sent",
    "notices.record_try",
    "notices.record_failed",
    "notices.delete_notices_before",
    "deliveries.record_tries",
    "deliveries.delete_deliveries_before",
}
"""The methods that write what treadle itself saw, or the trail."""

READING = ("count_", "find_", "get_", "list_", "read_", "sum_")
"""How the names of methods begin that only read."""


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def lasting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One for all tests after which everything has to be as before."""
    pool: StorePool | None = None
    url = f"sqlite:///{tmp_path_factory.mktemp('lasting')}/store.db"
    if request.param == "postgres":
        pool = request.getfixturevalue("store_pool")
        url = pool.lend_store()
    with closing(
        Store.open(url, SecretCipher(KEY), clock=itertools.count(1_000_000).__next__)
    ) as store:
        yield World(store)
    if pool is not None:
        pool.take_back(url)


def test_every_method_is_a_change_with_an_event_or_known_to_be_none(store: Store) -> None:
    methods = {
        f"{noun}.{name}"
        for noun, repository in vars(store).items()
        if isinstance(repository, StoreRepository)
        for name, _ in inspect.getmembers(repository, inspect.ismethod)
        if not name.startswith("_")
    }
    others = {name for name in methods if not name.partition(".")[2].startswith(READING)}
    assert others == CHANGES.keys() | BOOKKEEPING


@pytest.mark.parametrize("store_url", ["sqlite", *some_at_release("postgres")], indirect=True)
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_has_one_event_that_says_who_made_it(
    store: Store, world: World, name: str
) -> None:
    action, change = CHANGES[name]
    before = store.trail.list_events()
    change(store.for_actor(ACTOR), world)
    [event] = store.trail.list_events()[: -len(before)]
    assert event.actor == ACTOR
    assert event.action == action
    # What ends with another event.
    is_begun = name in ("operations.start_resend", "operations.start_rebuild")
    assert event.outcome == (TrailOutcome.BEGUN if is_begun else TrailOutcome.DONE)
    accounts = {world.account.id, world.spare.id, world.spare.id + 1}
    of_server = name in ("keys.rotate_key", "releases.finish_upgrade") or name.startswith("logs.")
    whose = {None} if of_server else accounts
    assert event.account_id in whose
    assert event.id > before[0].id
    assert event.at > before[0].at


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_changes_while_the_trail_cannot_be_written(lasting: World, name: str) -> None:
    store = lasting.store.for_actor(SERVER_ACTOR)  # its key may be replaced
    before = _read_all(store)
    with store._database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE trail RENAME TO gone"))
    with pytest.raises(TreadleError):
        CHANGES[name][1](store, lasting)
    with store._database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO trail"))
    assert _read_all(store) == before


@pytest.mark.parametrize("name", CHANGES)
def test_nobody_changes_nothing(lasting: World, name: str) -> None:
    store = lasting.store
    nobody = Store(store._database.for_actor(ACTOR), store.installation_id)
    nobody._database._actor = None
    before = _read_all(store)
    with pytest.raises(InternalError, match="for_actor"):
        CHANGES[name][1](nobody, lasting)
    assert _read_all(store) == before


def test_a_change_without_an_event_is_undone(store: Store, world: World) -> None:
    revision = store.get_revision()
    for open_transaction in (store._database.change, store._database.write):
        for statement in (
            update(sources).values(display_name="hidden"),
            update(access_tokens).values(revoked_at=1).returning(access_tokens.c.id),
        ):
            with (
                pytest.raises(InternalError, match="has an event in the trail"),
                open_transaction() as tx,
            ):
                tx.connection.execute(statement)
    assert store.get_revision() == revision
    assert [one.display_name for one in store.sources.list_sources()] == ["Shop"]
    assert len(store.tokens.list_tokens(world.source.id)) == 1


def test_bookkeeping_needs_no_event(store: Store, world: World) -> None:
    before = store.trail.list_events()
    assert store.tokens.record_first_use(world.token.id, 5)
    store.tokens.record_uses({world.token.id: (3, 9)})
    place = store.destinations.set_default_destination(
        world.account.id, "duckdb", "duckdb:///x", "x"
    )
    store.destinations.set_trouble(place.id, "gone")
    assert [event.action for event in store.trail.list_events()[: -len(before)]] == [
        TrailAction.SET_DESTINATION
    ]


def test_what_changes_nothing_has_no_event(store: Store, world: World) -> None:
    before = store.trail.list_events()
    missing = world.source.id + 100
    assert store.sources.update_source(None, missing, display_name="x") is None
    present = store.sources.get_source(None, world.source.id)
    assert store.sources.update_source(None, world.source.id) == present
    assert store.sources.delete_source(None, missing) is None
    assert store.tokens.revoke_token(None, world.source.id, 999) is None
    assert store.tokens.adopt_token(world.source.id, world.token.secret or "") == world.token
    with pytest.raises(OperatorError):
        store.accounts.create_account("again", client_id=world.account.id)
    assert store.trail.list_events() == before


@pytest.mark.parametrize(
    ("change", "action"),
    [
        ({"paused_at": 5}, TrailAction.PAUSE_SOURCE),
        ({"paused_at": None}, TrailAction.UNPAUSE_SOURCE),
        ({"settings": {"split_mode": "widen"}}, TrailAction.SET_OPTIONS),
        ({"display_name": "x"}, TrailAction.CHANGE_SOURCE),
        ({"display_name": "x", "paused_at": 5}, TrailAction.CHANGE_SOURCE),
    ],
)
def test_a_change_of_a_source_says_of_what(
    store: Store, world: World, change: dict[str, Any], action: TrailAction
) -> None:
    store.sources.update_source(None, world.source.id, **change)
    event = store.trail.list_events(limit=1)[0]
    assert (event.action, event.target) == (
        action,
        TrailTarget(TargetKind.SOURCE, str(world.source.id), "shop"),
    )
    assert event.detail["changed"] == sorted(change)
    for name in set(change) - {"settings", "paused_at"}:
        assert (event.detail["before"][name], event.detail["after"][name]) == ("Shop", "x")


def test_a_token_that_gives_way_is_named(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    source = store.sources.create_source(
        account.id, type="import_api", display_name="x", name="x", bootstrap_token=True
    )
    [bootstrap] = store.tokens.list_tokens(source.id)
    store.tokens.create_token(None, source.id)
    store.tokens.create_token(None, source.id)
    event = store.trail.list_events(limit=1)[0]
    assert event.detail == {"source_id": source.id, "source": "x", "replaced": [bootstrap.id]}


def test_no_secret_is_in_the_trail(store: Store, world: World) -> None:
    made = store.tokens.create_token(None, world.source.id)
    store.destinations.set_default_destination(
        world.account.id, "postgres", "postgresql://u:pa55word@h/d", "h d"
    )
    told = repr(store.trail.list_events())
    sessions = (world.ephemeral, world.cookie)
    for secret in (world.account_token, world.token.secret, made.secret, "pa55word", *sessions):
        assert secret is not None
        assert secret not in told


def test_events_are_listed_newest_first_by_pages_and_filters(store: Store, world: World) -> None:
    other, _ = store.accounts.create_account("other")
    store.tokens.issue_token(ASKED, account_id=other.id)
    every = store.trail.list_events()
    assert [event.id for event in every] == sorted((event.id for event in every), reverse=True)
    pages = []
    before = None
    while page := store.trail.list_events(limit=2, before=before):
        pages += page
        before = page[-1].id
    assert pages == every
    assert {event.account_id for event in store.trail.list_events(account_id=other.id)} == {
        other.id
    }
    made = store.trail.list_events(action=TrailAction.CREATE_ACCOUNT)
    assert [event.target.name for event in made] == ["other", "spare", "first"]
    assert store.trail.list_events(outcome=TrailOutcome.REFUSED) == []
    middle = every[2].at
    later, earlier = store.trail.list_events(since=middle), store.trail.list_events(until=middle)
    assert later + earlier == every
    assert earlier


def test_old_events_are_deleted_and_their_ids_are_not_given_again(
    store: Store, world: World
) -> None:
    every = store.trail.list_events()
    assert store.trail.delete_events_before(every[0].at) == len(every) - 1
    assert store.trail.list_events() == every[:1]
    assert store.trail.delete_events_before(every[0].at + 1) == 1
    store.tokens.issue_token(ASKED, account_id=world.account.id)
    assert store.trail.list_events()[0].id > every[0].id


def _target() -> TrailTarget:
    return TrailTarget(TargetKind.TABLE, "shop.orders", "orders")


def test_an_action_outside_the_store_has_a_beginning_and_an_end(store: Store) -> None:
    with store.trail.follow_action(
        TrailAction.REPLAY_TABLE, _target(), account_id=3, detail={"force": True}
    ) as found:
        [begun] = store.trail.list_events()
        found["swapped"] = True
    done, _ = store.trail.list_events()
    assert (begun.outcome, begun.detail) == (TrailOutcome.BEGUN, {"force": True})
    assert (done.outcome, done.detail) == (
        TrailOutcome.DONE,
        {"began": begun.id, "swapped": True},
    )
    assert begun.target == done.target == _target()
    assert begun.account_id == done.account_id == 3


@pytest.mark.parametrize(
    ("error", "told"), [(RetriableError("pa55word"), "RetriableError"), (KeyError("x"), None)]
)
def test_a_failed_action_is_recorded_without_the_text_of_its_error(
    store: Store, error: Exception, told: str | None
) -> None:
    with (
        pytest.raises(type(error)),
        store.trail.follow_action(TrailAction.SALVAGE_LOG, TrailTarget(TargetKind.LOG)),
    ):
        raise error
    failed, begun = store.trail.list_events()
    assert failed.outcome == TrailOutcome.FAILED
    assert failed.detail == {"began": begun.id} | ({"error": told} if told else {})


def test_an_action_does_not_begin_when_its_beginning_cannot_be_recorded(store: Store) -> None:
    with store._database.engine.begin() as connection:
        connection.execute(text("DROP TABLE trail"))
    ran = False
    with (
        pytest.raises(TreadleError),
        store.trail.follow_action(TrailAction.SALVAGE_LOG, TrailTarget(TargetKind.LOG)),
    ):
        ran = True
    assert not ran


@pytest.mark.parametrize(
    "name", ["\0", "\ud800", "a\x1b[2J\u202e\n", "x" * 10_000, "=1+1", "'\";--"]
)
def test_a_name_of_any_characters_can_be_recorded(store: Store, name: str) -> None:
    store.for_actor(StoreActor(ActorKind.PERSON, name, name)).trail.record_event(
        TrailAction.DELETE_SOURCE,
        TrailTarget(TargetKind.SOURCE, name, name),
        TrailOutcome.REFUSED,
        detail={"asked": name},
    )
    [event] = store.trail.list_events()
    kept = (shorten_text(name) or "").replace("\ud800", "\ufffd")
    assert event.target == TrailTarget(TargetKind.SOURCE, kept, kept)
    assert event.actor == StoreActor(ActorKind.PERSON, kept, kept)
    assert len(kept) <= TEXT_CHARACTERS_MAX


def _read_all(store: Store) -> tuple[object, ...]:
    """Everything that the changes of this file could change."""
    accounts: list[Account] = store.accounts.list_accounts()
    every = store.sources.list_sources()
    return (
        accounts,
        store.tokens.find_tokens(TokenFilter(KINDS)),
        store.keys.get_check_value(),
        every,
        [store.tokens.list_tokens(source.id) for source in every],
        store.destinations.list_destinations(),
        store.hooks.list_hooks(),
        store.get_revision(),
        store.trail.list_events(),
        store.recipients.list_recipients(),
    )


def test_no_repository_writes_sql_as_text_which_nobody_would_notice() -> None:
    """Statements are noticed by their table; a text has none."""
    found = []
    for path in Path(next(iter(treadle.store.__path__))).glob("*.py"):
        # Before there is a store, for indexes, and what asks a server about itself.
        if path.name in ("migration.py", "schema.py", "postgres.py", "server_examination.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "sqlalchemy":
                found += [f"{path.name} {name.name}" for name in node.names if name.name == "text"]
            elif isinstance(node, ast.Attribute) and node.attr == "exec_driver_sql":
                found.append(f"{path.name}:{node.lineno}")
    assert [one for one in found if not one.startswith("database.py:")] == []
