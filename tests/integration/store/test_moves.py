"""A source that is given another destination, and what is kept of the move."""

import pytest
from tests.integration.store.conftest import OpenStore

from treadle.store.destinations import DestinationPlace
from treadle.store.errors import NotFoundError, SchemaChangedError
from treadle.store.model import DestinationSetter, Source, SourceMove
from treadle.store.store import Store
from treadle.store.trail_event import TrailAction


def make_place(name: str) -> DestinationPlace:
    return DestinationPlace("duckdb", f"duckdb:///{name}", name, DestinationSetter.ACCOUNT)


class World:
    """An account with a source, a default destination and two others."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.account_id = store.accounts.create_account("first")[0].id
        self.default = store.destinations.set_default_destination(
            self.account_id, "duckdb", "duckdb:///here", "here"
        ).id
        self.second, self.third = (
            store.destinations.create_destination(self.account_id, make_place(name)).id
            for name in ("second", "third")
        )
        self.source = self.make_source(self.account_id)

    def make_source(self, account_id: int) -> Source:
        return self.store.sources.create_source(
            account_id, type="import_api", display_name="web", name="web", bootstrap_token=False
        )

    def find_move(self) -> SourceMove:
        found = self.store.moves.find_move(self.source.id)
        assert found is not None
        return found


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def test_a_move_is_open_until_it_is_settled(world: World) -> None:
    store = world.store
    assert store.moves.find_move(world.source.id) is None
    revision = store.get_revision()
    moved = store.moves.move_source(world.source.id, world.second)
    assert moved.destination_id == world.second
    assert store.get_revision() == revision + 1
    move = world.find_move()
    assert (move.former_id, move.destination_id) == (world.default, world.second)
    assert move.settled_at is None
    assert store.moves.list_open_moves() == [move]
    [event] = store.trail.list_events(action=TrailAction.MOVE_SOURCE)
    assert event.detail == {"from": world.default, "to": world.second, "with_history": False}

    store.moves.settle_moves([move])
    assert store.moves.list_open_moves() == []
    assert (world.find_move().settled_at or 0) > move.moved_at
    assert store.get_revision() == revision + 1  # nobody has to read anything again


def test_a_move_before_the_last_one_was_settled_asks_who_had_the_source_before(
    world: World,
) -> None:
    store = world.store
    store.moves.move_source(world.source.id, world.second)
    first = world.find_move()
    store.sources.update_source(None, world.source.id, destination_id=world.third)
    second = world.find_move()
    assert (second.former_id, second.destination_id) == (world.default, world.third)
    assert second.moved_at > first.moved_at
    # What a loader says of the first one is about that alone.
    store.moves.settle_moves([first])
    assert store.moves.list_open_moves() == [second]
    store.moves.settle_moves([second])
    store.sources.update_source(None, world.source.id, destination_id=None)
    assert (world.find_move().former_id, world.find_move().destination_id) == (
        world.third,
        world.default,
    )


def test_the_same_destination_by_another_name_is_no_move(world: World) -> None:
    store = world.store
    for same in (world.default, None, world.default):
        assert store.sources.update_source(None, world.source.id, destination_id=same)
    assert store.moves.find_move(world.source.id) is None


def test_a_source_whose_destination_was_deleted_has_none_to_be_asked(world: World) -> None:
    store = world.store
    store.moves.move_source(world.source.id, world.second)
    store.moves.settle_moves([world.find_move()])
    store.destinations.delete_destination(world.account_id, world.second)
    store.moves.move_source(world.source.id, world.third)
    assert world.find_move().former_id is None


def test_a_deleted_source_is_not_moved(world: World) -> None:
    store = world.store
    store.moves.move_source(world.source.id, world.second)
    store.sources.delete_source(None, world.source.id)
    # What it sent before is loaded in any case.
    assert store.moves.list_open_moves() == [world.find_move()]
    with pytest.raises(NotFoundError):
        store.moves.move_source(world.source.id, world.third)


def test_what_was_copied_has_to_be_in_the_schema_that_the_source_fills(world: World) -> None:
    store = world.store
    assert store.moves.find_schema(world.source, world.second) == "web"
    other = store.accounts.create_account("other")[0]
    store.destinations.set_default_destination(other.id, "duckdb", "duckdb:///second", "second")
    world.make_source(other.id)
    assert store.moves.find_schema(world.source, world.second) == "web2"
    revision = store.get_revision()
    with pytest.raises(SchemaChangedError, match="nothing was moved"):
        store.moves.move_source(world.source.id, world.second, schema="web")
    assert store.get_revision() == revision
    assert store.moves.find_move(world.source.id) is None
    moved = store.moves.move_source(world.source.id, world.second, schema="web2")
    assert moved.schema == "web2"
    with pytest.raises(NotFoundError):
        store.moves.move_source(world.source.id, store.destinations.list_destinations()[-1].id)


def test_a_destination_is_loaded_into_after_a_check_whoever_made_it(world: World) -> None:
    store = world.store
    for setter in (DestinationSetter.ACCOUNT, DestinationSetter.OPERATOR):
        place = DestinationPlace("duckdb", f"duckdb:///{setter}", str(setter), setter)
        made = store.destinations.create_destination(world.account_id, place)
        assert made.usable_since is None
        check = store.checks.claim_check("here", "desk", 10**9)
        while check is not None and check.destination_id != made.id:
            check = store.checks.claim_check("here", "desk", 10**9)
        assert check is not None
        assert store.checks.finish_check(check.id, "desk", None, ())
        found = store.destinations.find_destination(None, made.id)
        assert found is not None
        assert found.usable_since is not None


def test_a_new_account_waits_for_the_check_of_the_destination_that_all_share(
    open_store: OpenStore,
) -> None:
    store = open_store()
    first = store.accounts.create_account("first")[0]
    place = DestinationPlace("duckdb", "duckdb:///x", "x", DestinationSetter.OPERATOR)
    store.destinations.create_destination(first.id, place)
    second = store.accounts.create_account("second")[0]
    [shared] = store.destinations.list_destinations(second.id)
    assert shared.usable_since is None
    assert store.checks.find_last_check(shared.id) is not None
