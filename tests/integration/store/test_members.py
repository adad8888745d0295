"""Members, units and fences, on both databases of a store."""

from dataclasses import replace
from typing import Any

from sqlalchemy import insert, select
from tests.integration.store.conftest import OpenStore

from treadle.store.database import StoreDatabase
from treadle.store.membership import FOREVER_US, MEMBER_LASTS_US, ClusterMember
from treadle.store.schema import fences, leases, units
from treadle.store.store import Store

A = ClusterMember("a", "here", "loader 1", "loader", "host", "1.0", 5, {"logs": [0]})
B = ClusterMember("b", "there", "loader 1", "loader", "host", "1.0", 5)
ONE, TWO = "log:0:1", "log:0:2"


def database_of(store: Store) -> StoreDatabase:
    return store._database


def holders(store: Store) -> dict[str, str | None]:
    return {one.unit: one.holder for one in store.units.list_units()}


def count_changes(store: Store) -> int:
    answer = store.members.beat("a", {})
    assert answer is not None
    return answer.changes


def read(store: Store, statement: Any) -> Any:
    with database_of(store).read() as tx:
        return tx.connection.execute(statement).scalar_one()


def test_members_see_each_other_while_they_beat(store: Store) -> None:
    store.members.join(A)
    store.members.join(replace(B, role="ingest"))
    answer = store.members.beat("a", {"logs": [0, 1]})
    assert answer is not None
    assert [(one.id, one.notes) for one in answer.loaders] == [("a", {"logs": [0, 1]})]
    store.members.join(replace(B, id="c", name="loader 2"))
    answer = store.members.beat("a", {})
    assert answer is not None
    assert [one.id for one in answer.loaders] == ["a", "c"]
    assert [(one.member.id, one.is_live) for one in store.members.list_members()] == [
        ("a", True),
        ("b", True),
        ("c", True),
    ]
    assert all(one.left_us <= MEMBER_LASTS_US for one in store.members.list_members())


def test_a_member_that_says_nothing_is_lost_and_comes_back_with_its_next_beat(store: Store) -> None:
    store.members.join(A)
    store.members.join(B, lasts_us=0)
    answer = store.members.beat("a", {})
    assert answer is not None
    assert [one.id for one in answer.loaders] == ["a"]
    assert answer.silent == {"b"}
    assert [one.is_live for one in store.members.list_members()] == [True, False]
    answer = store.members.beat("b", {})
    assert answer is not None
    assert [one.id for one in answer.loaders] == ["a", "b"]


def test_a_process_takes_the_seat_of_the_one_before(store: Store) -> None:
    store.members.join(A, FOREVER_US)
    assert store.units.take_units("a", [ONE], {}).units == {ONE}
    store.members.join(replace(A, id="next"))
    assert store.members.beat("a", {}) is None
    taken = store.units.take_units("next", [ONE], {})
    assert taken.units == {ONE}
    assert taken.lost == {"a"}
    assert store.units.take_units("a", [ONE], {}).units == frozenset()


def test_a_unit_has_one_holder_until_that_one_is_lost_or_gives_it_up(store: Store) -> None:
    store.members.join(A)
    store.members.join(B)
    first = store.units.take_units("a", [ONE, TWO], {})
    assert first.units == {ONE, TWO}
    assert first.lost == frozenset()
    assert store.units.take_units("b", [ONE, TWO], {}).units == frozenset()
    store.units.give_up_units("b", [ONE])  # it is not b's
    store.units.give_up_units("a", [TWO])
    second = store.units.take_units("b", [ONE, TWO], {})
    assert second.units == {TWO}
    assert second.lost == frozenset()
    store.members.beat("a", {}, lasts_us=0)
    third = store.units.take_units("b", [ONE, TWO], {})
    assert third.units == {ONE, TWO}
    assert third.lost == {"a"}
    assert holders(store) == {ONE: "b", TWO: "b"}
    assert first.fence < second.fence < third.fence


def test_a_lost_member_takes_nothing(store: Store) -> None:
    store.members.join(A, lasts_us=0)
    assert store.units.take_units("a", [ONE], {}).units == frozenset()
    assert store.units.take_units("nobody", [ONE], {}).units == frozenset()


def test_who_leaves_gives_up_all_and_each_change_is_counted(store: Store) -> None:
    store.members.join(A)
    seen = [count_changes(store)]
    store.units.take_units("a", [ONE], {})
    seen.append(count_changes(store))
    store.units.give_up_units("a", [ONE])
    seen.append(count_changes(store))
    assert seen == sorted(set(seen))
    store.units.take_units("a", [ONE], {})
    store.members.join(B)
    store.members.leave("a")
    assert holders(store) == {ONE: None}
    assert store.units.take_units("b", [ONE], {}).lost == frozenset()


def test_the_members_of_a_place_are_forgotten_and_their_units_are_free(store: Store) -> None:
    store.members.join(A, FOREVER_US)
    store.members.join(B)
    store.units.take_units("a", [ONE], {})
    store.members.forget_place("here")
    assert [one.member.id for one in store.members.list_members()] == ["b"]
    assert store.units.take_units("b", [ONE], {}).lost == {"a"}
    store.members.forget_place(None)
    assert store.members.list_members() == []


def test_fences_are_above_those_of_leases_and_raise_them(store: Store) -> None:
    account = store.accounts.create_account("Shop")[0]
    store.destinations.set_default_destination(account.id, "duckdb", "duckdb:///a", "a")
    store.members.join(A)
    lease = {"destination_id": 77, "place": "old", "holder": "old", "fence": 40, "until": 2**60}
    with database_of(store).write() as tx:
        tx.connection.execute(insert(leases).values(lease))
    assert store.units.take_units("a", [ONE], {}).fence == 41
    assert store.units.take_units("a", [ONE], {}, above=100).fence == 101
    [destination] = store.destinations.list_destinations()
    query = select(leases.c.fence).where(leases.c.destination_id == destination.id)
    assert read(store, query) == 101
    store.units.leave_fences_out(1000)
    assert read(store, select(fences.c.last)) == 1102
    assert read(store, query) == 1102
    assert holders(store) == {ONE: None}
    assert read(store, select(units.c.fence)) == 101


def test_two_members_that_take_at_once_share_nothing(open_store: OpenStore) -> None:
    first, second = open_store(), open_store()
    first.members.join(A)
    second.members.join(B)
    names = [f"log:0:{slot}" for slot in range(64)]
    one = first.units.take_units("a", names[:40], {})
    two = second.units.take_units("b", names[20:], {})
    assert one.units == set(names[:40])
    assert two.units == set(names[40:])
    assert one.fence != two.fence


def test_what_holders_note_is_told_by_unit_and_replaced_when_units_are_taken(store: Store) -> None:
    store.members.join(A)
    store.units.take_units("a", [ONE], {"settled": [1]})
    store.members.join(B)
    store.units.take_units("b", [TWO], {})
    assert store.units.list_holders() == {ONE: {"settled": [1]}, TWO: {}}
    store.members.beat("b", {"settled": [2]})
    store.units.take_units("a", [ONE, TWO], {"settled": []})
    store.members.leave("b")
    assert store.units.list_holders() == {ONE: {"settled": []}, TWO: None}
